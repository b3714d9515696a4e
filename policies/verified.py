"""A bundle's bytes in, a verified policy or agreement out: everything that must hold besides time and status.

Called at the moment of every decision; no verdict is remembered, so a changed registry is felt at once.
"""

from dataclasses import dataclass
from datetime import datetime

from policies.agreement import LinkageAgreement
from policies.codec import open_document
from policies.errors import DocumentError, WrongFederationError
from policies.ids import AgencyId, FederationId, Hash256
from policies.quorum import agreement_rule, policy_rule
from policies.registry import Officer, Registry
from policies.remembered import Remembered
from policies.render import page_hash, render_agreement, render_policy
from policies.sharing import SharingPolicy
from policies.signing import Quorum, SignedDocument, signing_officer, verify_quorum

#: Hashes of the pages that officers read, by the bytes of the documents.
_PAGES: Remembered[Hash256] = Remembered(8 * 1024 * 1024)


@dataclass(frozen=True, slots=True)
class VerifiedPolicy:
    """A policy of this federation between registered agencies, and how far it is signed."""

    policy: SharingPolicy
    hash: Hash256
    quorum: Quorum


@dataclass(frozen=True, slots=True)
class VerifiedAgreement:
    """An agreement of this federation between registered agencies, and how far it is signed."""

    agreement: LinkageAgreement
    hash: Hash256
    quorum: Quorum


def verify_policy(
    bundle: SignedDocument, registry: Registry, now: datetime, *, published_now: bool = False
) -> VerifiedPolicy:
    """Open the policy and count its signatures. An unmet quorum is a value: call `.quorum.require()` to
    insist. `published_now` counts them as they stand at `now`, for whoever brings the document into life.

    Raises DocumentError, WrongFederationError, SigningError and SignatureError.
    """
    policy = open_document(SharingPolicy, bundle.document)
    _require_known(registry, policy.federation, tuple(party.agency for party in policy.parties))
    page = _PAGES.of(SharingPolicy, bundle.document.payload, lambda: page_hash(render_policy(policy)))
    relies_on = policy.governance.relies_on
    quorum = verify_quorum(
        bundle,
        page,
        policy_rule(policy, registry),
        registry,
        now,
        relies_on=relies_on,
        published_now=published_now,
    )
    return VerifiedPolicy(policy, bundle.digest, quorum)


def verify_agreement(
    bundle: SignedDocument, registry: Registry, now: datetime, *, published_now: bool = False
) -> VerifiedAgreement:
    """Open the agreement and count its signatures; as `verify_policy`."""
    agreement = open_document(LinkageAgreement, bundle.document)
    _require_known(registry, agreement.federation, agreement.agencies)
    payload = bundle.document.payload
    page = _PAGES.of(LinkageAgreement, payload, lambda: page_hash(render_agreement(agreement)))
    quorum = verify_quorum(
        bundle, page, agreement_rule(agreement), registry, now, published_now=published_now
    )
    return VerifiedAgreement(agreement, bundle.digest, quorum)


def joined(
    held: SignedDocument, arrived: SignedDocument, registry: Registry, now: datetime
) -> SignedDocument:
    """What is held, with what `arrived` adds: statements of officers who are in post and had not signed.

    Nothing that is held is lost, so that a rejection cannot be left out afterwards. Nobody who left dates an
    approval back into a quorum that another officer's removal has broken. Raises SignatureError,
    DocumentError.
    """
    signed = {officer.verify_key for officer in _officers(held, registry) if officer is not None}
    for envelope, officer in zip(arrived.statements, _officers(arrived, registry), strict=True):
        if officer is not None and officer.valid_at(now) and officer.verify_key not in signed:
            signed.add(officer.verify_key)
            held = held.with_statement(envelope)
    return held


def _officers(bundle: SignedDocument, registry: Registry) -> tuple[Officer | None, ...]:
    return tuple(signing_officer(envelope, registry) for envelope in bundle.statements)


def _require_known(registry: Registry, federation: FederationId, agencies: tuple[AgencyId, ...]) -> None:
    if federation != registry.federation:
        raise WrongFederationError(f"the document is of another federation than {registry.federation}")
    for agency in agencies:
        if registry.agency(agency) is None:
            raise DocumentError(f"the document names {agency}, which the registry does not list")
