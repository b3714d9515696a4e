"""What audit logs are called, and which entry stands for which act: one word for writers and verifiers."""

from __future__ import annotations

from crypto.audit import AuditAction, reference
from policies.ids import AgencyId, FederationId
from policies.statements import PolicyAction
from policies.trust import TrustedRegistry

#: The audit entry that says that an event of a policy was taken in.
EVENT_ENTRIES = {
    PolicyAction.SUSPEND: AuditAction.POLICY_SUSPENDED,
    PolicyAction.REVOKE: AuditAction.POLICY_REVOKED,
    PolicyAction.REACTIVATE: AuditAction.POLICY_REACTIVATED,
}


def log_origin(federation: FederationId, agency: AgencyId) -> str:
    """The name of an agency's audit log, as its checkpoints carry it."""
    return f"{federation}/agency/{agency}/audit"


def broker_log_origin(federation: FederationId) -> str:
    """The name of the broker's audit log."""
    return f"{federation}/broker/audit"


def witness_name(federation: FederationId, agency: AgencyId) -> str:
    """The name under which an agency cosigns the logs of others."""
    return f"{federation}/agency/{agency}/witness"


def trust_reference(trusted: TrustedRegistry) -> str:
    """The `ref` of the audit entry that says that this root and this registry were accepted."""
    registry = "" if trusted.registry_envelope is None else trusted.registry_envelope.digest
    return reference(f"{trusted.root_envelope.digest}/{registry}")
