"""Link tokens."""

import pytest

from crypto.errors import TokenError
from crypto.tokens import LinkToken


def test_a_token_has_one_text() -> None:
    token = LinkToken(bytes(range(16)))
    assert token.text == "aaaqeayeaudaocajbifqydiob4"
    assert LinkToken.parse(token.text) == token


def test_fresh_tokens_take_all_their_bits_from_the_source() -> None:
    assert LinkToken.new(lambda count: b"\x01" * count) == LinkToken(b"\x01" * 16)
    assert len({LinkToken.new().raw for _ in range(64)}) == 64


@pytest.mark.parametrize(
    "text",
    [
        "",
        "aaaqeayeaudaocajbifqydiob",
        "aaaqeayeaudaocajbifqydiob44",
        "AAAQEAYEAUDAOCAJBIFQYDIOB4",
        "aaaqeayeaudaocajbifqydiob5",  # spare bits set
        "aaaqeayeaudaocajbifqydiob1",
        "aaaqeayeaudaocajbifqydio==",
        "aaaqeayeaudaocajbifqydio \u00df",
        "\u0131aaqeayeaudaocajbifqydiob4",
    ],
)
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(TokenError):
        LinkToken.parse(text)


def test_a_token_has_16_bytes() -> None:
    for length in (0, 15, 17):
        with pytest.raises(TokenError):
            LinkToken(bytes(length))


def test_a_token_is_not_shown() -> None:
    token = LinkToken.new()
    assert repr(token) == f"{token}" == "LinkToken(...)"
