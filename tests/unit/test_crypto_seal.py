"""Sealed messages: only for the key, and only in the context, that they were made for."""

from dataclasses import replace

import pytest

from crypto.errors import SealError
from crypto.keys import SEALING_SUITES, SealingPrivateKey, generate_sealing_key
from crypto.seal import SealContext, open_sealed, seal_to, sealed_key_id

CONTEXT = SealContext("disclosure-request", "north-police", "wessex-nhs", "m-1")


@pytest.fixture(params=SEALING_SUITES)
def key(request: pytest.FixtureRequest) -> SealingPrivateKey:
    return generate_sealing_key(request.param)


def test_a_sealed_message_opens(key: SealingPrivateKey) -> None:
    sealed = seal_to(key.public_key, b"text", CONTEXT)
    assert open_sealed(key, sealed, CONTEXT) == b"text"
    assert sealed_key_id(sealed) == key.public_key.key_id
    assert open_sealed(key, seal_to(key.public_key, b"", CONTEXT), CONTEXT) == b""


def test_sealing_twice_gives_other_bytes(key: SealingPrivateKey) -> None:
    assert seal_to(key.public_key, b"text", CONTEXT) != seal_to(key.public_key, b"text", CONTEXT)


@pytest.mark.parametrize("name", ["purpose", "sender", "recipient", "message_id"])
def test_it_opens_in_no_other_context(name: str, key: SealingPrivateKey) -> None:
    sealed = seal_to(key.public_key, b"text", CONTEXT)
    with pytest.raises(SealError, match="another purpose"):
        open_sealed(key, sealed, replace(CONTEXT, **{name: "other"}))


def test_context_values_cannot_be_shifted_into_each_other(key: SealingPrivateKey) -> None:
    sealed = seal_to(key.public_key, b"text", SealContext("ab", "c", "d", "e"))
    with pytest.raises(SealError):
        open_sealed(key, sealed, SealContext("a", "bc", "d", "e"))


def test_another_key_is_told_so(key: SealingPrivateKey) -> None:
    sealed = seal_to(key.public_key, b"text", CONTEXT)
    with pytest.raises(SealError, match="another key"):
        open_sealed(generate_sealing_key(key.public_key.suite), sealed, CONTEXT)


def test_every_changed_byte_is_refused(key: SealingPrivateKey) -> None:
    sealed = seal_to(key.public_key, b"text", CONTEXT)
    for index in range(len(sealed)):
        changed = bytearray(sealed)
        changed[index] ^= 0x80
        with pytest.raises(SealError):
            open_sealed(key, bytes(changed), CONTEXT)


def test_every_truncation_is_refused(key: SealingPrivateKey) -> None:
    sealed = seal_to(key.public_key, b"text", CONTEXT)
    for length in range(len(sealed)):
        with pytest.raises(SealError):
            open_sealed(key, sealed[:length], CONTEXT)
    with pytest.raises(SealError):
        open_sealed(key, sealed + b"\x00", CONTEXT)


@pytest.mark.parametrize("name", ["purpose", "sender", "recipient", "message_id"])
def test_a_context_is_complete(name: str) -> None:
    with pytest.raises(SealError):
        replace(CONTEXT, **{name: ""})


def test_other_bytes_have_no_key_id() -> None:
    with pytest.raises(SealError, match="not a sealed message"):
        sealed_key_id(b"TSS1")
