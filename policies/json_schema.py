"""JSON Schema (draft 2020-12) of the signed documents, made from the same dataclasses as the codec.

The schema says what each field must look like. Rules across fields (`RuleError`) and the calendar are the
codec's, which alone decides; the schema helps editors and people who write a verifier in another language.
"""

import json
from collections.abc import Mapping
from dataclasses import is_dataclass
from datetime import date, datetime
from enum import StrEnum
from typing import get_args, get_origin

from crypto.canonical import JsonValue
from crypto.keys import SealingPublicKey, VerifyKey
from policies.codec import MAX_INT, Document, FrozenJson, field_plan
from policies.ids import Text

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_TIME = r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z"
_DATE = r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
_KEY_SCHEMES: Mapping[type, tuple[str, list[str]]] = {
    VerifyKey: ("scheme", ["ed25519"]),
    SealingPublicKey: ("suite", ["mlkem768-x25519", "x25519"]),
}


def schema_of(kind: type[Document]) -> dict[str, JsonValue]:
    """The schema of one document type."""
    definitions: dict[str, JsonValue] = {}
    body = _object(kind, definitions)
    properties = body["properties"]
    required = body["required"]
    assert isinstance(properties, dict) and isinstance(required, list)
    body["properties"] = {"type": {"const": kind.KIND}, **properties}
    body["required"] = ["type", *required]
    return {
        "$schema": _DIALECT,
        "$id": f"urn:tallystick:{kind.KIND.replace('/', ':')}",
        "title": kind.KIND,
        **body,
        "$defs": dict(sorted(definitions.items())),
    }


def schema_text(kind: type[Document]) -> str:
    """The schema as it stands in `policies/schema`."""
    return json.dumps(schema_of(kind), indent=2, ensure_ascii=False) + "\n"


def schema_file_name(kind: type[Document]) -> str:
    """`sharing-policy/v1` -> `sharing-policy-v1.json`."""
    return kind.KIND.replace("/", "-") + ".json"


def _object(kind: type, definitions: dict[str, JsonValue]) -> dict[str, JsonValue]:
    plan = field_plan(kind)
    return {
        "type": "object",
        "additionalProperties": False,
        "required": [name for name, part in plan.items() if not part.optional],
        "properties": {name: _schema(part.kind, definitions) for name, part in plan.items()},
    }


def _schema(kind: object, definitions: dict[str, JsonValue]) -> JsonValue:
    origin = get_origin(kind)
    if origin is tuple:
        return {"type": "array", "items": _schema(get_args(kind)[0], definitions)}
    if origin is Mapping:
        names, values = get_args(kind)
        return {
            "type": "object",
            "propertyNames": _schema(names, definitions),
            "additionalProperties": _schema(values, definitions),
        }
    if not isinstance(kind, type):
        raise TypeError(f"no schema for {kind!r}")
    if kind is bool:
        return {"type": "boolean"}
    if kind is int:
        return {"type": "integer", "minimum": 0, "maximum": MAX_INT - 1}
    if kind is datetime:
        return _pattern(_TIME)
    if kind is date:
        return _pattern(_DATE)
    return _named(kind, definitions)


def _named(kind: type, definitions: dict[str, JsonValue]) -> JsonValue:
    name = kind.__name__
    if name not in definitions:
        definitions[name] = None  # a type that holds itself would find its own name here
        definitions[name] = _definition(kind, definitions)
    return {"$ref": f"#/$defs/{name}"}


def _definition(kind: type, definitions: dict[str, JsonValue]) -> JsonValue:
    if kind in _KEY_SCHEMES:
        member, names = _KEY_SCHEMES[kind]
        public: JsonValue = {"type": "string", "description": "the public key, base64url without padding"}
        return {
            "type": "object",
            "additionalProperties": False,
            "required": [member, "public"],
            "properties": {member: {"enum": list(names)}, "public": public},
        }
    if kind is FrozenJson:
        return {"type": "object"}
    if issubclass(kind, StrEnum):
        return {"enum": [member.value for member in kind]}
    if issubclass(kind, Text):
        return {**_pattern(kind.PATTERN), "description": kind.SHAPE}
    if is_dataclass(kind):
        return _object(kind, definitions)
    raise TypeError(f"no schema for {kind!r}")


def _pattern(inner: str) -> dict[str, JsonValue]:
    """A pattern for the whole string: `$` alone lets a trailing line feed through in some engines."""
    return {"type": "string", "pattern": rf"^(?:{inner})(?![\s\S])"}
