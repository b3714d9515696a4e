"""Canonical JSON (RFC 8785), the only JSON that is ever signed or hashed.

The subset used here has no floating-point numbers, integers only within +-(2**53 - 1), at most `MAX_DEPTH`
levels of nesting and no duplicate keys. `parse_canonical` accepts exactly the bytes that `canonical_json`
makes, so the bytes signed are the bytes verified and the bytes parsed. Binary values are base64url without
padding; hashes are lower-case hex.

What makes RFC 8785 hard is numbers that are not integers, which this subset lacks, and the order of keys
beyond ASCII. Where every key is ASCII, as in all of our own documents, the standard library's encoder gives
the same bytes much faster than `rfc8785`, which encodes the rest.
"""

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import TypeAlias

import rfc8785

from crypto.errors import CanonicalError

JsonValue: TypeAlias = "bool | int | str | list[JsonValue] | dict[str, JsonValue] | None"
# What may be encoded: covariant, so that a list[str] or dict[str, int] is accepted as it is.
JsonInput: TypeAlias = "bool | int | str | Sequence[JsonInput] | Mapping[str, JsonInput] | None"

MAX_BYTES = 1_048_576
MAX_DEPTH = 32
MAX_INTEGER = 2**53 - 1
_MAX_INTEGER_DIGITS = 17
_ENCODER = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":"), check_circular=False)


def canonical_json(value: JsonInput) -> bytes:
    """The RFC 8785 encoding of `value`, UTF-8.

    Raises CanonicalError for floats, integers beyond 2**53 - 1, keys that are not strings, lone surrogates,
    other types and nesting deeper than `MAX_DEPTH`.
    """
    plain, simple = _plain(value, depth=0)
    try:
        return _ENCODER.encode(plain).encode("utf-8") if simple else rfc8785.dumps(plain)
    except (UnicodeEncodeError, rfc8785.CanonicalizationError):
        raise CanonicalError("text contains a lone surrogate, which UTF-8 cannot carry") from None


def parse_canonical(data: bytes, *, max_bytes: int = MAX_BYTES) -> JsonValue:
    """Parse bytes that must be exactly canonical; raises CanonicalError for anything else."""
    value, canonical = _parse(data, max_bytes)
    if canonical != data:
        raise CanonicalError(
            "the JSON is valid but not canonical (RFC 8785): check key order, spaces and escapes"
        )
    return value


def parse_strict(data: bytes, *, max_bytes: int = MAX_BYTES) -> JsonValue:
    """Parse JSON in any layout, for documents that people write.

    Refuses duplicate keys, floats, `-0`, integers beyond 2**53 - 1, NaN and Infinity, nesting deeper than
    `MAX_DEPTH`, a byte order mark, bytes that are not UTF-8 and more than `max_bytes` bytes.
    """
    return _parse(data, max_bytes)[0]


def sha256_hex(data: bytes) -> str:
    """SHA-256 of `data` as 64 lower-case hex digits."""
    return hashlib.sha256(data).hexdigest()


def b64u(data: bytes) -> str:
    """Base64url without padding (RFC 4648 section 5)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def unb64u(text: str) -> bytes:
    """The inverse of `b64u`.

    Refuses padding, other alphabets and non-zero spare bits, so that one value has one text.
    """
    try:
        raw = base64.b64decode(text.encode("ascii") + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (UnicodeEncodeError, binascii.Error):
        raise CanonicalError("the text is not base64url without padding") from None
    if b64u(raw) != text:
        raise CanonicalError("the text is not base64url without padding")
    return raw


def require_object(
    value: JsonValue, required: frozenset[str], what: str, optional: frozenset[str] = frozenset()
) -> dict[str, JsonValue]:
    """`value` as an object with every required field and no unknown one.

    `what` names it in the CanonicalError.
    """
    if not isinstance(value, dict):
        raise CanonicalError(f"{what} must be a JSON object")
    missing = sorted(required - value.keys())
    if missing:
        raise CanonicalError(f"{what} lacks the field {missing[0]!r}")
    if value.keys() - required - optional:
        raise CanonicalError(f"{what} has an unknown field")
    return value


def require_text(value: JsonValue, what: str) -> str:
    """`value` as a string, or CanonicalError."""
    if not isinstance(value, str):
        raise CanonicalError(f"{what} must be a string")
    return value


def require_integer(value: JsonValue, what: str) -> int:
    """`value` as an integer (not a boolean) of at least zero, or CanonicalError."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise CanonicalError(f"{what} must be an integer of at least zero")
    return value


def _parse(data: bytes, max_bytes: int) -> tuple[JsonValue, bytes]:
    """The value and its canonical encoding, whose making proves depth, integers and text to be in bounds."""
    if len(data) > max_bytes:
        raise CanonicalError(f"the document has {len(data)} bytes; the limit is {max_bytes}")
    try:
        value: JsonValue = _DECODER.decode(data.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise CanonicalError(f"the document is not UTF-8 (byte {error.start})") from None
    except json.JSONDecodeError as error:
        raise CanonicalError(
            f"the document is not JSON: {error.msg} at line {error.lineno} column {error.colno}"
        ) from None
    except RecursionError:
        raise CanonicalError(f"the document is nested deeper than {MAX_DEPTH} levels") from None
    return value, canonical_json(value)


def _plain(value: JsonInput, depth: int) -> tuple[JsonValue, bool]:
    """The value as `json` knows it, and whether every key in it is ASCII."""
    if depth > MAX_DEPTH:
        raise CanonicalError(f"the value is nested deeper than {MAX_DEPTH} levels")
    if value is None or isinstance(value, bool | str):
        return value, True
    if isinstance(value, int):
        if abs(value) > MAX_INTEGER:
            raise CanonicalError("an integer is beyond 2**53 - 1; carry it as a string")
        return value, True
    simple = True
    if isinstance(value, Mapping):
        found: dict[str, JsonValue] = {}
        for key, item in value.items():
            if not isinstance(key, str):
                raise CanonicalError("object keys must be strings")
            found[key], below = _plain(item, depth + 1)
            simple = simple and below and key.isascii()
        return found, simple
    if isinstance(value, list | tuple):
        items: list[JsonValue] = []
        for item in value:
            plain, below = _plain(item, depth + 1)
            items.append(plain)
            simple = simple and below
        return items, simple
    raise CanonicalError(f"canonical JSON cannot carry a value of type {type(value).__name__}")


def _unique_object(pairs: list[tuple[str, JsonValue]]) -> dict[str, JsonValue]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise CanonicalError("an object has the same key twice")
    return result


def _bounded_int(text: str) -> int:
    if len(text) > _MAX_INTEGER_DIGITS or text == "-0":
        raise CanonicalError("an integer is beyond 2**53 - 1 or written as -0")
    return int(text)


def _refuse_float(_text: str) -> JsonValue:
    raise CanonicalError("floating-point numbers are not allowed; carry decimals as strings")


def _refuse_constant(text: str) -> JsonValue:
    raise CanonicalError(f"{text} is not allowed in JSON")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_unique_object,
    parse_float=_refuse_float,
    parse_int=_bounded_int,
    parse_constant=_refuse_constant,
)
