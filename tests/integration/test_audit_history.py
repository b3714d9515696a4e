"""An exported log whose officers and keys were replaced: what was lawful in its time stays so, no more."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import cast

import pytest

from agency_node.audit_check import CheckReport, check_export
from agency_node.trust import keep_accepted
from crypto.audit import AuditAction
from crypto.canonical import JsonValue, b64u, canonical_json
from crypto.checkpoint import cosign
from crypto.envelope import Envelope
from policies.audit_names import witness_name
from policies.codec import open_document
from policies.ids import AgencyId, Hash256, Prose
from policies.lifecycle import sign_event
from policies.registry import Registry
from policies.statements import PolicyAction, PolicyEvent
from policies.trust import TrustedRegistry
from policies.vocabulary import OfficerRole
from tests.integration.test_node_audit_export import (
    ANCHOR,
    SIM,
    edited,
    enrol,
    resigned,
    without,
    write_export,
)
from tests.simulator.disclosure_nodes import POLICY_SIGNERS, World, make_world
from tests.simulator.policies import CARE, POLICE, key_of

RELEASED = AuditAction.DISCLOSURE_RELEASED


@pytest.fixture
async def world() -> AsyncIterator[World]:
    made = await make_world()
    await enrol(made)
    yield made
    await made.close()


async def renew(world: World, registry: Registry, *roots: int) -> None:
    """Social care's node accepts another registry, after further roots."""
    care = world.care
    async with care.store.transaction() as tx:
        first, held = await tx.trust.roots(), await tx.trust.registry()
        assert held is not None
        trusted = TrustedRegistry.replayed(Hash256(ANCHOR), first, held, world.clock.now)
        for version in roots:
            envelope = SIM.root_signed(SIM.root(version=version)).to_bytes()
            trusted = trusted.update_root(envelope)
            await tx.trust.add_root(version, envelope)
        trusted = trusted.update_registry(SIM.root_signed(registry).to_bytes(), world.clock.now)
        await keep_accepted(tx, care.log, CARE, trusted)
    world.registries.registry = registry


def next_registry(
    world: World, *, without: Sequence[str] = (), node_keys: dict[AgencyId, str] | None = None
) -> Registry:
    """The next version: without officers, and with other keys of nodes."""
    held, keys = world.registries.registry, node_keys or {}
    return replace(
        held,
        version=held.version + 1,
        officers=tuple(item for item in held.officers if item.person not in without),
        agencies=tuple(
            replace(item, node_verify_key=key_of(keys[item.id]).verify_key) if item.id in keys else item
            for item in held.agencies
        ),
    )


async def release(world: World, number: int) -> None:
    async with world.care.store.transaction() as tx:
        ref = f"{number:064x}"
        await world.care.log.append(tx, RELEASED, actor="care", body={}, policy=world.policy_hash, ref=ref)


async def exported(world: World, folder: Path, witnesses: int | None = None) -> CheckReport:
    await write_export(world, folder)
    return check_export(folder, anchor=ANCHOR, witnesses=witnesses)


def found(report: CheckReport) -> list[tuple[str, int | None]]:
    return [(item.kind, item.seq) for item in report.findings]


async def test_an_officer_who_was_dropped_later_takes_no_release_back(world: World, tmp_path: Path) -> None:
    await release(world, 1)
    await renew(world, next_registry(world, without=["police.siro"]))
    assert found(await exported(world, tmp_path / "before")) == []
    await release(world, 2)
    report = await exported(world, tmp_path / "after")
    assert found(report) == [("policy-not-in-force", 3)]
    assert "not fully signed" in report.findings[0].message


async def test_heads_under_the_key_that_the_node_had_then_count(world: World, tmp_path: Path) -> None:
    await release(world, 1)
    async with world.care.store.transaction() as tx:
        await world.care.log.checkpoint(tx)
    await renew(world, next_registry(world, node_keys={CARE: "node care anew"}), 2)
    old = await exported(world, tmp_path / "old")
    assert {item.kind for item in old.findings} == {"manifest", "unsigned-leaves"}  # the old key is over
    assert any("another time" in note for note in old.notes)
    object.__setattr__(world.care.keys, "signer", key_of("node care anew"))  # as if started with its new key
    await release(world, 2)
    assert found(await exported(world, tmp_path / "new")) == []


async def test_cosignatures_under_a_key_that_was_replaced_count_from_before(
    world: World, tmp_path: Path
) -> None:
    await world.care.disclosure.ask_witnesses()
    await world.deliver()
    world.clock.advance(minutes=1)
    await renew(world, next_registry(world, node_keys={POLICE: "node police anew"}))
    report = await exported(world, tmp_path / "export", witnesses=1)
    assert found(report) == [] and any("1 other agencies vouch for the first 1" in it for it in report.notes)
    world.clock.advance(minutes=1)
    async with world.care.store.transaction() as tx:
        head = (await world.care.log.checkpoint(tx)).checkpoint
        name = witness_name(world.registries.registry.federation, POLICE)
        stolen = cosign(head, name, key_of("node police"), world.clock.now)
        await world.care.log.add_cosignature(tx, head.size, stolen)
    report = await exported(world, tmp_path / "stolen", witnesses=1)
    assert any("vouch for the first 1 of" in note for note in report.notes)


async def test_no_registry_can_be_left_out_added_or_put_earlier(world: World, tmp_path: Path) -> None:
    await release(world, 1)
    await renew(world, next_registry(world, without=["police.siro"]), 2)
    await renew(world, next_registry(world))
    assert found(await exported(world, tmp_path / "whole")) == []
    for number in range(3):
        await write_export(world, tmp_path / f"without {number}")
        without("registries.jsonl", number)(tmp_path / f"without {number}")
        resigned(tmp_path / f"without {number}")
        report = check_export(tmp_path / f"without {number}", anchor=ANCHOR)
        assert {item.kind for item in report.findings} & {"trust", "untrusted"}, number
    await write_export(world, tmp_path / "more")
    lines = (tmp_path / "more" / "registries.jsonl").read_bytes().splitlines(keepends=True)
    (tmp_path / "more" / "registries.jsonl").write_bytes(b"".join([*lines, lines[-1]]))
    resigned(tmp_path / "more")
    report = check_export(tmp_path / "more", anchor=ANCHOR)
    assert ("trust", None) in found(report)
    empty = canonical_json({"envelope": "", "root": 2}) + b"\n"
    (tmp_path / "more" / "registries.jsonl").write_bytes(b"".join([*lines, empty]))
    resigned(tmp_path / "more")
    assert found(check_export(tmp_path / "more", anchor=ANCHOR)) == [("untrusted", None)]


async def test_a_release_while_the_registry_had_expired(world: World, tmp_path: Path) -> None:
    world.clock.now = world.registries.registry.expires
    await release(world, 1)
    held = world.registries.registry
    await renew(world, replace(held, version=2, expires=held.expires + timedelta(days=30)))
    report = await exported(world, tmp_path / "export", witnesses=0)
    assert found(report) == [("policy-not-in-force", 1)] and "no registry" in report.findings[0].message


async def test_a_log_that_began_before_entries_named_their_registries(world: World, tmp_path: Path) -> None:
    """Its first registry holds from the first entry on."""
    care = world.care
    await release(world, 1)
    async with care.store.transaction() as tx:
        await care.log.append(tx, AuditAction.REGISTRY_ACCEPTED, actor="care", body={})
    report = await exported(world, tmp_path / "mixed")
    assert found(report) == [("trust", 2)]


# -- events of a policy


def event(
    world: World, act: PolicyAction, person: str, sequence: int, role: OfficerRole = OfficerRole.SIRO
) -> bytes:
    organisation = AgencyId(person.partition(".")[0])
    made = PolicyEvent(
        world.policy.id,
        Hash256(world.policy_hash),
        sequence,
        act,
        organisation,
        role,
        world.clock.now,
        Prose("So be it."),
    )
    return sign_event(made, key_of(person)).to_bytes()


async def take(world: World, *events: bytes) -> None:
    """The node takes events in, each with its entry; a minute passes."""
    registry = world.registries.registry
    async with world.care.store.transaction() as tx:
        for item in events:
            await world.care.book.accept_event(tx, world.policy_hash, item, registry, world.clock.now)
    world.clock.advance(minutes=1)


async def decide(world: World) -> None:
    async with world.care.store.transaction() as tx:
        decided = AuditAction.DISCLOSURE_DECIDED
        await world.care.log.append(tx, decided, actor="care", body={}, policy=world.policy_hash)


def agreeing(world: World, sequence: int) -> list[bytes]:
    return [
        event(world, PolicyAction.REACTIVATE, person, sequence, role) for person, _, role in POLICY_SIGNERS
    ]


async def stopped_and_resumed(world: World) -> None:
    """Entries: 1 decided; 2 suspended; 3 decided; 4-8 reactivated; 9 decided; 10 revoked; 11 decided."""
    await decide(world)
    await take(world, event(world, PolicyAction.SUSPEND, "nhs.siro", 0))
    await decide(world)
    await take(world, *agreeing(world, 1))
    await decide(world)
    await take(world, event(world, PolicyAction.REVOKE, "care.siro", 0))
    await decide(world)


async def test_each_decision_is_judged_by_the_events_before_it(world: World, tmp_path: Path) -> None:
    await stopped_and_resumed(world)
    report = await exported(world, tmp_path / "export")
    assert [(item.seq, item.message) for item in report.findings] == [
        (3, "something was decided under a policy that was suspended"),
        (11, "something was decided under a policy that was revoked"),
    ]


async def test_events_that_do_not_fit_their_entries(world: World, tmp_path: Path) -> None:
    await stopped_and_resumed(world)
    await write_export(world, tmp_path / "whole")

    def after(change: Callable[[list[JsonValue]], None]) -> list[tuple[str, int | None]]:
        folder = tmp_path / "changed"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(tmp_path / "whole", folder)
        lines = (folder / "documents.jsonl").read_bytes().splitlines()
        (number,) = (number for number, line in enumerate(lines) if b"sharing-policy" in line)
        edited("documents.jsonl", number, lambda line: change(cast("list[JsonValue]", line["events"])))(
            folder
        )
        resigned(folder)
        return found(check_export(folder, anchor=ANCHOR))

    assert ("policy-event", 10) in after(lambda events: cast("None", events.pop()))
    assert ("policy-event", 2) in after(lambda events: events.reverse())
    forged = sign_event(
        open_document(PolicyEvent, Envelope.from_bytes(event(world, PolicyAction.SUSPEND, "nhs.siro", 0))),
        key_of("nobody"),
    )
    assert ("policy-event", 2) in after(lambda events: events.__setitem__(0, b64u(forged.to_bytes())))
    investigator = event(world, PolicyAction.SUSPEND, "nhs.investigator", 0, OfficerRole.INVESTIGATOR)
    assert ("policy-event", 2) in after(lambda events: events.__setitem__(0, b64u(investigator)))


async def test_a_stop_counts_after_its_officer_was_dropped_and_a_resumption_does_not(
    world: World, tmp_path: Path
) -> None:
    await take(world, event(world, PolicyAction.SUSPEND, "police.privacy", 0, OfficerRole.PRIVACY_OFFICER))
    await renew(world, next_registry(world, without=["police.privacy"]))
    await decide(world)
    await take(world, *agreeing(world, 1))
    await decide(world)
    report = await exported(world, tmp_path / "export")
    assert found(report) == [("policy-not-in-force", 3)] and "suspended" in report.findings[0].message


async def test_decisions_and_entries_about_policies_that_are_not_there(world: World, tmp_path: Path) -> None:
    async with world.care.store.transaction() as tx:
        for action in (
            AuditAction.DISCLOSURE_DECIDED,
            AuditAction.POLICY_ACCEPTED,
            AuditAction.POLICY_SUSPENDED,
            AuditAction.DISCLOSURE_REFUSED,
        ):
            await world.care.log.append(tx, action, actor="care", body={}, policy="c" * 64)
    report = await exported(world, tmp_path / "export")
    assert found(report) == [("policy-not-in-force", 1), ("documents", 2), ("documents", 3)]
