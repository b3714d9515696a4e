"""Exact tokens: a keyed fingerprint of some fields' exact values.

::

    token = HMAC-SHA-256(exact key of the token's name,
                         frame("tallystick/exact/v1", token name, field_1, value_1, ..., field_n, value_n))

with :func:`crypto.derive.frame`, fields in the order of the agreement and normalised values as UTF-8. A row
in which any of the fields is missing has no token.
"""

import hmac
from collections.abc import Mapping, Sequence
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from agency_node.encoding.keys import EncodingKeys
from agency_node.encoding.section import ExactToken
from crypto.derive import frame

TOKEN_BYTES = 32


def exact_token(token: ExactToken, values: Mapping[str, str], keys: EncodingKeys) -> bytes | None:
    """The token of one row, or None when a field is missing (absent or empty)."""
    return _token(token, values, keys.exact(token.name))


def exact_tokens(
    token: ExactToken, rows: Sequence[Mapping[str, str]], keys: EncodingKeys
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Tokens of all rows (n, 32), zero where absent, and which are present (n,)."""
    key = keys.exact(token.name)
    tokens = [_token(token, values, key) for values in rows]
    absent = bytes(TOKEN_BYTES)
    joined = b"".join(value or absent for value in tokens)
    present = np.fromiter((value is not None for value in tokens), dtype=np.bool_, count=len(tokens))
    return np.frombuffer(joined, dtype=np.uint8).reshape(len(tokens), TOKEN_BYTES), present


def _token(token: ExactToken, values: Mapping[str, str], key: bytes) -> bytes | None:
    pairs = [(field, values.get(field, "")) for field in token.fields]
    if not all(value for _, value in pairs):
        return None
    message = frame("tallystick/exact/v1", token.name, *chain.from_iterable(pairs))
    return hmac.digest(key, message, "sha256")
