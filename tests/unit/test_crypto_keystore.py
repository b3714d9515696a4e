"""The file keystore: each way in which it can be wrong has its own error."""

import json
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from crypto.canonical import b64u, canonical_json, unb64u
from crypto.errors import (
    KeystoreCorruptError,
    KeystoreEntryError,
    KeystoreError,
    KeystoreExistsError,
    KeystoreMissingError,
    KeystorePassphraseError,
)
from crypto.keys import SEALING_SUITES, generate_sealing_key, generate_signing_key
from crypto.keystore import Argon2Cost, Keystore

COST = Argon2Cost(memory_kib=64, iterations=1, lanes=1)
PASSPHRASE = "a passphrase for tests"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


@pytest.fixture
def store(path: Path) -> Keystore:
    return Keystore.create(path, PASSPHRASE, cost=COST)


def test_what_is_kept_comes_back(store: Keystore, path: Path) -> None:
    signing = generate_signing_key()
    sealing = {suite: generate_sealing_key(suite) for suite in SEALING_SUITES}
    store.add_signing("node", signing)
    for suite, key in sealing.items():
        store.add_sealing(f"receive/{suite}", key)
    store.add_secret("linkage:person:7", b"\x00secret")
    again = Keystore.open(path, PASSPHRASE)
    assert again.names() == (
        "linkage:person:7",
        "node",
        "receive/mlkem768-x25519",
        "receive/x25519",
    )
    assert again.signing("node").verify_key == signing.verify_key
    for suite, key in sealing.items():
        assert again.sealing(f"receive/{suite}").public_key == key.public_key
    assert again.secret("linkage:person:7") == b"\x00secret"


def test_the_default_cost_is_strong(tmp_path: Path) -> None:
    Keystore.create(tmp_path / "default.json", PASSPHRASE)
    kdf = json.loads((tmp_path / "default.json").read_bytes())["kdf"]
    assert (kdf["name"], kdf["memory_kib"], kdf["iterations"]) == ("argon2id", 65_536, 3)


def test_nothing_secret_is_in_the_file_or_the_repr(store: Keystore, path: Path) -> None:
    key = generate_signing_key()
    store.add_signing("node", key)
    store.add_secret("other", b"sixteen byte text")
    data = path.read_bytes()
    for secret in (key.private_bytes(), b"sixteen byte text", PASSPHRASE.encode()):
        assert secret not in data
        assert b64u(secret).encode() not in data
        assert secret.hex() not in repr(store)


def test_only_its_owner_reads_the_file(store: Keystore, path: Path) -> None:
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    store.add_secret("a", b"1")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [item.name for item in path.parent.iterdir()] == [path.name]


def test_an_existing_file_is_never_overwritten(store: Keystore, path: Path) -> None:
    store.add_secret("a", b"1")
    with pytest.raises(KeystoreExistsError):
        Keystore.create(path, "another", cost=COST)
    assert Keystore.open(path, PASSPHRASE).secret("a") == b"1"


def test_a_wrong_passphrase_says_so(store: Keystore, path: Path) -> None:
    with pytest.raises(KeystorePassphraseError, match="does not open"):
        Keystore.open(path, "another")
    with pytest.raises(KeystorePassphraseError, match="empty"):
        Keystore.open(path, "")


def test_the_passphrase_is_the_same_from_every_keyboard(tmp_path: Path) -> None:
    Keystore.create(tmp_path / "k.json", "caf\u00e9", cost=COST)
    assert Keystore.open(tmp_path / "k.json", "cafe\u0301").names() == ()


def test_a_missing_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(KeystoreMissingError, match=r"no keystore at .*nothing\.json"):
        Keystore.open(tmp_path / "nothing.json", PASSPHRASE)
    with pytest.raises(KeystoreError, match="cannot be read"):
        Keystore.open(tmp_path, PASSPHRASE)
    with pytest.raises(KeystoreError, match="cannot be used"):
        Keystore.create(tmp_path / "no-folder" / "k.json", PASSPHRASE, cost=COST)


def test_every_truncation_says_that_the_file_is_not_whole(store: Keystore, path: Path) -> None:
    store.add_secret("a", b"1")
    data = path.read_bytes()
    for length in range(0, len(data), 7):
        path.write_bytes(data[:length])
        with pytest.raises(KeystoreCorruptError):
            Keystore.open(path, PASSPHRASE)


def test_every_changed_byte_is_noticed(store: Keystore, path: Path) -> None:
    store.add_secret("a", b"1")
    data = path.read_bytes()
    for index in range(len(data)):
        changed = bytearray(data)
        changed[index] ^= 1
        path.write_bytes(changed)
        with pytest.raises((KeystoreCorruptError, KeystorePassphraseError)):
            Keystore.open(path, PASSPHRASE)


def _swap(fields: dict[str, Any]) -> None:
    entries = fields["entries"]
    entries["a"], entries["b"] = entries["b"], entries["a"]


@pytest.mark.parametrize(
    "change",
    [
        lambda f: f["entries"].pop("a"),
        _swap,
        lambda f: f["entries"]["a"].update(kind="signing"),
        lambda f: f["entries"].update(c=f["entries"]["a"]),
        lambda f: f["entries"]["a"].update(more=1),
        lambda f: f.update(entries=[]),
        lambda f: f.update(format="other"),
        lambda f: f.update(extra=1),
        lambda f: f["kdf"].update(name="scrypt"),
        lambda f: f["kdf"].update(memory_kib=10**9),
        lambda f: f["kdf"].update(iterations=0),
        lambda f: f["kdf"].update(salt="AAAA"),
        lambda f: f.update(mac="AAAA"),
    ],
)
def test_entries_cannot_be_removed_swapped_or_renamed(
    change: Callable[[dict[str, Any]], object], store: Keystore, path: Path
) -> None:
    store.add_secret("a", b"1")
    store.add_secret("b", b"2")
    fields = json.loads(path.read_bytes())
    change(fields)
    path.write_bytes(canonical_json(fields))
    with pytest.raises(KeystoreCorruptError):
        Keystore.open(path, PASSPHRASE)


def test_entries_are_of_one_kind_and_one_name(store: Keystore) -> None:
    store.add_secret("a", b"1")
    with pytest.raises(KeystoreEntryError, match="already has an entry 'a'"):
        store.add_signing("a", generate_signing_key())
    with pytest.raises(KeystoreEntryError, match="is of kind 'secret', not 'signing'"):
        store.signing("a")
    with pytest.raises(KeystoreEntryError, match="not 'sealing'"):
        store.sealing("a")
    with pytest.raises(KeystoreEntryError, match="has no entry 'b'"):
        store.secret("b")
    with pytest.raises(KeystoreEntryError):
        store.delete("b")
    for name in ("", "with space", "\u00e9", "x" * 201):
        with pytest.raises(KeystoreEntryError):
            store.add_secret(name, b"1")


def test_a_deleted_entry_is_gone(store: Keystore, path: Path) -> None:
    store.add_secret("a", b"1")
    box = json.loads(path.read_bytes())["entries"]["a"]["box"]
    store.delete("a")
    assert Keystore.open(path, PASSPHRASE).names() == ()
    assert box.encode() not in path.read_bytes()


def test_a_changed_passphrase_replaces_the_old_one(store: Keystore, path: Path) -> None:
    store.add_secret("a", b"1")
    before = unb64u(json.loads(path.read_bytes())["kdf"]["salt"])
    store.change_passphrase("another")
    with pytest.raises(KeystorePassphraseError):
        Keystore.open(path, PASSPHRASE)
    assert Keystore.open(path, "another").secret("a") == b"1" == store.secret("a")
    assert unb64u(json.loads(path.read_bytes())["kdf"]["salt"]) != before


def test_a_writer_that_is_behind_does_not_undo_another(store: Keystore, path: Path) -> None:
    other = Keystore.open(path, PASSPHRASE)
    other.add_secret("a", b"1")
    with pytest.raises(KeystoreError, match="another process changed"):
        store.add_secret("b", b"2")
    with pytest.raises(KeystoreError, match="another process changed"):
        store.change_passphrase("another")
    assert Keystore.open(path, PASSPHRASE).names() == ("a",)
    assert store.names() == ()


def test_costs_are_bounded() -> None:
    for memory, iterations, lanes in ((7, 1, 1), (8, 0, 1), (8, 1, 0), (2**23, 1, 1), (64, 65, 1)):
        with pytest.raises(KeystoreError):
            Argon2Cost(memory, iterations, lanes)
