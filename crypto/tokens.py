"""Link tokens: 128 random bits, which is all that an agency is given to name a link.

Written as base32 (RFC 4648 section 6) in lower case without padding, 26 characters. Nothing in a token
derives from an identifier, an agency or a linkage.
"""

import base64
import binascii
import secrets
from collections.abc import Callable
from dataclasses import dataclass

from crypto.errors import TokenError

TOKEN_BYTES = 16
_TEXT_LENGTH = 26


@dataclass(frozen=True, slots=True, repr=False)
class LinkToken:
    """One link as one recipient agency knows it.

    The token opens requests about a person: its `repr` is redacted.
    """

    raw: bytes

    def __post_init__(self) -> None:
        if len(self.raw) != TOKEN_BYTES:
            raise TokenError(f"a link token has {TOKEN_BYTES} bytes, not {len(self.raw)}")

    @classmethod
    def new(cls, rng_bytes: Callable[[int], bytes] = secrets.token_bytes) -> "LinkToken":
        """A fresh token; `rng_bytes(n)` returns n random bytes."""
        return cls(rng_bytes(TOKEN_BYTES))

    @classmethod
    def parse(cls, text: str) -> "LinkToken":
        """The inverse of `text`.

        Refuses upper case, padding and non-zero spare bits, so that one token has one text.
        """
        if len(text) != _TEXT_LENGTH:
            raise TokenError(f"a link token has {_TEXT_LENGTH} characters, not {len(text)}")
        try:
            token = cls(base64.b32decode(text.upper().encode("ascii") + b"======"))
        except (UnicodeEncodeError, binascii.Error):
            raise TokenError("a link token is written in lower-case base32 (a-z, 2-7)") from None
        if token.text != text:
            raise TokenError("a link token is written in lower-case base32 (a-z, 2-7)")
        return token

    @property
    def text(self) -> str:
        """26 characters of lower-case base32."""
        return base64.b32encode(self.raw).decode("ascii").rstrip("=").lower()

    def __repr__(self) -> str:
        return "LinkToken(...)"
