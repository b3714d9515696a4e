"""Signatures at a node: who left dates nothing back, nothing held is lost, late comers can still join."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from agency_node.store.store import NodeStore
from crypto.audit import AuditAction
from policies.agreement import LinkageAgreement
from policies.codec import document_hash, envelope_of
from policies.errors import QuorumNotMetError
from policies.ids import AgencyId, Hash256
from policies.render import page_hash, render_agreement, render_policy
from policies.sharing import SharingPolicy
from policies.signing import sign_statement
from policies.statements import SigningStatement
from policies.vocabulary import Decision, OfficerRole
from protos.wire.documents import DocumentBundle, DocumentKind
from tests.federation import CARE, NHS, POLICE, Federation
from tests.simulator.databases import migrate
from tests.simulator.policies import key_of, officer
from tests.unit.test_node_documents import Held

DAY = timedelta(days=1)
SIRO, IAO, GUARDIAN = OfficerRole.SIRO, OfficerRole.IAO, OfficerRole.CALDICOTT_GUARDIAN
POLICY_SIGNERS = (
    ("police.siro", POLICE, SIRO),
    ("care.siro", CARE, SIRO),
    ("care.guardian", CARE, GUARDIAN),
    ("nhs.siro", NHS, SIRO),
    ("nhs.guardian", NHS, GUARDIAN),
)
AGREEMENT_SIGNERS = tuple((f"{name}.siro", name, SIRO) for name in (POLICE, CARE, NHS))


@pytest.fixture
def federation(tmp_path: Path) -> Federation:
    return Federation.create(tmp_path)


@pytest.fixture
async def police(tmp_path: Path, federation: Federation) -> AsyncIterator[Held]:
    store = NodeStore.open(f"sqlite:///{tmp_path / 'police.db'}")
    await migrate(store.engine)
    yield Held(store, federation, POLICE)
    await store.close()


def statement(
    document: SharingPolicy | LinkageAgreement,
    who: tuple[str, AgencyId, OfficerRole],
    at: datetime,
    decision: Decision = Decision.APPROVE,
) -> bytes:
    page = render_policy(document) if isinstance(document, SharingPolicy) else render_agreement(document)
    label, organisation, role = who
    said = SigningStatement(
        Hash256(document_hash(document)), Hash256(page_hash(page)), organisation, role, decision, at
    )
    return sign_statement(said, key_of(label)).to_bytes()


def signed(document: SharingPolicy | LinkageAgreement, *dates: datetime) -> DocumentBundle:
    """Signed at these times by the usual officers, in their order; the last time is that of the rest."""
    policy = isinstance(document, SharingPolicy)
    kind = DocumentKind.SHARING_POLICY if policy else DocumentKind.LINKAGE_AGREEMENT
    signers = POLICY_SIGNERS if policy else AGREEMENT_SIGNERS
    times = (*dates, *[dates[-1]] * (len(signers) - len(dates)))
    statements = [statement(document, who, at) for who, at in zip(signers, times, strict=True)]
    return DocumentBundle(kind, envelope_of(document).to_bytes(), tuple(statements))


def document_of(federation: Federation, kind: str) -> SharingPolicy | LinkageAgreement:
    """One without advice that would have a date."""
    if kind == "agreement":
        return federation.agreement()
    policy = federation.policy()
    return replace(policy, governance=replace(policy.governance, dpo_advice=(), dpia=None))


def left(federation: Federation, person: str, when: datetime) -> None:
    """The officer's time in post ends."""
    officers = tuple(
        replace(item, not_after=when) if item.person == person else item
        for item in federation.registry.officers
    )
    federation.new_registry(officers=officers)


async def state(held: Held, digest: str) -> str:
    async with held.store.transaction() as tx:
        listed = await held.book.listed(tx, held.federation.registry, held.federation.now)
    return next(item.state for item in listed if item.document_hash == digest)


@pytest.mark.parametrize("kind", ["policy", "agreement"])
async def test_who_left_cannot_date_a_signature_back(police: Held, federation: Federation, kind: str) -> None:
    """Neither beside honest dates nor, at the agency that was left, beside dates that all lie."""
    gone = federation.now - 90 * DAY
    left(federation, "police.siro", gone)
    document = document_of(federation, kind)
    with pytest.raises(QuorumNotMetError, match="police: SIRO or IAO"):
        await police.accept(signed(document, gone - DAY, federation.now))
    with pytest.raises(QuorumNotMetError, match="new here, and who signed it for this agency has left"):
        await police.accept(signed(document, gone - DAY))
    assert police.audit.actions() == []


@pytest.mark.parametrize("kind", ["policy", "agreement"])
async def test_what_is_held_goes_on_counting_when_an_officer_leaves(
    police: Held, federation: Federation, kind: str
) -> None:
    document = document_of(federation, kind)
    digest = await police.accept(signed(document, federation.now))
    left(federation, "police.siro", federation.now + DAY)
    left(federation, "care.siro", federation.now + DAY)
    federation.now += 100 * DAY
    assert await state(police, digest) in {"active", "in force"}
    struck = tuple(item for item in federation.registry.officers if item.person != "care.siro")
    federation.new_registry(officers=struck)
    assert await state(police, digest) == "not counted"


async def test_a_node_that_comes_late_takes_an_old_document(police: Held, federation: Federation) -> None:
    """Others' officers may have left since; for its own agency somebody in post signs as well."""
    document = document_of(federation, "policy")
    assert isinstance(document, SharingPolicy)
    bundle = signed(document, federation.now)
    left(federation, "care.siro", federation.now + DAY)
    federation.now += 100 * DAY
    left(federation, "police.siro", federation.now - 10 * DAY)
    with pytest.raises(QuorumNotMetError, match="who signed it for this agency has left"):
        await police.accept(bundle)
    successor = officer("police.iao", POLICE, IAO)
    federation.new_registry(officers=(*federation.registry.officers, successor))
    more = statement(document, ("police.iao", POLICE, IAO), federation.now)
    digest = await police.accept(replace(bundle, statements=(*bundle.statements, more)))
    assert await state(police, digest) == "active"
    await police.accept(bundle)  # as the broker has it
    async with police.store.transaction() as tx:
        held = await tx.documents.get(digest)
    assert held is not None and more in held.statements


async def test_a_broken_quorum_is_not_mended_by_who_left(police: Held, federation: Federation) -> None:
    former = officer("care.iao", CARE, IAO, not_after=federation.now + DAY)
    federation.new_registry(officers=(*federation.registry.officers, former))
    document = document_of(federation, "policy")
    bundle = signed(document, federation.now)
    digest = await police.accept(bundle)
    then, federation.now = federation.now, federation.now + 2 * DAY
    struck = tuple(item for item in federation.registry.officers if item.person != "care.siro")
    federation.new_registry(officers=struck)
    back = statement(document, ("care.iao", CARE, IAO), then)
    await police.accept(replace(bundle, statements=(*bundle.statements, back)))
    assert await state(police, digest) == "not counted"


async def test_a_rejection_that_was_seen_cannot_be_left_out(police: Held, federation: Federation) -> None:
    deputy = officer("police.iao", POLICE, IAO)
    federation.new_registry(officers=(*federation.registry.officers, deputy))
    document = document_of(federation, "policy")
    bundle = signed(document, federation.now)
    no = statement(document, ("police.iao", POLICE, IAO), federation.now, Decision.REJECT)
    rejected = replace(bundle, statements=(*bundle.statements, no))
    with pytest.raises(QuorumNotMetError, match=r"rejected by police\.iao"):
        await police.accept(rejected)
    digest = await police.accept(bundle)
    assert await state(police, digest) == "active"
    await police.accept(rejected)
    assert await state(police, digest) == "not counted"
    await police.accept(bundle)
    assert await state(police, digest) == "not counted"
    assert police.audit.actions() == [AuditAction.POLICY_ACCEPTED]
