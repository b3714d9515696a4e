"""Key URIs."""

import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from crypto import signers
from crypto.errors import KeystoreMissingError, KeystorePassphraseError, SignerError
from crypto.hsm import Pkcs11Signer, parse_pkcs11_uri
from crypto.keys import SigningKey, generate_signing_key
from crypto.keystore import Argon2Cost, Keystore
from crypto.signers import load_signer, register_scheme

URI = "pkcs11:token=officers;object=siro%20key?module-path=/usr/lib/module.so"


def test_a_keystore_key_signs(tmp_path: Path) -> None:
    path, key = tmp_path / "keys.json", generate_signing_key()
    Keystore.create(path, "pass", cost=Argon2Cost(64, 1, 1)).add_signing("siro#1", key)
    signer = load_signer(f"keystore:{path}#siro#1", lambda: "pass")
    key.verify_key.verify(signer.sign(b"text"), b"text")
    with pytest.raises(KeystorePassphraseError):
        load_signer(f"keystore:{path}#siro#1", lambda: "other")
    with pytest.raises(KeystoreMissingError):
        load_signer(f"keystore:{path}.old#siro#1", lambda: "pass")


@pytest.mark.parametrize(
    "uri", ["", "keys.json#a", "file:keys.json", "keystore:/a", "keystore:#a", "keystore:/a#"]
)
def test_other_uris_are_refused_before_a_passphrase_is_asked(uri: str) -> None:
    def never() -> str:
        pytest.fail("asked for a passphrase")

    with pytest.raises(SignerError):
        load_signer(uri, never)


def test_schemes_can_be_added_but_not_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signers, "_factories", dict(signers._factories))
    key = generate_signing_key()
    register_scheme("memory", lambda _uri, _passphrase: key)
    assert load_signer("memory:x", str) is key
    for scheme in ("memory", "keystore", "pkcs11"):
        with pytest.raises(SignerError, match="registered already"):
            register_scheme(scheme, lambda _uri, _passphrase: key)


@pytest.mark.parametrize(
    "uri",
    [
        "pkcs11:",
        "pkcs11:token=a;object=b",
        "pkcs11:object=b?module-path=/m",
        "pkcs11:token=a?module-path=/m",
        "pkcs11:token=a;object=b;object=c?module-path=/m",
        "pkcs11:token=a;object=?module-path=/m",
        "pkcs11:token=a;object=b?module-path=/m&pin-value=1234",
        "pkcs11:token=a;object=b;type=private?module-path=/m",
    ],
)
def test_incomplete_or_unsafe_device_uris_are_refused(uri: str) -> None:
    with pytest.raises(SignerError):
        parse_pkcs11_uri(uri)


def test_without_the_binding_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pkcs11", None)
    with pytest.raises(SignerError, match=r"tallystick\[hsm\]"):
        load_signer(URI, lambda: "1234")


class _Attribute(Enum):
    CLASS = 1
    LABEL = 2
    ID = 3
    EC_POINT = 4


class _ObjectClass(Enum):
    PRIVATE_KEY = 1
    PUBLIC_KEY = 2


class _Mechanism(Enum):
    EDDSA = 1


class _PinError(Exception):
    pass


class _Token:
    """A simulator of a device that holds one Ed25519 key pair."""

    def __init__(self, key: SigningKey, copies: int = 1, point: bytes | None = None) -> None:
        self.key, self.copies, self.open_sessions = key, copies, 0
        self.point = b"\x04\x20" + key.verify_key.raw if point is None else point

    @contextmanager
    def open(self, user_pin: str) -> Iterator["_Token"]:
        # Like a real device: one login at a time for the whole process.
        if user_pin != "1234" or self.open_sessions:
            raise _PinError
        self.open_sessions += 1
        try:
            yield self
        finally:
            self.open_sessions -= 1

    def get_objects(self, query: dict[Any, Any]) -> Iterator[Any]:
        if query[_Attribute.LABEL] == "siro key":
            private = query[_Attribute.CLASS] is _ObjectClass.PRIVATE_KEY
            yield from [self if private else {_Attribute.EC_POINT: self.point}] * self.copies

    def sign(self, message: bytes, mechanism: _Mechanism) -> bytes:
        assert mechanism is _Mechanism.EDDSA
        time.sleep(0.001)
        return self.key.sign(message)


def _plug_in(token: _Token, monkeypatch: pytest.MonkeyPatch) -> None:
    binding: Any = ModuleType("pkcs11")
    exceptions: Any = ModuleType("pkcs11.exceptions")
    exceptions.PKCS11Error = _PinError
    binding.Attribute, binding.ObjectClass, binding.Mechanism = _Attribute, _ObjectClass, _Mechanism

    def lib(path: str) -> Any:
        assert path == "/usr/lib/module.so"
        library: Any = ModuleType("library")
        library.get_token = lambda token_label: {"officers": token}[token_label]
        return library

    binding.lib = lib
    monkeypatch.setitem(sys.modules, "pkcs11", binding)
    monkeypatch.setitem(sys.modules, "pkcs11.exceptions", exceptions)


def test_a_key_in_a_device_signs(monkeypatch: pytest.MonkeyPatch) -> None:
    token = _Token(generate_signing_key())
    _plug_in(token, monkeypatch)
    signer = load_signer(URI, lambda: "1234")
    assert isinstance(signer, Pkcs11Signer)
    assert signer.verify_key == token.key.verify_key
    second = load_signer(URI, lambda: "1234")
    for handle in (signer, second, signer):
        handle.verify_key.verify(handle.sign(b"text"), b"text")
        assert token.open_sessions == 0


def test_signers_of_one_device_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    _plug_in(_Token(generate_signing_key()), monkeypatch)
    handles = [load_signer(URI, lambda: "1234") for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        signatures = list(pool.map(lambda number: handles[number % 4].sign(b"text"), range(16)))
    for signature in signatures:
        handles[0].verify_key.verify(signature, b"text")


def test_a_device_that_goes_away_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    token = _Token(generate_signing_key())
    _plug_in(token, monkeypatch)
    signer = load_signer(URI, lambda: "1234")
    token.open_sessions = 1
    with pytest.raises(SignerError, match="cannot be used"):
        signer.sign(b"text")


def test_a_wrong_pin_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    _plug_in(_Token(generate_signing_key()), monkeypatch)
    with pytest.raises(SignerError, match="cannot be used"):
        load_signer(URI, lambda: "0000")


def test_a_device_with_no_such_key_or_two_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for copies in (0, 2):
        token = _Token(generate_signing_key(), copies)
        _plug_in(token, monkeypatch)
        with pytest.raises(SignerError, match=f"has {copies} objects"):
            load_signer(URI, lambda: "1234")
        assert token.open_sessions == 0


def test_a_device_key_of_another_kind_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    _plug_in(_Token(generate_signing_key(), point=b"\x04\x41" + bytes(65)), monkeypatch)
    with pytest.raises(SignerError, match="not an Ed25519 key"):
        load_signer(URI, lambda: "1234")
