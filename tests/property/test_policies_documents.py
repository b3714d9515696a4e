"""Codecs over all document types: round trips, mutations, and agreement with the JSON Schema."""

import copy
import types
from collections.abc import Mapping
from dataclasses import is_dataclass
from datetime import UTC, date, datetime
from enum import StrEnum
from typing import Any, get_args, get_origin

import jsonschema
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from crypto.canonical import JsonValue, canonical_json
from crypto.errors import CanonicalError
from policies.agreement import LinkageAgreement
from policies.codec import Document, FieldPlan, field_plan, from_json, parse, to_json, write
from policies.disclosure import (
    Approval,
    DisclosureDecision,
    DisclosureReceipt,
    DisclosureRefusal,
    ErasureReceipt,
    LinkRecall,
)
from policies.errors import DocumentError, RuleError
from policies.ids import FieldValue, Hash256, HexBytes, Line, LinkTokenText, Prose, Text
from policies.json_schema import schema_of
from policies.registry import Registry
from policies.root import Root
from policies.sharing import SharingPolicy
from policies.statements import PolicyEvent, SigningStatement
from tests.simulator.disclosures import disclosure_documents
from tests.simulator.policies import FederationSimulator, sample_agreement, sample_policy
from tests.vectors.make_policies import documents

SAMPLES: list[Document] = [
    FederationSimulator().root(),
    FederationSimulator().registry(),
    sample_agreement(),
    sample_policy(),
    documents()["statement"],
    documents()["event"],
    *disclosure_documents(),
]
FREE_OF_RULES: list[type[Document]] = [
    SigningStatement,
    PolicyEvent,
    Approval,
    DisclosureDecision,
    DisclosureReceipt,
    DisclosureRefusal,
    LinkRecall,
    ErasureReceipt,
]
QUICK = settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.mark.parametrize("document", SAMPLES, ids=lambda item: item.KIND)
def test_samples_round_trip(document: Document) -> None:
    data = write(document)
    assert parse(type(document), data) == document
    assert write(parse(type(document), data)) == data


def values(kind: Any) -> st.SearchStrategy[Any]:
    """Any value of a document field's type."""
    origin = get_origin(kind)
    if origin is tuple:
        return st.lists(values(get_args(kind)[0]), max_size=2).map(tuple)
    if origin is Mapping:
        names, items = (values(part) for part in get_args(kind))
        return st.dictionaries(names, items, max_size=2).map(types.MappingProxyType)
    if kind is bool:
        return st.booleans()
    if kind is int:
        return st.integers(0, 2**53 - 1)
    if kind is datetime:
        moments = st.datetimes(datetime(2000, 1, 1), datetime(2200, 1, 1))
        return moments.map(lambda moment: moment.replace(microsecond=0, tzinfo=UTC))
    if kind is date:
        return st.dates()
    if issubclass(kind, StrEnum):
        return st.sampled_from(list(kind))
    if issubclass(kind, Text):
        return texts(kind)
    assert isinstance(kind, type) and is_dataclass(kind)
    return st.fixed_dictionaries({name: _field(part) for name, part in field_plan(kind).items()}).map(
        lambda parts: kind(**parts)
    )


def texts(kind: type[Text]) -> st.SearchStrategy[Text]:
    """Short texts of a type: its own pattern would make hypothesis draw thousands of characters."""
    if issubclass(kind, Line | Prose | FieldValue):
        return st.text(st.characters(codec="utf-8"), min_size=1, max_size=12).map(
            lambda text: _text(kind, text)
        )
    if issubclass(kind, HexBytes | Hash256):
        length = 32 if issubclass(kind, Hash256) else 8
        return st.binary(min_size=length, max_size=length).map(lambda raw: kind(raw.hex()))
    alphabet = "abcdefghijklmnopqrstuvwxyz"
    least, most = (26, 26) if issubclass(kind, LinkTokenText) else (8, 12)
    return st.text(alphabet, min_size=least, max_size=most).map(lambda text: _text(kind, text))


def _field(part: FieldPlan) -> st.SearchStrategy[Any]:
    return st.none() | values(part.kind) if part.optional else values(part.kind)


def _text(kind: type[Text], text: str) -> Text:
    try:
        return kind(text)
    except ValueError:  # not every short text has the shape
        assume(False)
        raise


@pytest.mark.parametrize("kind", FREE_OF_RULES, ids=lambda kind: kind.KIND)
def test_anything_of_the_type_round_trips(kind: type[Document]) -> None:
    @QUICK
    @given(values(kind))
    def check(document: Document) -> None:
        data = write(document)
        assert parse(kind, data) == document

    check()


def _paths(value: JsonValue, at: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    found = [at] if at else []
    members: list[tuple[str | int, JsonValue]] = []
    if isinstance(value, dict):
        members = list(value.items())
    elif isinstance(value, list):
        members = list(enumerate(value))
    for name, item in members:
        found += _paths(item, (*at, name))
    return found


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 2**53)
    | st.text(max_size=12)
    | st.sampled_from(["care", "ab" * 32]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=6), inner, max_size=2),
    max_leaves=4,
)


def mutated(data: st.DataObject, original: JsonValue) -> JsonValue:
    """`original` with one member replaced, removed, repeated or added."""
    changed: Any = copy.deepcopy(original)
    *steps, last = data.draw(st.sampled_from(_paths(original)))
    target = changed
    for step in steps:
        target = target[step]
    match data.draw(st.sampled_from(["replace", "remove", "add"])):
        case "replace":
            target[last] = data.draw(JSON)
        case "remove":
            del target[last]
        case _ if isinstance(target, dict):
            target[data.draw(st.text(min_size=1, max_size=6))] = data.draw(JSON)
        case _:
            target.append(copy.deepcopy(target[0]))
    return changed  # type: ignore[no-any-return] # a mutated copy of JSON is JSON


@pytest.mark.parametrize("document", SAMPLES, ids=lambda item: item.KIND)
def test_a_mutation_is_refused_or_is_another_document(document: Document) -> None:
    original = to_json(document)

    @QUICK
    @given(st.data())
    def check(data: st.DataObject) -> None:
        changed = mutated(data, original)
        try:
            encoded = canonical_json(changed)
        except CanonicalError:
            assume(False)
        try:
            again = parse(type(document), encoded)
        except DocumentError:
            return
        assert write(again) == encoded
        assert (again == document) == (encoded == write(document))

    check()


@pytest.mark.parametrize(
    "document",
    [item for item in SAMPLES if isinstance(item, SharingPolicy | LinkageAgreement | Registry | Root)],
    ids=lambda item: item.KIND,
)
def test_the_json_schema_agrees_with_the_codec(document: Document) -> None:
    """The schema refuses nothing that the codec takes; what it takes besides is refused for its meaning."""
    kind, original = type(document), to_json(document)
    schema = schema_of(kind)
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    assert validator.is_valid(original)

    @QUICK
    @given(st.data())
    def check(data: st.DataObject) -> None:
        changed = mutated(data, original)
        try:
            from_json(kind, changed)
        except RuleError:
            return
        except DocumentError as error:
            by_meaning = (
                "UTC time",
                "a date",
                "usable key",
                "2**53 - 1",
                "lone surrogate",
                "floating",
                "nested",
            )
            assert not validator.is_valid(changed) or any(text in str(error) for text in by_meaning), error
        else:
            assert validator.is_valid(changed)

    check()
