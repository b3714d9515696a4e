"""Exact tokens: a keyed fingerprint of some fields' exact values.

::

    token = HMAC-SHA-256(exact key of the token's name,
                         frame("tallystick/exact/v1", token name, field_1, value_1, ..., field_n, value_n))

with :func:`crypto.derive.frame`, fields in the order of the agreement and normalised values as UTF-8. A row
in which any of the fields is missing has no token.
"""

import hmac
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from agency_node.encoding.keys import EncodingKeys
from agency_node.encoding.section import ExactToken
from crypto.derive import frame, u32

TOKEN_BYTES = 32


def exact_token(token: ExactToken, values: Mapping[str, str], keys: EncodingKeys) -> bytes | None:
    """The token of one row, or None when a field is missing (absent or empty)."""
    return _tokens(token, [values], keys)[0]


def exact_tokens(
    token: ExactToken, rows: Sequence[Mapping[str, str]], keys: EncodingKeys
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Tokens of all rows (n, 32), zero where absent, and which are present (n,)."""
    tokens = _tokens(token, rows, keys)
    absent = bytes(TOKEN_BYTES)
    joined = b"".join(value or absent for value in tokens)
    present = np.fromiter((value is not None for value in tokens), dtype=np.bool_, count=len(tokens))
    return np.frombuffer(joined, dtype=np.uint8).reshape(len(tokens), TOKEN_BYTES), present


def _tokens(token: ExactToken, rows: Sequence[Mapping[str, str]], keys: EncodingKeys) -> list[bytes | None]:
    key = keys.exact(token.name)
    # ``frame`` written out, for all but the values are the same in every row
    head = frame("tallystick/exact/v1", token.name)[4:]
    start = u32(2 + 2 * len(token.fields)) + head
    names = [frame(field)[4:] for field in token.fields]
    found: list[bytes | None] = []
    for values in rows:
        message = start
        for field, name in zip(token.fields, names, strict=True):
            value = values.get(field, "").encode()
            if not value:
                found.append(None)
                break
            message += name + len(value).to_bytes(4, "big") + value
        else:
            found.append(hmac.digest(key, message, "sha256"))
    return found
