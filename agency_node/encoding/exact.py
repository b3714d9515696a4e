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
_LENGTHS = [u32(length) for length in range(256)]


def exact_token(token: ExactToken, values: Mapping[str, str], keys: EncodingKeys) -> bytes | None:
    """The token of one row, or None when a field is missing (absent or empty)."""
    tokens, present = exact_tokens(token, [[values.get(field, "")] for field in token.fields], keys)
    return tokens.tobytes() if present[0] else None


def exact_tokens(
    token: ExactToken, columns: Sequence[Sequence[str]], keys: EncodingKeys
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Tokens of all rows (n, 32), zero where absent, and which are present (n,).

    ``columns`` are the values of the token's fields in its order, "" where missing.
    """
    key, digest = keys.exact(token.name), hmac.digest
    # ``frame`` written out, for all but the values are the same in every row
    start = u32(2 + 2 * len(token.fields)) + frame("tallystick/exact/v1", token.name)[4:]
    names = [frame(field)[4:] for field in token.fields]
    absent = bytes(TOKEN_BYTES)
    rows = len(columns[0])
    joined = bytearray()
    present = np.ones(rows, dtype=np.bool_)
    for row, values in enumerate(zip(*columns, strict=True)):
        if not all(values):
            present[row] = False
            joined += absent
            continue
        message = start
        for name, value in zip(names, values, strict=True):
            encoded = value.encode()
            message += name + _LENGTHS[len(encoded)] if len(encoded) < 256 else name + u32(len(encoded))
            message += encoded
        joined += digest(key, message, "sha256")
    return np.frombuffer(bytes(joined), dtype=np.uint8).reshape(rows, TOKEN_BYTES), present
