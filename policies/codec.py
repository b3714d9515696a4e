"""Signed documents <-> frozen dataclasses, strictly, driven by the dataclasses' own annotations.

A document is a dataclass with a `KIND` such as `sharing-policy/v1`. Its JSON is an object with `"type": KIND`
and one member per field; a field annotated `X | None` is left out when it is None (null is never written nor
read); nothing else may be left out, and nothing may be added. So a document has exactly one byte string (RFC
8785), and the bytes that were signed are the bytes that are parsed: `parse` refuses any input that it would
not itself have written.

Field types: the string types of `policies.ids`, `StrEnum`, `bool`, `int` (0 to 2**53), `datetime` (RFC 3339,
UTC, whole seconds, `Z`), `date`, `VerifyKey`, `SealingPublicKey`, `FrozenJson`, dataclasses, `tuple[T, ...]`,
`Mapping[K, T]`. Rules across fields live in `__post_init__` as `ValueError`; they come out as `DocumentError`
with the JSON path.
"""

import types
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from datetime import UTC, date, datetime
from enum import StrEnum
from functools import cache
from typing import ClassVar, Protocol, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from crypto.canonical import JsonValue, canonical_json, parse_canonical
from crypto.envelope import Envelope
from crypto.envelope import payload_type as dsse_payload_type
from crypto.errors import CanonicalError, CryptoError
from crypto.keys import SealingPublicKey, VerifyKey
from policies.errors import DocumentError, RuleError
from policies.ids import IdError, Text
from policies.remembered import Remembered

MAX_DOCUMENT_BYTES = 4 * 1024 * 1024
MAX_INT = 2**53
TIME_FORMAT = "%Y-%m-%dT%H:%M:%SZ"


class Document(Protocol):
    """What the codec can write: a dataclass with a kind."""

    KIND: ClassVar[str]


#: Documents of the kinds with `READ_OFTEN`: those that are read at every decision, and have no field for a
#: subject. Whether a signature counts does not follow from the bytes, and is found out every time.
_REMEMBERED: Remembered[Document] = Remembered(8 * 1024 * 1024)

D = TypeVar("D", bound=Document)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class FrozenJson:
    """A JSON object that a document carries without looking inside (a clkhash schema), kept as canonical
    bytes.
    """

    canonical: bytes

    def thaw(self) -> dict[str, JsonValue]:
        """A fresh, mutable copy of the object."""
        return cast(dict[str, JsonValue], parse_canonical(self.canonical, max_bytes=MAX_DOCUMENT_BYTES))

    @staticmethod
    def of(value: Mapping[str, JsonValue]) -> "FrozenJson":
        """Freeze `value`; raises `CanonicalError` for floats and the like."""
        return FrozenJson(canonical_json(dict(value)))


def payload_type(kind: type[Document]) -> str:
    """The DSSE payload type: `sharing-policy/v1` -> `application/vnd.tallystick.sharing-policy.v1+json`."""
    name, version = kind.KIND.split("/v")
    return dsse_payload_type(name, int(version))


def write(document: Document) -> bytes:
    """The canonical bytes of a document: what is signed."""
    return canonical_json(to_json(document))


def parse(kind: type[D], data: bytes) -> D:
    """The document in `data`; raises `DocumentError` unless `write` would give exactly `data`."""
    if kind.__dict__.get("READ_OFTEN", False):
        return cast(D, _REMEMBERED.of(kind, data, lambda: _parsed(kind, data)))
    return _parsed(kind, data)


def _parsed(kind: type[D], data: bytes) -> D:
    try:
        value = parse_canonical(data, max_bytes=MAX_DOCUMENT_BYTES)
    except CanonicalError as error:
        raise DocumentError(f"not a canonical {kind.KIND} document: {error}") from error
    return from_json(kind, value)


def to_json(document: Document) -> JsonValue:
    """The document as a JSON object with its type."""
    body = cast(dict[str, JsonValue], encode_value(document))
    return {"type": document.KIND, **body}


def from_json(kind: type[D], value: JsonValue, *, fill_defaults: bool = False) -> D:
    """The document in an already parsed JSON object.

    `fill_defaults` is for authoring (YAML): fields that have a default may then be left out. Signed bytes
    never are.
    """
    if not isinstance(value, dict):
        raise DocumentError(f"$: expected an object, found {_type_name(value)}")
    declared = value.get("type")
    if declared != kind.KIND:
        raise DocumentError(
            f"$.type: expected {kind.KIND!r}" + ("" if "type" in value else ", found nothing")
        )
    body = {name: item for name, item in value.items() if name != "type"}
    return decode_value(kind, body, "$", fill_defaults)


def envelope_of(document: Document) -> Envelope:
    """The document in an envelope without signatures yet."""
    return Envelope(payload_type=payload_type(type(document)), payload=write(document), signatures=())


def document_hash(document: Document) -> str:
    """The hash that statements name: SHA-256 (hex) over the DSSE pre-authentication encoding of type and
    bytes.
    """
    return envelope_of(document).digest


def open_document(kind: type[D], envelope: Envelope) -> D:
    """The document in an envelope whose payload type must be `kind`'s. Verifies no signature."""
    if envelope.payload_type != payload_type(kind):
        raise DocumentError(f"expected a {kind.KIND} document: the envelope's payload type says otherwise")
    return parse(kind, envelope.payload)


def format_time(moment: datetime) -> str:
    """RFC 3339 with `Z`; raises `ValueError` for a naive time or a part of a second."""
    if moment.tzinfo is None or moment.microsecond:
        raise ValueError("times in documents are aware and have whole seconds")
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ").rjust(20, "0")


def parse_time(text: str) -> datetime:
    """The inverse of `format_time`; any other spelling raises `ValueError`."""
    moment = datetime.strptime(text, TIME_FORMAT).replace(tzinfo=UTC)
    if format_time(moment) != text:
        raise ValueError("not the canonical spelling of this time")
    return moment


def encode_value(value: object) -> JsonValue:
    """One field's value as JSON."""
    match value:
        case StrEnum():
            return value.value
        case str():
            return str(value)
        case bool() | int():
            return value
        case datetime():
            return format_time(value)
        case date():
            return value.isoformat()
        case VerifyKey() | SealingPublicKey():
            return dict(value.to_json())
        case FrozenJson():
            return value.thaw()
        case tuple():
            return [encode_value(item) for item in value]
        case Mapping():
            return {str(name): encode_value(item) for name, item in value.items()}
        case _ if is_dataclass(value):
            return {
                field.name: encode_value(item)
                for field in fields(value)
                if (item := getattr(value, field.name)) is not None
            }
    raise TypeError(f"documents cannot hold a {type(value).__name__}")


def decode_value(kind: type[T], value: JsonValue, path: str, fill_defaults: bool = False) -> T:
    """`value` as a `kind`; raises `DocumentError` naming `path`."""
    return cast(T, _decode(kind, value, path, fill_defaults))


def _decode(kind: object, value: JsonValue, path: str, fill: bool) -> object:
    origin = get_origin(kind)
    if origin is tuple:
        return _decode_tuple(get_args(kind)[0], value, path, fill)
    if origin is Mapping:
        return _decode_mapping(get_args(kind), value, path, fill)
    if not isinstance(kind, type):
        raise TypeError(f"the codec does not know {kind!r}")
    if is_dataclass(kind) and kind not in OPAQUE:
        return _decode_dataclass(kind, value, path, fill)
    return _decode_scalar(kind, value, path)


def _decode_tuple(item: object, value: JsonValue, path: str, fill: bool) -> tuple[object, ...]:
    if not isinstance(value, list):
        raise DocumentError(f"{path}: expected a list, found {_type_name(value)}")
    return tuple(_decode(item, part, f"{path}[{index}]", fill) for index, part in enumerate(value))


def _decode_mapping(
    kinds: tuple[object, ...], value: JsonValue, path: str, fill: bool
) -> Mapping[object, object]:
    members = _object(value, path)
    return types.MappingProxyType(
        {
            _decode(kinds[0], name, f"{path}: name of a member", fill): _decode(
                kinds[1], part, f"{path}.{_shown(name)}", fill
            )
            for name, part in members.items()
        }
    )


def _decode_dataclass(kind: type, value: JsonValue, path: str, fill: bool) -> object:
    members = _object(value, path)
    plan = field_plan(kind)
    for name in members:
        if name not in plan:
            raise DocumentError(f"{path}.{_shown(name)}: unknown field")
    arguments: dict[str, object] = {}
    for name, part in plan.items():
        if name in members:
            arguments[name] = _decode(part.kind, members[name], f"{path}.{name}", fill)
        elif not (part.optional or (fill and part.has_default)):
            raise DocumentError(f"{path}.{name}: missing field")
    try:
        return kind(**arguments, **{n: None for n, p in plan.items() if p.optional and n not in arguments})
    except ValueError as error:
        raise RuleError(f"{path}: {error}") from error


def _decode_scalar(kind: type, value: JsonValue, path: str) -> object:
    if kind is bool or kind is int:
        return _decode_number(kind, value, path)
    if kind in OPAQUE:
        return _decode_opaque(kind, _object(value, path), path)
    if not isinstance(value, str):
        raise DocumentError(f"{path}: expected text, found {_type_name(value)}")
    try:
        if kind is datetime:
            return parse_time(value)
        if kind is date:
            return _parse_date(value)
        if issubclass(kind, StrEnum | Text):
            return kind(value)
    except IdError as error:
        raise DocumentError(f"{path}: {error}") from None
    except ValueError:
        raise DocumentError(f"{path}: {_expectation(kind)}") from None
    raise TypeError(f"the codec does not know {kind!r}")


def _decode_number(kind: type, value: JsonValue, path: str) -> bool | int:
    if kind is bool and isinstance(value, bool):
        return value
    if kind is int and isinstance(value, int) and not isinstance(value, bool):
        if 0 <= value < MAX_INT:
            return value
        raise DocumentError(f"{path}: expected a whole number from 0 to 2**53")
    wanted = "true or false" if kind is bool else "a whole number"
    raise DocumentError(f"{path}: expected {wanted}, found {_type_name(value)}")


def _decode_opaque(kind: type, value: dict[str, JsonValue], path: str) -> object:
    if kind is FrozenJson:
        try:
            return FrozenJson.of(value)
        except CanonicalError as error:
            raise DocumentError(f"{path}: {error}") from error
    reader = VerifyKey.from_json if kind is VerifyKey else SealingPublicKey.from_json
    try:
        return reader(value)
    except CryptoError as error:
        raise DocumentError(f"{path}: not a usable key: {error}") from error


def _parse_date(text: str) -> date:
    day = date.fromisoformat(text)
    if day.isoformat() != text:
        raise ValueError("not the canonical spelling of this date")
    return day


def _expectation(kind: type) -> str:
    if kind is datetime:
        return "expected a UTC time such as 2026-03-01T09:30:00Z"
    if kind is date:
        return "expected a date such as 2026-03-01"
    if issubclass(kind, StrEnum):
        return "expected one of " + ", ".join(member.value for member in kind)
    return f"not a {kind.__name__}"


def _object(value: JsonValue, path: str) -> dict[str, JsonValue]:
    if not isinstance(value, dict):
        raise DocumentError(f"{path}: expected an object, found {_type_name(value)}")
    return value


def _type_name(value: JsonValue) -> str:
    names = {
        dict: "an object",
        list: "a list",
        str: "text",
        bool: "true or false",
        int: "a number",
        float: "a float",
    }
    return "null" if value is None else names.get(type(value), "something else")


def _shown(name: str) -> str:
    return name if name.isidentifier() and len(name) <= 40 else repr(name[:40])


@dataclass(frozen=True, slots=True)
class FieldPlan:
    """How one dataclass field is read: its type without `| None`, and whether it may be absent."""

    kind: object
    optional: bool
    has_default: bool


@cache
def field_plan(kind: type) -> Mapping[str, FieldPlan]:
    """The fields of a document dataclass, in order."""
    hints = get_type_hints(kind)
    plan: dict[str, FieldPlan] = {}
    for field in fields(kind):
        hint = hints[field.name]
        optional = get_origin(hint) in (Union, types.UnionType)
        if optional:
            (hint,) = (part for part in get_args(hint) if part is not type(None))
        has_default = field.default is not MISSING or field.default_factory is not MISSING
        plan[field.name] = FieldPlan(hint, optional, has_default)
    return types.MappingProxyType(plan)


OPAQUE: frozenset[type] = frozenset({VerifyKey, SealingPublicKey, FrozenJson})
