"""An exported log: sound as it is, and not sound after any change, even by who holds the node's key."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import fields, replace
from datetime import timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from agency_node.audit_check import check_export
from agency_node.audit_cli import audit_app
from agency_node.audit_files import ExportUnusableError
from agency_node.audit_manifest import FILES, MANIFEST, AuditManifest
from agency_node.trust import keep_accepted
from crypto.audit import AuditAction
from crypto.canonical import JsonValue, b64u, canonical_json, parse_canonical, sha256_hex, unb64u
from crypto.checkpoint import Checkpoint, sign_checkpoint
from crypto.envelope import Envelope, sign_envelope
from policies.codec import open_document, payload_type, write
from policies.disclosure import BreakGlass
from policies.ids import AgencyId, FederationId, Hash256, Line, PolicyId, Prose
from policies.trust import TrustedRegistry
from tests.simulator.disclosure_nodes import POLICY_SIGNERS, SUSAN_AT_CARE, World, make_world, signed_bundle
from tests.simulator.policies import CARE, NHS, NOW, POLICE, FederationSimulator, key_of, sample_policy

SIM = FederationSimulator()
ROOT = SIM.root_signed(SIM.root())
ANCHOR = ROOT.digest
Change = Callable[[Path], None]


async def enrol(world: World) -> None:
    """Gives the nodes the trust documents that an export holds."""
    registry = world.registries.registry
    for node in world.nodes.values():
        async with node.store.transaction() as tx:
            await tx.trust.add_root(1, ROOT.to_bytes())
            trusted = TrustedRegistry.from_anchor(ROOT.to_bytes(), Hash256(ANCHOR))
            trusted = trusted.update_registry(SIM.root_signed(registry).to_bytes(), NOW)
            await keep_accepted(tx, node.log, node.agency, trusted)


async def write_export(world: World, folder: Path, agency: AgencyId = CARE) -> None:
    async for name, chunk in world.nodes[agency].disclosure.export_audit():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        with (folder / name).open("ab") as stream:
            stream.write(chunk)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    made = await make_world()
    await enrol(made)
    yield made
    await made.close()


@pytest.fixture
async def export(world: World, tmp_path: Path) -> Path:
    for tier in (1, 2):
        request_id = await world.ask(tier=tier)
        await world.deliver()
    await world.approve(request_id, world.care, "care.approver", "approver")
    await world.deliver()
    await world.care.disclosure.ask_witnesses()
    await world.deliver()
    await write_export(world, tmp_path / "export")
    return tmp_path / "export"


def kinds(folder: Path, witnesses: int | None = None) -> set[str]:
    report = check_export(folder, anchor=ANCHOR, witnesses=witnesses)
    return {item.kind for item in report.findings}


def resigned(folder: Path, **changes: object) -> None:
    """What an administrator with the node's key can do: a new manifest over the changed files."""
    manifest = open_document(AuditManifest, Envelope.from_bytes((folder / MANIFEST).read_bytes()))
    files = {name: Hash256(sha256_hex((folder / name).read_bytes())) for name in manifest.files}
    made = replace(manifest, files=files, **changes)  # type: ignore[arg-type] # the test names real fields
    envelope = sign_envelope(payload_type(AuditManifest), write(made), [key_of("node care")])
    (folder / MANIFEST).write_bytes(envelope.to_bytes())


def edited(name: str, number: int, change: Callable[[dict[str, JsonValue]], None]) -> Change:
    """Changes one line of a file of canonical JSON."""

    def apply(folder: Path) -> None:
        lines = (folder / name).read_bytes().splitlines()
        value = parse_canonical(lines[number])
        assert isinstance(value, dict)
        change(value)
        lines[number] = canonical_json(value)
        (folder / name).write_bytes(b"".join(line + b"\n" for line in lines))

    return apply


def without(name: str, number: int) -> Change:
    """Takes a line out of a file."""

    def apply(folder: Path) -> None:
        lines = (folder / name).read_bytes().splitlines()
        del lines[number]
        (folder / name).write_bytes(b"".join(line + b"\n" for line in lines))

    return apply


def setting(key: str, value: JsonValue) -> Callable[[dict[str, JsonValue]], None]:
    def change(line: dict[str, JsonValue]) -> None:
        assert line[key] != value
        line[key] = value

    return change


def flipped(key: str) -> Callable[[dict[str, JsonValue]], None]:
    """Flips the last bit of bytes in base64url."""

    def change(line: dict[str, JsonValue]) -> None:
        raw = unb64u(str(line[key]))
        line[key] = b64u(raw[:-1] + bytes([raw[-1] ^ 1]))

    return change


def root_changed(line: dict[str, JsonValue]) -> None:
    text = str(line["note"]).split("\n")
    text[2] = ("A" if text[2][0] != "A" else "B") + text[2][1:]
    line["note"] = "\n".join(text)


def note_changed(place: int, text: str | None) -> Callable[[dict[str, JsonValue]], None]:
    """Changes one line of a signed note; its signature's last character where no text is given."""

    def change(line: dict[str, JsonValue]) -> None:
        lines = str(line["note"]).split("\n")
        changed = text or lines[place][:-4] + ("AAA=" if lines[place][-4:] != "AAA=" else "BBB=")
        assert lines[place] != changed
        lines[place] = changed
        line["note"] = "\n".join(lines)

    return change


LEAF = "leaves.jsonl"
LEAF_CHANGES: dict[str, JsonValue] = {
    "v": 2,
    "seq": 7,
    "time": "2026-03-02T08:59:59Z",
    "origin": "testshire/agency/nhs/audit",
    "action": "purged",
    "actor": "0" * 64,
    "subject": "0" * 64,
    "policy": "0" * 64,
    "ref": "0" * 64,
    "details": "0" * 64,
}
CHANGES: dict[str, Change] = {
    **{f"leaf {key}": edited(LEAF, 1, setting(key, value)) for key, value in LEAF_CHANGES.items()},
    "first leaf gone": without(LEAF, 0),
    "middle leaf gone": without(LEAF, 2),
    "last leaf gone": without(LEAF, -1),
    "details changed": edited("sealed.jsonl", 1, flipped("sealed")),
    "details under another number": edited("sealed.jsonl", 1, setting("seq", 2)),
    "details gone": without("sealed.jsonl", 1),
    "last details gone": without("sealed.jsonl", -1),
    "head changed": edited("checkpoints.jsonl", -1, root_changed),
    "no heads": lambda folder: os.truncate(folder / "checkpoints.jsonl", 0),
    "newest head gone": without("checkpoints.jsonl", -1),
    "root changed": edited("roots.jsonl", 0, flipped("envelope")),
    "registry changed": edited("registries.jsonl", 0, flipped("envelope")),
    "root of a registry changed": edited("registries.jsonl", 0, setting("root", 2)),
    "registry gone": without("registries.jsonl", 0),
    "document changed": edited("documents.jsonl", 0, flipped("document")),
    "statement gone": edited("documents.jsonl", 0, lambda line: _pop(line, "statements")),
    "hash of another": edited("documents.jsonl", 0, setting("hash", "0" * 64)),
    "kind of another": edited("documents.jsonl", 0, setting("kind", "linkage-agreement")),
    "an event that is none": edited("documents.jsonl", 0, lambda line: _append(line, "events", "AAAA")),
    "head of another log": edited("checkpoints.jsonl", -1, note_changed(0, "testshire/agency/nhs/audit")),
    "head of another size": edited("checkpoints.jsonl", -1, note_changed(1, "1")),
    "signature of a head changed": edited("checkpoints.jsonl", -1, note_changed(4, None)),
}
#: What of each line is changed above.
COVERED = {
    LEAF: set(LEAF_CHANGES),
    "sealed.jsonl": {"sealed", "seq"},
    "checkpoints.jsonl": {"note"},
    "roots.jsonl": {"envelope"},
    "registries.jsonl": {"envelope", "root"},
    "documents.jsonl": {"document", "statements", "hash", "kind", "events"},
}
MANIFEST_CHANGES: dict[str, object] = {
    "federation": FederationId("elsewhere"),
    "agency": NHS,
    "origin": Line("testshire/agency/nhs/audit"),
    "size": 1,
    "exported_at": NOW + timedelta(days=1),
    "files": {Line(name): Hash256("0" * 64) for name in FILES},
}


def _pop(line: dict[str, JsonValue], key: str) -> None:
    value = line[key]
    assert isinstance(value, list)
    value.pop()


def _append(line: dict[str, JsonValue], key: str, item: JsonValue) -> None:
    value = line[key]
    assert isinstance(value, list)
    value.append(item)


async def test_an_untouched_export_is_sound(export: Path) -> None:
    report = check_export(export, anchor=ANCHOR)
    assert report.findings == () and report.size >= 6
    assert any("vouch" in note for note in report.notes)
    assert kinds(export, witnesses=1) == set()
    assert kinds(export, witnesses=2) == {"unwitnessed-head"}


async def test_every_change_is_found_and_found_again_after_a_new_manifest(export: Path) -> None:
    # A policy comes before the agreement or after it; the tests about statements need the policy.
    lines = sorted((export / "documents.jsonl").read_bytes().splitlines(), key=lambda x: b"sharing" not in x)
    (export / "documents.jsonl").write_bytes(b"".join(line + b"\n" for line in lines))
    resigned(export)
    assert kinds(export) == set()
    for name, change in CHANGES.items():
        for resign in (False, True):
            folder = export.parent / "changed"
            shutil.copytree(export, folder)
            change(folder)
            if resign:
                resigned(folder)
            found = kinds(folder)
            assert found, f"{name}, {'with' if resign else 'without'} a new manifest"
            assert ("altered-file" in found) is not resign, name
            shutil.rmtree(folder)


async def test_a_manifest_of_another_key_agency_or_size(export: Path) -> None:
    manifest = open_document(AuditManifest, Envelope.from_bytes((export / MANIFEST).read_bytes()))
    forged = sign_envelope(payload_type(AuditManifest), write(manifest), [key_of("node nhs")])
    (export / MANIFEST).write_bytes(forged.to_bytes())
    assert kinds(export) == {"manifest"}
    resigned(export, size=manifest.size - 1)
    assert kinds(export) == {"manifest"}
    resigned(export, size=manifest.size, origin=Line("testshire/agency/nhs/audit"))
    assert kinds(export) == {"manifest"}


@pytest.mark.parametrize("name", [item.name for item in fields(AuditManifest)])
async def test_every_field_of_the_manifest_is_signed(export: Path, name: str) -> None:
    envelope = Envelope.from_bytes((export / MANIFEST).read_bytes())
    manifest = replace(open_document(AuditManifest, envelope), **{name: MANIFEST_CHANGES[name]})  # type: ignore[arg-type] # the test names real fields
    assert write(manifest) != envelope.payload
    (export / MANIFEST).write_bytes(replace(envelope, payload=write(manifest)).to_bytes())
    assert kinds(export) & {"manifest", "untrusted"}


async def test_every_field_of_every_line_has_a_change(export: Path) -> None:
    """Whoever adds a field to an export is reminded to have a test change it."""
    for name, covered in COVERED.items():
        for line in (export / name).read_bytes().splitlines():
            value = parse_canonical(line)
            assert isinstance(value, dict) and set(value) == covered, name
    assert set(COVERED) == set(FILES)
    assert MANIFEST_CHANGES.keys() == {item.name for item in fields(AuditManifest)}


async def test_another_federations_anchor(export: Path) -> None:
    report = check_export(export, anchor="0" * 64)
    assert [item.kind for item in report.findings] == ["untrusted"]


@pytest.mark.parametrize("name", [*FILES, MANIFEST])
async def test_a_missing_file_is_not_verified_at_all(export: Path, name: str) -> None:
    (export / name).unlink()
    with pytest.raises(ExportUnusableError):
        check_export(export, anchor=ANCHOR)


async def test_releases_receipts_and_break_glass_that_do_not_fit(world: World, tmp_path: Path) -> None:
    async with world.care.store.transaction() as tx:
        append = world.care.log.append
        release, receipt = AuditAction.DISCLOSURE_RELEASED, AuditAction.RECEIPT_RECEIVED
        await append(tx, release, actor="care", body={}, policy=world.policy_hash, ref="a" * 64)
        await append(tx, AuditAction.POLICY_SUSPENDED, actor="care", body={}, policy=world.policy_hash)
        await append(tx, release, actor="care", body={}, policy=world.policy_hash, ref="b" * 64)
        await append(tx, release, actor="care", body={}, policy="c" * 64)
        await append(tx, release, actor="care", body={})
        await append(tx, receipt, actor="police", body={}, ref="d" * 64)
        await append(tx, AuditAction.BREAK_GLASS_INVOKED, actor="x", body={}, subject=SUSAN_AT_CARE)
    world.clock.advance(hours=25)
    await world.care.disclosure.ask_witnesses()
    await world.deliver()
    await write_export(world, tmp_path / "bad")
    report = check_export(tmp_path / "bad", anchor=ANCHOR)
    found = [(item.kind, item.seq) for item in report.findings]
    assert sorted(found, key=str) == sorted(
        [
            ("policy-event", 2),
            ("policy-not-in-force", 3),
            ("policy-not-in-force", 4),
            ("policy-not-in-force", 5),
            ("receipt-without-release", 6),
            ("unreviewed-break-glass", 7),
        ],
        key=str,
    )


@pytest.mark.parametrize(
    ("hours", "review", "found"),
    [
        (3, None, []),
        (3.1, None, ["unreviewed-break-glass"]),
        (30, 3, []),
        (30, 3.1, ["unreviewed-break-glass"]),
    ],
)
async def test_break_glass_is_due_when_its_own_policy_says(
    tmp_path: Path, hours: float, review: float | None, found: list[str]
) -> None:
    """Not when the laxest does; and what an export cannot know yet does not make it unsound later."""
    policy = sample_policy()
    assert policy.emergency is not None
    strict = replace(policy, emergency=replace(policy.emergency, review_hours=3))
    world = await make_world(policy=strict)
    await enrol(world)
    append, registry = world.care.log.append, world.registries.registry
    lax = replace(policy, id=PolicyId("lax"), emergency=replace(policy.emergency, review_hours=72))
    begun = world.clock.now
    async with world.care.store.transaction() as tx:
        await world.care.book.accept(tx, signed_bundle(lax, POLICY_SIGNERS), registry, begun)
        invoked = AuditAction.BREAK_GLASS_INVOKED
        await append(tx, invoked, actor="x", body={}, policy=world.policy_hash, ref="e" * 64)
        if review is not None:
            world.clock.now = begun + timedelta(hours=review)
            reviewed = AuditAction.BREAK_GLASS_REVIEWED
            await append(tx, reviewed, actor="y", body={}, policy=world.policy_hash, ref="e" * 64)
    world.clock.now = begun + timedelta(hours=hours)
    await write_export(world, tmp_path / "export")
    report = check_export(tmp_path / "export", anchor=ANCHOR, witnesses=0)
    assert [item.kind for item in report.findings] == found
    still_open = review is None and not found
    assert any("still open when the log was exported" in note for note in report.notes) is still_open
    await world.close()


async def test_an_export_dated_before_its_last_entry(export: Path) -> None:
    resigned(export, exported_at=NOW - timedelta(minutes=6))
    assert kinds(export) == {"manifest"}


# -- heads that others hold


async def witnessed(world: World, minutes: int = 5) -> None:
    """Both nodes have the heads of their logs cosigned by the other."""
    world.clock.advance(minutes=minutes)
    for node in world.nodes.values():
        await node.disclosure.ask_witnesses()
    await world.deliver()


@pytest.fixture
async def cut(world: World, export: Path, tmp_path: Path) -> tuple[Path, Path]:
    """A log from which its administrator cut a misuse of break-glass, and the police's export."""
    size = len((export / LEAF).read_bytes().splitlines())
    await witnessed(world)
    claim = BreakGlass(Line("threat to life"), Prose("No."), world.clock.now)
    await world.ask(tier=3, break_glass=claim)
    await world.deliver()
    await witnessed(world)
    await write_export(world, tmp_path / "cut")
    await write_export(world, tmp_path / "police", POLICE)
    cut_back(tmp_path / "cut")
    assert size <= len((tmp_path / "cut" / LEAF).read_bytes().splitlines())
    return tmp_path / "cut", tmp_path / "police"


def cut_back(folder: Path) -> None:
    """To the newest head but one that others cosigned."""
    heads = (folder / "checkpoints.jsonl").read_bytes().splitlines(keepends=True)
    sizes = [int(str(parse_canonical(head.strip())["note"]).split("\n")[1]) for head in heads]  # type: ignore[index,call-overload]
    cosigned = [size for size, head in zip(sizes, heads, strict=True) if b"police/witness" in head]
    keep = cosigned[-2]
    for name in (LEAF, "sealed.jsonl"):
        lines = (folder / name).read_bytes().splitlines(keepends=True)
        (folder / name).write_bytes(b"".join(lines[:keep]))
    kept = [head for size, head in zip(sizes, heads, strict=True) if size <= keep]
    (folder / "checkpoints.jsonl").write_bytes(b"".join(kept))
    resigned(folder, size=keep)


async def test_a_log_that_was_cut_back_is_found_out_by_what_others_hold(cut: tuple[Path, Path]) -> None:
    folder, police = cut
    head = police / "witnessed" / "care.checkpoint"
    assert b"police/witness" in head.read_bytes()
    alone = check_export(folder, anchor=ANCHOR, witnesses=1)
    assert alone.sound and alone.held is None and "could have been cut off" in alone.caveat
    for given in (head, police):
        report = check_export(folder, anchor=ANCHOR, heads=[given])
        assert [item.kind for item in report.findings] == ["missing-leaves"]


async def test_any_two_exports_check_each_other(world: World, export: Path, tmp_path: Path) -> None:
    await world.ask()
    await world.deliver()
    await witnessed(world)
    folders = {agency: tmp_path / str(agency) for agency in (CARE, POLICE)}
    for agency, folder in folders.items():
        await write_export(world, folder, agency)
    for mine, other in ((CARE, POLICE), (POLICE, CARE)):
        report = check_export(folders[mine], anchor=ANCHOR, heads=[folders[other], folders[mine]])
        assert report.findings == () and report.warnings == ()
        assert report.held is not None and 0 < report.held.entries <= report.size
        assert report.held.time == NOW + timedelta(minutes=5) and report.last_entry is not None
    earlier = check_export(folders[CARE], anchor=ANCHOR, heads=[export])
    assert earlier.findings == () and earlier.held is not None
    later = check_export(export, anchor=ANCHOR, heads=[folders[POLICE]])
    assert [item.kind for item in later.findings] == ["missing-leaves"]
    assert any("younger than the export" in note for note in later.notes)


async def test_heads_that_prove_nothing_are_found(world: World, export: Path, tmp_path: Path) -> None:
    await witnessed(world)
    await write_export(world, tmp_path / "care")
    await write_export(world, tmp_path / "police", POLICE)

    def found(head: Path) -> list[str]:
        return [item.kind for item in check_export(tmp_path / "care", anchor=ANCHOR, heads=[head]).findings]

    assert found(tmp_path / "care" / "witnessed" / "police.checkpoint") == ["wrong-head"]
    origin, signer = world.care.log.origin, key_of("node police")
    forged = tmp_path / "forged.checkpoint"
    forged.write_bytes(sign_checkpoint(Checkpoint(origin, 999, bytes(32)), signer).to_bytes())
    assert found(forged) == ["bad-signature"]
    forged.write_bytes(sign_checkpoint(Checkpoint(origin, 2, bytes(32)), key_of("node care")).to_bytes())
    assert found(forged) == ["root-mismatch"]
    head = tmp_path / "police" / "witnessed" / "care.checkpoint"
    whole = head.read_bytes()
    head.write_bytes(whole.replace(b"\n\n", b"\n\n\n"))
    assert found(head) == found(tmp_path / "police") == ["wrong-head"]
    head.unlink()
    assert found(tmp_path / "police") == ["wrong-head"]
    elsewhere = sign_checkpoint(Checkpoint("elsewhere", 2, bytes(32)), key_of("node care"))
    async with world.police.store.transaction() as tx:
        await tx.audit.put_witnessed(CARE, "theirs", 2, elsewhere.to_bytes())
    await write_export(world, tmp_path / "none", POLICE)
    assert found(tmp_path / "none") == ["no-head"]
    with pytest.raises(ExportUnusableError):
        found(tmp_path)


async def test_an_old_cosignature_is_a_warning(world: World, export: Path, tmp_path: Path) -> None:
    """A log that did not grow is shown to its witnesses again: an old head means that something is wrong."""
    world.clock.advance(hours=25)
    await write_export(world, tmp_path / "old")
    report = check_export(tmp_path / "old", anchor=ANCHOR)
    assert report.sound and len(report.warnings) == 1 and "25 hours old" in report.warnings[0]
    await world.care.disclosure.keep_house()
    await world.deliver()
    # One has cosigned just now; the others, which have no node here, were asked just now.
    assert await world.care.disclosure.ask_witnesses() == 0
    await write_export(world, tmp_path / "new")
    report = check_export(tmp_path / "new", anchor=ANCHOR)
    assert report.sound and report.warnings == ()


async def test_what_is_a_day_old_needs_witnesses_and_an_old_head_does_not_do(
    world: World, export: Path, tmp_path: Path
) -> None:
    """The fixture's head is cosigned, and stays so for ever; what comes after it is not."""
    async with world.care.store.transaction() as tx:
        await world.care.log.append(tx, AuditAction.UPLOAD_COMMITTED, actor="care", body={})
    world.clock.advance(hours=24)
    await write_export(world, tmp_path / "day")
    report = check_export(tmp_path / "day", anchor=ANCHOR)
    assert report.sound and any("of the last day" in note for note in report.notes)
    world.clock.advance(seconds=1)
    await write_export(world, tmp_path / "later")
    for wanted in (None, 1, 2):
        assert kinds(tmp_path / "later", witnesses=wanted) == {"unwitnessed-head"}
    done = CliRunner().invoke(audit_app, ["verify", str(tmp_path / "later"), "--anchor", ANCHOR])
    assert done.exit_code == 1 and "too few witnesses" in done.output
    done = CliRunner().invoke(audit_app, ["verify", str(tmp_path / "later"), "--witnesses", "0"])
    assert done.exit_code == 0


async def test_a_log_that_nobody_ever_vouched_for(world: World, tmp_path: Path) -> None:
    world.clock.advance(hours=25)
    await write_export(world, tmp_path / "alone")
    assert kinds(tmp_path / "alone") == {"unwitnessed-head"}


async def test_a_release_under_a_version_that_a_newer_one_ended(world: World, tmp_path: Path) -> None:
    """From the entry on that says that the newer one was accepted."""
    append, release = world.care.log.append, AuditAction.DISCLOSURE_RELEASED
    second = replace(world.policy, version=2, supersedes=Hash256(world.policy_hash))
    bundle, registry = signed_bundle(second, POLICY_SIGNERS), world.registries.registry
    async with world.care.store.transaction() as tx:
        await append(tx, release, actor="care", body={}, policy=world.policy_hash, ref="a" * 64)
        newer = await world.care.book.accept(tx, bundle, registry, world.clock.now)
        await append(tx, release, actor="care", body={}, policy=world.policy_hash, ref="b" * 64)
        await append(tx, release, actor="care", body={}, policy=newer, ref="c" * 64)
    await write_export(world, tmp_path / "export")
    report = check_export(tmp_path / "export", anchor=ANCHOR)
    ended = [(item.kind, item.seq) for item in report.findings if "superseded" in item.message]
    assert ended == [("policy-not-in-force", 3)]


async def test_erasure_leaves_an_export_sound(world: World, export: Path, tmp_path: Path) -> None:
    async with world.care.store.transaction() as tx:
        assert await world.care.log.erase(tx, SUSAN_AT_CARE)
    await write_export(world, tmp_path / "after")
    assert kinds(tmp_path / "after") == set()


async def test_the_command_speaks_english_and_json_and_has_three_exit_codes(export: Path) -> None:
    runner = CliRunner()
    good = runner.invoke(audit_app, ["verify", str(export)])
    assert good.exit_code == 0 and "Sound" in good.output and ANCHOR in good.output
    assert "up to 02 March 2026 09:00 UTC" in good.output and "--head" in good.output
    shutil.copytree(export, export.parent / "again")
    held = runner.invoke(audit_app, ["verify", str(export), "--json", "--head", str(export.parent / "again")])
    said = json.loads(held.output)
    assert said["sound"] and said["heads_given"]["entries"] == said["entries"]
    assert said["last_entry"] == said["heads_given"]["time"] == NOW.isoformat()
    assert "cut off" in said["caveat"] and said["warnings"] == []
    CHANGES["leaf actor"](export)
    bad = runner.invoke(audit_app, ["verify", str(export), "--json", "--anchor", ANCHOR])
    assert bad.exit_code == 1 and not json.loads(bad.output)["sound"]
    assert runner.invoke(audit_app, ["verify", str(export)]).output.count("FOUND") >= 1
    assert runner.invoke(audit_app, ["verify", str(export.parent)]).exit_code == 2


@pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("unshare") is None, reason="only root can make a network namespace"
)
async def test_verification_needs_no_network(export: Path) -> None:
    script = "import sys; from agency_node.audit_cli import audit_app; audit_app(sys.argv[1:])"
    command = ["unshare", "-n", sys.executable, "-c", script, "verify", str(export), "--anchor", ANCHOR]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)  # noqa: ASYNC221 - nothing else runs
    if "Operation not permitted" in done.stderr:
        pytest.skip("no network namespace can be made here")
    assert done.returncode == 0 and "Sound" in done.stdout, done.stderr
