"""The codec: one document, one byte string; everything else refused with its path."""

import json
from collections.abc import Callable
from importlib import import_module
from pkgutil import walk_packages
from typing import Any

import pytest

import agency_node
import policies
from crypto.canonical import canonical_json
from policies import codec
from policies.agreement import LinkageAgreement
from policies.errors import DocumentError
from policies.ids import AgencyId, DocumentId, IdError, Line, PersonId
from policies.sharing import SharingPolicy
from tests.simulator.policies import FederationSimulator, sample_agreement, sample_policy

SIMULATOR = FederationSimulator()
DOCUMENTS = [SIMULATOR.root(), SIMULATOR.registry(), sample_agreement(), sample_policy()]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda item: item.KIND)
def test_round_trip(document: codec.Document) -> None:
    data = codec.write(document)
    again = codec.parse(type(document), data)
    assert again == document
    assert codec.write(again) == data


def _set(path: str, value: object) -> Callable[[dict[str, Any]], None]:
    def change(body: dict[str, Any]) -> None:
        *steps, last = [int(step) if step.isdigit() else step for step in path.split(".")]
        target: Any = body
        for step in steps:
            target = target[step]
        target[last] = value

    return change


def _drop(name: str) -> Callable[[dict[str, Any]], None]:
    return lambda body: body.pop(name)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_set("surprise", 1), r"\$\.surprise: unknown field"),
        (_set("parties.0.lawful_basis.extra", "x"), r"\$\.parties\[0\]\.lawful_basis\.extra: unknown field"),
        (_drop("title"), r"\$\.title: missing field"),
        (_drop("clauses"), r"\$\.clauses: missing field"),
        (_drop("type"), r"\$\.type: expected 'sharing-policy/v1', found nothing"),
        (_set("type", "root/v1"), r"\$\.type: expected 'sharing-policy/v1'"),
        (_set("version", "1"), r"\$\.version: expected a whole number, found text"),
        (_set("version", True), r"\$\.version: expected a whole number, found true or false"),
        (_set("version", -1), r"\$\.version: expected a whole number from 0"),
        (_set("emergency", None), r"\$\.emergency: expected an object, found null"),
        (_set("clauses.0.push", 1), r"\$\.clauses\[0\]\.push: expected true or false"),
        (_set("clauses.0.effect", "allow"), r"\$\.clauses\[0\]\.effect: expected one of release, withhold"),
        (_set("purposes.0", "curiosity"), r"\$\.purposes\[0\]: expected one of"),
        (_set("not_before", "2026-03-01T09:00:00+00:00"), r"\$\.not_before: expected a UTC time"),
        (_set("not_before", "2026-03-01T09:00:00.5Z"), r"\$\.not_before: expected a UTC time"),
        (_set("not_before", "2026-3-1T09:00:00Z"), r"\$\.not_before: expected a UTC time"),
        (_set("not_before", "2026-02-30T09:00:00Z"), r"\$\.not_before: expected a UTC time"),
        (_set("governance.dpia.completed", "20260101"), r"\$\.governance\.dpia\.completed: expected a date"),
        (_set("parties.1.agency", "Care!"), r"\$\.parties\[1\]\.agency: not a AgencyId"),
        (_set("title", "two\nlines"), r"\$\.title: not a Line"),
        (_set("title", "hidden\u202etxt"), r"\$\.title: not a Line"),
        (_set("supersedes", "ab" * 32), r"\$: version 1 supersedes nothing"),
        (_set("clauses.0.tier", 4), r"\$\.clauses\[0\]: a tier is 0, 1, 2 or 3"),
        (_set("clauses.0.recipients", []), r"\$\.clauses\[0\]: a release clause names its"),
        (
            _set("clauses.3.fields", ["safe_address"]),
            r"\$\.clauses\[3\]: a safe address can never be released",
        ),
        (_set("clauses.1.number", 1), r"clause numbers rise without repetition"),
        (_set("clauses.0.recipients", ["care"]), r"clause 1 names a recipient that is not a receiving party"),
        (_set("clauses.2.push", True), r"only tiers 0 and 1 without approvals"),
        (_set("not_after", "2028-01-01T00:00:00Z"), r"at most a year"),
    ],
)
def test_refused_with_path(change: Callable[[dict[str, Any]], None], message: str) -> None:
    body = json.loads(codec.write(sample_policy()))
    change(body)
    with pytest.raises(DocumentError, match=message):
        codec.parse(SharingPolicy, canonical_json(body))


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data + b" ",
        lambda data: data.replace(b'"type"', b' "type"'),
        lambda data: data.replace(b'{"clauses"', b'{"clauses":[],"clauses"', 1),
        lambda data: data.replace(b'"version":1', b'"version":1.0'),
        lambda data: data.replace(b'"version":1', b'"version":1e0'),
        lambda data: b"\xef\xbb\xbf" + data,
        lambda data: data[:-1],
        lambda data: b"",
        lambda data: b"[]",
    ],
)
def test_only_canonical_bytes_are_read(damage: Callable[[bytes], bytes]) -> None:
    with pytest.raises(DocumentError):
        codec.parse(SharingPolicy, damage(codec.write(sample_policy())))


def test_the_payload_type_is_bound() -> None:
    envelope = codec.envelope_of(sample_policy())
    assert envelope.payload_type == "application/vnd.tallystick.sharing-policy.v1+json"
    with pytest.raises(DocumentError, match="payload type"):
        codec.open_document(type(sample_agreement()), envelope)


def _every_kind() -> set[type]:
    """Every class of a document in the product."""
    found = set()
    for package in (policies, agency_node):
        for module in walk_packages(package.__path__, f"{package.__name__}."):
            if ".migrations." in module.name:
                continue  # run by Alembic, and hold no documents
            for value in vars(import_module(module.name)).values():
                if isinstance(value, type) and isinstance(vars(value).get("KIND"), str):
                    found.add(value)
    return found


def test_only_documents_that_name_no_subject_are_remembered() -> None:
    """Parsing a policy again may be saved; what an officer asked about somebody must not stay in memory."""
    policy = codec.write(sample_policy())
    assert codec.parse(SharingPolicy, policy) is codec.parse(SharingPolicy, bytes(bytearray(policy)))
    kinds = _every_kind()
    assert len(kinds) > 25
    assert {kind.KIND.split("/")[0] for kind in kinds if vars(kind).get("READ_OFTEN")} == {  # type: ignore[attr-defined] # it has one
        "linkage-agreement",
        "policy-event",
        "policy-status",
        "sharing-policy",
        "signing-statement",
    }


def test_messages_do_not_repeat_values() -> None:
    with pytest.raises(IdError) as caught:
        PersonId("Susan Smith")
    assert "Susan" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "A", "a--b", "-a", "a-", "a" * 64, "a\n", "á"])
def test_bad_agency_ids(text: str) -> None:
    with pytest.raises(IdError):
        AgencyId(text)


def test_good_ids() -> None:
    assert AgencyId("force-2") == "force-2"
    assert DocumentId("0123abcd-ef") == "0123abcd-ef"
    assert Line("x") == "x"


@pytest.mark.parametrize("taps", [0, 1, 32])
def test_an_agreement_names_taps_that_encoders_take(taps: int) -> None:
    body = json.loads(codec.write(sample_agreement()))
    body["encoding"]["projections"][0]["hardening"]["taps"] = taps
    with pytest.raises(DocumentError, match=r"hardening: sparse diffusion needs 2 to 31 taps"):
        codec.parse(LinkageAgreement, canonical_json(body))


def test_agreement_hash_is_of_the_encoding_section_only() -> None:
    one, two = sample_agreement(), sample_agreement(participants=("police", "nhs"))  # type: ignore[arg-type]
    assert one.schema_hash == two.schema_hash
    assert codec.document_hash(one) != codec.document_hash(two)
    assert one.encoding_json()["minimum_fields"] == 5
