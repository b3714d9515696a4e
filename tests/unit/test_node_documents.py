"""Agreements and policies at a node: verified each time, and never more than signatures and status allow."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from agency_node.documents import PolicyBook
from agency_node.keys import NodeKeys, Wrapper
from agency_node.store.store import NodeStore
from crypto.audit import AuditAction
from crypto.envelope import Envelope
from crypto.keys import generate_sealing_key
from policies.codec import document_hash, open_document
from policies.errors import LifecycleError, QuorumNotMetError, SigningError, StatusError
from policies.ids import AgencyId, Hash256
from policies.lifecycle import Stage
from policies.registry import Registry
from policies.render import page_hash, render_policy
from policies.statements import PolicyAction
from policies.status import StatusSnapshot
from policies.vocabulary import OfficerRole
from protos.wire.documents import DocumentBundle
from protos.wire.errors import ErrorCode, RefusedError
from tests.federation import CARE, LINKAGE, NHS, POLICE, REFUGE, Federation, mutual_parties
from tests.simulator import policies as sim
from tests.simulator.databases import migrate
from tests.simulator.node_audit import RecordedAudit
from tests.simulator.policies import key_of

MINUTE = timedelta(minutes=1)


class Held:
    """One agency's policy book."""

    def __init__(self, store: NodeStore, federation: Federation, agency: AgencyId) -> None:
        wrapper = Wrapper(bytes(32))
        sealing = (generate_sealing_key("x25519"),)
        keys = NodeKeys(
            federation.registry.federation, agency, key_of(f"node {agency}"), sealing, wrapper, wrapper
        )
        self.store, self.audit, self.federation = store, RecordedAudit(), federation
        self.book = PolicyBook(keys, self.audit)

    async def accept(self, bundle: DocumentBundle) -> str:
        async with self.store.transaction() as tx:
            return await self.book.accept(tx, bundle, self.federation.registry, self.federation.now)


@pytest.fixture
def federation(tmp_path: Path) -> Federation:
    return Federation.create(tmp_path)


@pytest.fixture
async def care(tmp_path: Path, federation: Federation) -> AsyncIterator[Held]:
    store = NodeStore.open(f"sqlite:///{tmp_path / 'care.db'}")
    await migrate(store.engine)
    yield Held(store, federation, CARE)
    await store.close()


@pytest.fixture
async def police(tmp_path: Path, federation: Federation) -> AsyncIterator[Held]:
    store = NodeStore.open(f"sqlite:///{tmp_path / 'police.db'}")
    await migrate(store.engine)
    yield Held(store, federation, POLICE)
    await store.close()


async def test_agreement_counts_with_all_signatures_in_time_and_under_the_registry_of_the_moment(
    care: Held, federation: Federation
) -> None:
    agreement = federation.agreement()
    with pytest.raises(QuorumNotMetError, match="nhs"):
        await care.accept(federation.signed_agreement(agreement, without=[NHS]))
    digest = await care.accept(federation.signed_agreement(agreement))
    assert await care.accept(federation.signed_agreement(agreement)) == digest
    assert care.audit.actions() == [AuditAction.AGREEMENT_ACCEPTED]
    async with care.store.transaction() as tx:
        found = await care.book.agreement(tx, LINKAGE, federation.registry, federation.now)
        assert found.hash == digest
        removed = replace(
            federation.registry,
            officers=tuple(item for item in federation.registry.officers if item.person != "nhs.siro"),
        )
        for registry, now in (
            (removed, federation.now),
            (federation.registry, agreement.not_after),
        ):
            with pytest.raises(RefusedError) as refused:
                await care.book.agreement(tx, LINKAGE, registry, now)
            assert refused.value.code is ErrorCode.LINKAGE_UNKNOWN


async def test_duplicated_signature_and_strangers_are_refused(care: Held, federation: Federation) -> None:
    bundle = federation.signed_policy(federation.policy())
    with pytest.raises(SigningError):
        await care.accept(replace(bundle, statements=(*bundle.statements, bundle.statements[0])))
    agreement = federation.agreement((POLICE, NHS))
    with pytest.raises(RefusedError) as refused:
        await care.accept(federation.signed_agreement(agreement))
    assert refused.value.code is ErrorCode.NOT_A_PARTY


async def test_provider_decides_by_its_own_events(care: Held, federation: Federation) -> None:
    policy = federation.policy()
    digest = await care.accept(federation.signed_policy(policy))
    registry, now = federation.registry, federation.now
    async with care.store.transaction() as tx:
        active = await care.book.active_policy(tx, digest, registry, now)
        assert (active.ceiling.tier, active.status_fresh) == (3, True)
        with pytest.raises(RefusedError, match="provides nothing"):
            await care.book.active_policy(tx, digest, registry, now, POLICE)
    event = federation.event(
        policy, PolicyAction.SUSPEND, 0, officer="privacy", role=OfficerRole.PRIVACY_OFFICER
    )
    async with care.store.transaction() as tx:
        state = await care.book.accept_event(tx, digest, event, registry, now + MINUTE)
        assert state.stage is Stage.SUSPENDED
        assert (await care.book.accept_event(tx, digest, event, registry, now + MINUTE)) == state
    async with care.store.transaction() as tx:
        with pytest.raises(RefusedError, match="suspended") as refused:
            await care.book.active_policy(tx, digest, registry, now + MINUTE)
        assert refused.value.code is ErrorCode.POLICY_NOT_ACTIVE
        # the officer leaves the registry: the suspension stays
        left = replace(
            registry, officers=tuple(item for item in registry.officers if item.person != "care.privacy")
        )
        with pytest.raises(RefusedError, match="suspended"):
            await care.book.active_policy(tx, digest, left, now + MINUTE)
    # a bundle from a broker that hides the event does not undo it
    await care.accept(federation.signed_policy(policy))
    async with care.store.transaction() as tx:
        with pytest.raises(RefusedError, match="suspended"):
            await care.book.active_policy(tx, digest, registry, now + MINUTE)
    assert care.audit.actions() == [AuditAction.POLICY_ACCEPTED, AuditAction.POLICY_SUSPENDED]


async def test_event_by_somebody_who_may_not_is_refused(care: Held, federation: Federation) -> None:
    policy = federation.policy()
    digest = await care.accept(federation.signed_policy(policy))
    for event in (
        federation.event(
            policy, PolicyAction.SUSPEND, 0, officer="investigator", role=OfficerRole.INVESTIGATOR
        ),
        federation.event(policy, PolicyAction.SUSPEND, 0, agency=REFUGE),
    ):
        async with care.store.transaction() as tx:
            with pytest.raises(LifecycleError):
                await care.book.accept_event(tx, digest, event, federation.registry, federation.now + MINUTE)


async def test_recipient_relies_on_the_providers_status_and_it_goes_stale(
    care: Held, police: Held, federation: Federation
) -> None:
    policy, registry, now = federation.policy(), federation.registry, federation.now
    bundle = federation.signed_policy(policy)
    digest = await care.accept(bundle)
    await police.accept(bundle)
    async with police.store.transaction() as tx:
        with pytest.raises(RefusedError, match="not known"):
            await police.book.active_policy(tx, digest, registry, now, CARE)
        assert await police.book.own_status(tx, registry, now) is None  # provides under nothing
    async with care.store.transaction() as tx:
        first = await care.book.own_status(tx, registry, now)
        second = await care.book.own_status(tx, registry, now)
    assert first is not None and second is not None
    async with police.store.transaction() as tx:
        await police.book.accept_status(tx, CARE, second, registry, now)
        with pytest.raises(StatusError, match="replayed"):
            await police.book.accept_status(tx, CARE, first, registry, now)
        with pytest.raises(StatusError):
            await police.book.accept_status(tx, NHS, second, registry, now)
        fresh = await police.book.active_policy(tx, digest, registry, now + 9 * MINUTE, CARE)
        assert (fresh.ceiling.tier, fresh.status_fresh) == (3, True)
        stale = await police.book.active_policy(tx, digest, registry, now + 11 * MINUTE, CARE)
        assert (stale.ceiling.tier, stale.status_fresh) == (0, False)
        with pytest.raises(RefusedError, match="more than a day"):
            await police.book.active_policy(tx, digest, registry, now + timedelta(days=2), CARE)


async def states(held: Held, registry: Registry, now: datetime) -> dict[str, str]:
    async with held.store.transaction() as tx:
        return {str(i.document_hash): i.state for i in await held.book.listed(tx, registry, now)}


async def stages_told(held: Held, registry: Registry, now: datetime) -> dict[str, Stage]:
    async with held.store.transaction() as tx:
        status = await held.book.own_status(tx, registry, now)
    assert status is not None
    snapshot = open_document(StatusSnapshot, Envelope.from_bytes(status))
    return {str(item.document_hash): item.stage for item in snapshot.policies}


async def is_active(held: Held, digest: str, registry: Registry, now: datetime) -> bool:
    async with held.store.transaction() as tx:
        try:
            await held.book.active_policy(tx, digest, registry, now)
        except (RefusedError, QuorumNotMetError):
            return False
        return True


async def test_active_successor_replaces_its_predecessor(care: Held, federation: Federation) -> None:
    registry, now = federation.registry, federation.now
    digest = await care.accept(federation.signed_policy(federation.policy()))
    newer = await care.accept(
        federation.signed_policy(
            federation.policy(version=2, supersedes=digest, not_before=now + timedelta(hours=1))
        )
    )
    assert await is_active(care, digest, registry, now + 59 * MINUTE)
    assert not await is_active(care, newer, registry, now + 59 * MINUTE)
    then = now + timedelta(hours=1)
    assert await is_active(care, newer, registry, then)
    async with care.store.transaction() as tx:
        with pytest.raises(RefusedError, match="newer version"):
            await care.book.active_policy(tx, digest, registry, then)
    assert await states(care, registry, then) == {digest: "superseded", newer: "active"}
    assert await stages_told(care, registry, then) == {digest: Stage.SUPERSEDED, newer: Stage.ACTIVE}


@pytest.mark.parametrize("action", [PolicyAction.SUSPEND, PolicyAction.REVOKE])
@pytest.mark.parametrize("cooling_off", [False, True], ids=["in force", "in its cooling-off"])
async def test_stopping_a_version_brings_no_earlier_one_back(
    care: Held, federation: Federation, action: PolicyAction, cooling_off: bool
) -> None:
    registry, now = federation.registry, federation.now
    begins = now + timedelta(hours=1) if cooling_off else now - timedelta(hours=1)
    digest = await care.accept(federation.signed_policy(federation.policy()))
    second = federation.policy(version=2, supersedes=digest, not_before=begins)
    newer = await care.accept(federation.signed_policy(second))
    event = federation.event(second, action, 0)
    async with care.store.transaction() as tx:
        await care.book.accept_event(tx, newer, event, registry, now + MINUTE)
    assert await is_active(care, digest, registry, now + MINUTE) is cooling_off
    for moment in (now + 61 * MINUTE, now + timedelta(days=20)):
        assert not await is_active(care, digest, registry, moment)
        assert not await is_active(care, newer, registry, moment)
        assert (await states(care, registry, moment))[digest] == "superseded"
        assert (await stages_told(care, registry, moment))[digest] is Stage.SUPERSEDED


async def test_a_successor_that_counts_no_longer_goes_on_superseding(
    care: Held, federation: Federation
) -> None:
    """The guardian who signed the newer version alone is struck off; the older one's signers stay."""
    deputy = sim.officer("care.deputy", CARE, OfficerRole.SIRO)
    registry, now = federation.registry, federation.now
    with_deputy = replace(registry, officers=(*registry.officers, deputy))
    digest = await care.accept(federation.signed_policy(federation.policy()))
    second = federation.policy(version=2, supersedes=digest)
    page = page_hash(render_policy(second))
    by_deputy = federation.statement(document_hash(second), page, CARE, "deputy", OfficerRole.SIRO)
    guardian = federation.statement(
        document_hash(second), page, CARE, "guardian", OfficerRole.CALDICOTT_GUARDIAN
    )
    rest = federation.signed_policy(second, without=[CARE])
    bundle = replace(rest, statements=(*rest.statements, by_deputy, guardian))
    with pytest.raises(QuorumNotMetError):
        await care.accept(bundle)
    assert await is_active(care, digest, registry, now)  # what never had its quorum supersedes nothing
    async with care.store.transaction() as tx:
        newer = await care.book.accept(tx, bundle, with_deputy, now)
    for in_force in (with_deputy, registry):
        assert not await is_active(care, digest, in_force, now)
        assert (await stages_told(care, in_force, now))[digest] is Stage.SUPERSEDED
    assert not await is_active(care, newer, registry, now)
    assert await states(care, registry, now) == {digest: "superseded", newer: "not counted"}


async def test_a_version_between_that_was_never_seen(care: Held, federation: Federation) -> None:
    first = await care.accept(federation.signed_policy(federation.policy()))
    unseen = federation.policy(version=2, supersedes=first)
    third = federation.policy(version=3, supersedes=Hash256(document_hash(unseen)))
    newest = await care.accept(federation.signed_policy(third))
    assert await states(care, federation.registry, federation.now) == {first: "superseded", newest: "active"}


async def test_a_version_that_leaves_out_a_provider_is_refused(care: Held, federation: Federation) -> None:
    """Neither before nor after the version whose provider it leaves out: they would be in force together."""
    both = federation.policy(parties=mutual_parties(POLICE, CARE, NHS))
    less = federation.policy(
        version=2,
        supersedes=Hash256(document_hash(both)),
        parties=mutual_parties(POLICE, CARE),
        clauses=tuple(replace(item, providers=(CARE,)) for item in both.clauses),
        governance=replace(both.governance, dpo_advice=()),
    )
    digest = await care.accept(federation.signed_policy(both))
    with pytest.raises(LifecycleError, match="leaves out a provider of version 1"):
        await care.accept(federation.signed_policy(less))
    assert await is_active(care, digest, federation.registry, federation.now)
