"""What officers sign: statements about a document, and events in a policy's life.

A statement names the document's hash and the hash of the rendered page that the officer saw. The role and
organisation in it say *as what* the officer signs; whether the officer may is looked up in the registry.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import ClassVar

from policies.ids import AgencyId, Hash256, PolicyId, Prose
from policies.vocabulary import Decision, OfficerRole


@dataclass(frozen=True, slots=True)
class SigningStatement:
    """`signing-statement/v1`."""

    KIND: ClassVar[str] = "signing-statement/v1"
    READ_OFTEN: ClassVar[bool] = True

    document_hash: Hash256
    page_hash: Hash256
    organisation: AgencyId
    role: OfficerRole
    decision: Decision
    signed_at: datetime
    comment: Prose | None = None


class PolicyAction(StrEnum):
    """What an officer may do to a policy besides signing it."""

    SUBMIT = "submit"
    WITHDRAW = "withdraw"
    SUSPEND = "suspend"
    REACTIVATE = "reactivate"
    REVOKE = "revoke"


@dataclass(frozen=True, slots=True)
class PolicyEvent:
    """`policy-event/v1`: one officer's act upon one version of a policy.

    `sequence` is the number of the state that the officer saw: an event signed for an earlier state is not
    replayed.
    """

    KIND: ClassVar[str] = "policy-event/v1"
    READ_OFTEN: ClassVar[bool] = True

    policy: PolicyId
    document_hash: Hash256
    sequence: int
    action: PolicyAction
    organisation: AgencyId
    role: OfficerRole
    signed_at: datetime
    reason: Prose
