"""SPEC 10.3 is exact: a verifier of exports that was written from it alone agrees with the product's.

It uses the standard library and Ed25519; an export is made by another process. It stops at the first fault.
"""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from tests.conformance.test_spec import canonical, frame, key_id, pae, root_of, sha256, unb64u

Json = dict[str, Any]
ACCOUNTABLE = {"siro", "iao"}
MAY = {
    "suspend": {"siro", "iao", "caldicott_guardian", "privacy_officer", "dpo"},
    "revoke": {"siro", "iao", "caldicott_guardian"},
    "reactivate": {"siro", "iao", "caldicott_guardian"},
}
EVENT_ENTRIES = {
    "policy-suspended": "suspend",
    "policy-revoked": "revoke",
    "policy-reactivated": "reactivate",
}


class FaultError(Exception):
    """What the export gets wrong."""


def need(holds: bool, what: str) -> None:
    if not holds:
        raise FaultError(what)


def moment(text: str) -> datetime:
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%S%z")


def lines(path: Path) -> list[Json]:
    found = []
    for raw in path.read_bytes().splitlines():
        value = json.loads(raw)
        need(canonical(value) == raw, f"{path.name} is not canonical")
        found.append(value)
    return found


class Envelope:
    """Section 4."""

    def __init__(self, raw: bytes) -> None:
        value = json.loads(raw)
        self.payload = base64.b64decode(value["payload"])
        self.body: Json = json.loads(self.payload)
        self.signed = pae(value["payloadType"], self.payload)
        self.digest = sha256(self.signed).hex()
        self.signatures = {item["keyid"]: base64.b64decode(item["sig"]) for item in value["signatures"]}

    def signed_by(self, key: Json) -> bool:
        public = unb64u(key["public"])
        value = self.signatures.get(key_id(public))
        return value is not None and verifies(public, value, self.signed)


def verifies(public: bytes, value: bytes, data: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(value, data)
    except InvalidSignature:
        return False
    return True


# -- 5.1, and registries along the log


def require_threshold(envelope: Envelope, root: Json) -> None:
    signers = [item for item in root["keys"] if envelope.signed_by(item["verify_key"])]
    need(len({item["person"] for item in signers}) >= root["threshold"], "root threshold")
    need(len({item["organisation"] for item in signers}) >= root["minimum_organisations"], "root threshold")


def trust(folder: Path, anchor: str) -> list[tuple[Json, str]]:
    """Each registry that was accepted, with the `ref` of its entry."""
    roots = [Envelope(unb64u(item["envelope"])) for item in lines(folder / "roots.jsonl")]
    need(bool(roots) and roots[0].digest == anchor, "the anchor")
    require_threshold(roots[0], roots[0].body)
    at, found, version = 0, list[tuple[Json, str]](), 0
    for line in lines(folder / "registries.jsonl"):
        while roots[at].body["version"] < line["root"]:
            need(at + 1 < len(roots), "a root is missing")
            need(roots[at + 1].body["version"] == roots[at].body["version"] + 1, "a root was left out")
            require_threshold(roots[at + 1], roots[at].body)
            require_threshold(roots[at + 1], roots[at + 1].body)
            at += 1
        need(roots[at].body["version"] == line["root"], "the root of a registry")
        registry = Envelope(unb64u(line["envelope"]))
        require_threshold(registry, roots[at].body)
        need(registry.body["version"] >= version, "a registry went back")
        version = registry.body["version"]
        identifier = f"{roots[at].digest}/{registry.digest}"
        found.append((registry.body, sha256(frame("tallystick/audit/ref/v1", identifier)).hex()))
    need(bool(found) and at == len(roots) - 1, "roots and registries")
    return found


class Log:
    """The leaves, and the registry of each."""

    def __init__(self, folder: Path, anchor: str) -> None:
        raw = (folder / "leaves.jsonl").read_bytes().splitlines()
        self.leaves, self.hashes = lines(folder / "leaves.jsonl"), [sha256(b"\0" + item) for item in raw]
        spans, self.since, last = trust(folder, anchor), list[int](), None
        for number, leaf in enumerate(self.leaves):
            need(leaf["seq"] == number and leaf["v"] == 1, "a gap")
            need(last is None or moment(leaf["time"]) >= last, "time went back")
            last = moment(leaf["time"])
            if leaf["action"] == "registry-accepted":
                need(len(self.since) < len(spans) and spans[len(self.since)][1] == leaf["ref"], "a registry")
                need(leaf["time"] < spans[len(self.since)][0]["expires"], "a registry that had expired")
                self.since.append(number)
        need(len(self.since) == len(spans), "a registry without its entry")
        self.registries = [registry for registry, _ in spans]

    def span(self, seq: int) -> int:
        return max(0, sum(first <= seq for first in self.since) - 1)

    def registry(self, seq: int) -> Json:
        return self.registries[self.span(seq)]


def node_key(registry: Json, agency: str) -> Json:
    return next(dict(item["node_verify_key"]) for item in registry["agencies"] if item["id"] == agency)


# -- 10.2


def heads(folder: Path, log: Log, manifest: Json) -> list[tuple[int, set[str]]]:
    """Size and witnesses of each head that holds."""
    found, origin = list[tuple[int, set[str]]](), manifest["origin"]
    for line in lines(folder / "checkpoints.jsonl"):
        text, _, signatures = line["note"].rpartition("\n\n")
        name, size, root = text.split("\n")
        text, witnesses, signed = text + "\n", set[str](), False
        need(name == origin and int(size) <= len(log.leaves), "a head of another log, or missing entries")
        need(base64.b64decode(root) == root_of(log.hashes[: int(size)]), "the tree")
        for item in signatures.splitlines():
            _, who, encoded = item.split(" ")
            value, start = base64.b64decode(encoded), log.span(int(size) - 1)
            if who == origin:
                public = unb64u(node_key(log.registries[start], manifest["agency"])["public"])
                named = sha256(who.encode() + b"\n\1" + public)[:4] == value[:4]
                signed |= named and verifies(public, value[4:], text.encode())
                continue
            seconds = int.from_bytes(value[4:12], "big")
            for later, first in enumerate(log.since):
                if later > start and moment(log.leaves[first]["time"]).timestamp() <= seconds:
                    start = later
            agency = who.split("/")[2]
            public = unb64u(node_key(log.registries[start], agency)["public"])
            message = f"cosignature/v1\ntime {seconds}\n{text}".encode()
            if agency != manifest["agency"] and verifies(public, value[12:], message):
                witnesses.add(agency)
        need(signed, "the log's signature on a head")
        found.append((int(size), witnesses))
    return found


# -- 5.5


class Policy:
    """A policy with what the log has said of it so far."""

    def __init__(self, line: Json) -> None:
        envelope = Envelope(unb64u(line["document"]))
        need(envelope.digest == line["hash"], "a document's hash")
        self.digest, self.body = envelope.digest, envelope.body
        self.statements = [Envelope(unb64u(item)) for item in line["statements"]]
        self.events = [Envelope(unb64u(item)) for item in line["events"]]
        self.noted = 0

    def requirements(self, registry: Json) -> list[tuple[str, set[str]]]:
        kinds = {item["id"]: item["kind"] for item in registry["agencies"]}
        found = [(item["agency"], ACCOUNTABLE) for item in self.body["parties"]]
        for party in self.body["parties"]:
            health = party["health_or_care_data"] or kinds[party["agency"]] in ("nhs", "social_care")
            if "provider" in party["capacities"] and health:
                found.append((party["agency"], {"caldicott_guardian"}))
        return found

    def require_quorum(self, registry: Json, now: datetime) -> None:
        approvals, seen = [], set[str]()
        needed = self.requirements(registry)
        governance = self.body["governance"]
        days = [item["given"] for item in governance["dpo_advice"]]
        days += [governance["dpia"]["completed"]] if "dpia" in governance else []
        need(len({item.body["page_hash"] for item in self.statements}) == 1, "statements name two pages")
        for item in self.statements:
            body, officer = item.body, signing(item, registry)
            need(body["document_hash"] == self.digest, "a statement about another document")
            if officer is None or not in_order(body, officer, needed, now):
                continue
            need(officer["person"] not in seen, "signed twice")
            seen.add(officer["person"])
            need(body["decision"] == "approve", "a rejection")
            if all(body["signed_at"][:10] >= day for day in days):
                approvals.append((min(moment(body["signed_at"]), now), officer, body))
        for at in {item[0] for item in approvals}:
            standing = [
                (officer["person"], body["organisation"], body["role"])
                for when, officer, body in approvals
                if at - timedelta(days=30) <= when <= at and in_post(officer, at)
            ]
            if filled(needed, standing):
                return
        raise FaultError("a policy without its quorum")

    def stage(self, registry: Json, now: datetime) -> str:
        stage, sequence, resumed, consents = "signed", 0, 0, list[tuple[str, str, str]]()
        for item in self.events[: self.noted]:
            body, officer = item.body, signing(item, registry)
            action = body["action"]
            if officer is None or body["role"] not in officer["roles"] or body["role"] not in MAY[action]:
                if action == "reactivate":
                    continue
                officer = {"person": "former"}
            fits = {"revoke": True, "suspend": body["sequence"] >= resumed}
            if stage == "revoked" or not fits.get(action, body["sequence"] == sequence):
                continue
            if action == "reactivate":
                consents.append((officer["person"], body["organisation"], body["role"]))
                if stage != "suspended" or not filled(self.requirements(registry), consents):
                    continue
                resumed = sequence + 1
            stage = {"suspend": "suspended", "revoke": "revoked", "reactivate": "signed"}[action]
            sequence, consents = sequence + 1, []
        in_time = moment(self.body["not_before"]) <= now < moment(self.body["not_after"])
        return "active" if stage == "signed" and in_time else stage


def signing(envelope: Envelope, registry: Json) -> Json | None:
    need(len(envelope.signatures) == 1, "one signature")
    return next((item for item in registry["officers"] if envelope.signed_by(item["verify_key"])), None)


def in_post(officer: Json, at: datetime) -> bool:
    return "not_after" not in officer or at <= moment(officer["not_after"])


def in_order(body: Json, officer: Json, needed: list[tuple[str, set[str]]], now: datetime) -> bool:
    wanted = any(body["organisation"] == who and body["role"] in roles for who, roles in needed)
    known = body["organisation"] == officer["organisation"] and body["role"] in officer["roles"]
    at = moment(body["signed_at"])
    return wanted and known and in_post(officer, at) and at <= now + timedelta(minutes=5)


def filled(needed: list[tuple[str, set[str]]], given: list[tuple[str, str, str]]) -> bool:
    """Every requirement by another person."""
    if not needed:
        return True
    (who, roles), *rest = needed
    fitting = [item for item in given if item[1] == who and item[2] in roles]
    return any(filled(rest, [other for other in given if other[0] != item[0]]) for item in fitting)


# -- 10.3


def verify(folder: Path, anchor: str) -> None:
    """Raises FaultError."""
    envelope = Envelope((folder / "manifest.json").read_bytes())
    manifest = envelope.body
    for name, digest in manifest["files"].items():
        need(sha256((folder / name).read_bytes()).hex() == digest, f"{name} was altered")
    log, exported = Log(folder, anchor), moment(manifest["exported_at"])
    need(manifest["exported_at"] < log.registries[-1]["expires"], "no registry in force")
    need(envelope.signed_by(node_key(log.registries[-1], manifest["agency"])), "the manifest's signature")
    need(manifest["origin"] == f"{manifest['federation']}/agency/{manifest['agency']}/audit", "origin")
    need(manifest["size"] == len(log.leaves), "size")
    found = heads(folder, log, manifest)
    need(max((size for size, _ in found), default=-1) == len(log.leaves), "no head over all")
    covered = max((size for size, witnesses in found if witnesses), default=0)
    for leaf in log.leaves[covered:]:
        need(exported - moment(leaf["time"]) <= timedelta(hours=24), "too few witnesses")
    sealed = lines(folder / "sealed.jsonl")
    need([item["seq"] for item in sealed] == list(range(len(log.leaves))), "details are missing")
    for item, leaf in zip(sealed, log.leaves, strict=True):
        need(sha256(unb64u(item["sealed"])).hex() == leaf["details"], "details were altered")
        need(leaf["origin"] == manifest["origin"], "an entry of another log")
    held = policies(lines(folder / "documents.jsonl"))
    entries(log, held)
    break_glass(log, held, exported)


def policies(documents: Iterable[Json]) -> dict[str, Policy]:
    found = [Policy(item) for item in documents if item["kind"] == "sharing-policy"]
    return {item.digest: item for item in found}


def entries(log: Log, held: dict[str, Policy]) -> None:
    released, received = set[str](), set[str]()
    for leaf in log.leaves:
        action, registry, at = leaf["action"], log.registry(leaf["seq"]), moment(leaf["time"])
        if action in EVENT_ENTRIES:
            policy = held[leaf["policy"]]
            need(policy.noted < len(policy.events), "an event is missing")
            event = policy.events[policy.noted]
            officer = signing(event, registry)
            need(event.body["action"] == EVENT_ENTRIES[action] and officer is not None, "an event")
            need(event.body["document_hash"] == policy.digest, "an event of another policy")
            policy.noted += 1
        if action in ("disclosure-decided", "disclosure-released"):
            need(leaf["policy"] in held and leaf["time"] < registry["expires"], "a decision without policy")
            held[leaf["policy"]].require_quorum(registry, at)
            need(held[leaf["policy"]].stage(registry, at) == "active", "a policy not in force")
        released |= {leaf["ref"]} if action == "disclosure-released" else set()
        received |= {leaf["ref"]} if action == "disclosure-received" else set()
        need(action != "receipt-received" or leaf["ref"] in released, "a receipt without release")
        need(action != "receipt-sent" or leaf["ref"] in received, "a receipt without arrival")


def break_glass(log: Log, held: dict[str, Policy], exported: datetime) -> None:
    uses = [item for item in log.leaves if item["action"] == "break-glass-invoked"]
    for use in uses:
        emergency = held[use["policy"]].body.get("emergency", {}) if use["policy"] in held else {}
        due = moment(use["time"]) + timedelta(hours=emergency.get("review_hours", 24))
        reviews = [
            moment(item["time"])
            for item in log.leaves[use["seq"] :]
            if item["action"] == "break-glass-reviewed" and item["ref"] == use["ref"]
        ]
        need(min(reviews, default=exported) <= due, "break-glass without review in time")


# -- the export that another process made


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("spec") / "export"
    command = [sys.executable, "-m", "tests.integration.written_export", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return folder, done.stderr[-64:]


def test_an_export_is_sound_by_the_specification(made: tuple[Path, str]) -> None:
    verify(*made)
    actions = [item["action"] for item in lines(made[0] / "leaves.jsonl")]
    assert actions.count("policy-reactivated") == 5 and actions.count("disclosure-released") == 2
    with pytest.raises(FaultError, match="anchor"):
        verify(made[0], "0" * 64)


def drop(name: str, number: int) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        kept = (folder / name).read_bytes().splitlines(keepends=True)
        del kept[number]
        (folder / name).write_bytes(b"".join(kept))

    return change


def swap(name: str, old: bytes, new: bytes) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        data = (folder / name).read_bytes()
        assert old in data
        (folder / name).write_bytes(data.replace(old, new, 1))

    return change


@pytest.mark.parametrize(
    "change",
    [
        drop("leaves.jsonl", 0),
        drop("leaves.jsonl", -1),
        swap("leaves.jsonl", b'"policy-suspended"', b'"upload-committed"'),
        drop("sealed.jsonl", 1),
        drop("checkpoints.jsonl", -1),
        drop("roots.jsonl", -1),
        drop("registries.jsonl", 0),
        drop("registries.jsonl", -1),
        swap("registries.jsonl", b'"root":2', b'"root":1'),
        drop("documents.jsonl", 0),
        swap("documents.jsonl", b'"events":["', b'"events":["e30","'),
    ],
)
def test_a_changed_export_is_refused(
    made: tuple[Path, str], tmp_path: Path, change: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the manifest's hashes; and without them too, as if the node itself had signed new ones."""
    folder, anchor = tmp_path / "changed", made[1]
    shutil.copytree(made[0], folder)
    documents = (folder / "documents.jsonl").read_bytes().splitlines(keepends=True)
    documents.sort(key=lambda line: b"sharing-policy" not in line)
    (folder / "documents.jsonl").write_bytes(b"".join(documents))
    change(folder)
    with pytest.raises(FaultError, match="was altered"):
        verify(folder, anchor)
    path = folder / "manifest.json"
    held = Envelope(path.read_bytes())
    files = {name: sha256((folder / name).read_bytes()).hex() for name in held.body["files"]}
    size = len((folder / "leaves.jsonl").read_bytes().splitlines())
    forged = canonical(held.body | {"files": files, "size": size})
    value = json.loads(path.read_bytes())
    path.write_bytes(canonical(value | {"payload": base64.b64encode(forged).decode()}))
    genuine = Envelope.signed_by
    monkeypatch.setattr(Envelope, "signed_by", lambda self, key: self.payload == forged or genuine(self, key))
    with pytest.raises((FaultError, KeyError)):
        verify(folder, anchor)
