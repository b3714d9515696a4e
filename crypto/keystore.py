"""A passphrase-protected keystore in one JSON file.

Format, canonical JSON (RFC 8785), binary as base64url without padding::

    {"check": box, "entries": {name: {"box": box, "kind": "signing" | "sealing/<suite>" | "secret"}, ...},
     "format": "tallystick-keystore/v1",
     "kdf": {"iterations": n, "lanes": n, "memory_kib": n, "name": "argon2id", "salt": 16 bytes},
     "mac": 32 bytes}

    master = Argon2id(NFC passphrase as UTF-8, kdf), 32 bytes (RFC 9106)
    wrap   = HKDF(master, info = frame("tallystick/keystore/v1/wrap"))    mac key = the same with "mac"
    box    = nonce (12 bytes) || AES-256-GCM(wrap, nonce, plaintext, aad)
    aad    = frame("tallystick/keystore/v1", kind, name); for `check`, kind "check", name "", empty plaintext
    mac    = HMAC-SHA-256(mac key, canonical JSON of everything but "mac")

`check` tells a wrong passphrase from a damaged file; `mac` notices entries that were removed or swapped.
The wrapping key is derived once for each open. Every change is written to a temporary file, synced and
renamed, with mode 0600.
"""

import fcntl
import hmac
import os
import re
import secrets
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from crypto.canonical import (
    JsonValue,
    b64u,
    canonical_json,
    parse_canonical,
    require_integer,
    require_object,
    require_text,
    unb64u,
)
from crypto.derive import frame, hkdf
from crypto.errors import (
    CanonicalError,
    KeyFormatError,
    KeystoreCorruptError,
    KeystoreEntryError,
    KeystoreError,
    KeystoreExistsError,
    KeystoreMissingError,
    KeystorePassphraseError,
)
from crypto.keys import SealingPrivateKey, SigningKey

FORMAT = "tallystick-keystore/v1"
_LABEL = "tallystick/keystore/v1"
MAX_FILE_BYTES = 16 * 1_048_576
_NAME = re.compile(r"[!-~]{1,200}")
_NONCE = 12
_SIGNING = "signing"
_SEALING = "sealing/"
_SECRET = "secret"  # noqa: S105 - the kind of an entry, not a password


@dataclass(frozen=True, slots=True)
class Argon2Cost:
    """The price of one guess of the passphrase; the default takes a fraction of a second and 64 MiB."""

    memory_kib: int = 65_536
    iterations: int = 3
    lanes: int = 4

    def __post_init__(self) -> None:
        # Upper limits stop an edited file from exhausting the machine before its passphrase is checked.
        if (
            not (1 <= self.lanes <= 64 and 1 <= self.iterations <= 64 and self.memory_kib <= 4_194_304)
            or self.memory_kib < 8 * self.lanes
        ):
            raise KeystoreError(
                "the Argon2 cost is out of range (lanes and iterations 1-64, memory to 4 GiB)"
            )


@dataclass(frozen=True, slots=True)
class _Entry:
    kind: str
    box: bytes


@dataclass(frozen=True, slots=True, repr=False)
class _Keys:
    cost: Argon2Cost
    salt: bytes
    wrap: bytes
    mac: bytes


class Keystore:
    """An open keystore. Additions and deletions are on disk when the method returns."""

    __slots__ = ("_check", "_entries", "_keys", "_on_disk", "_path")

    def __init__(
        self, path: Path, keys: _Keys, check: bytes, entries: dict[str, _Entry], on_disk: bytes | None
    ) -> None:
        self._path = path
        self._keys = keys
        self._check = check
        self._entries = entries
        self._on_disk = on_disk

    @classmethod
    def create(
        cls, path: str | os.PathLike[str], passphrase: str, *, cost: Argon2Cost | None = None
    ) -> "Keystore":
        """A new, empty keystore at `path`; KeystoreExistsError rather than overwrite anything."""
        keys = _derive(passphrase, cost or Argon2Cost(), secrets.token_bytes(16))
        store = cls(Path(path), keys, _encrypt(keys.wrap, "check", "", b""), {}, None)
        store._save({})
        return store

    @classmethod
    def open(cls, path: str | os.PathLike[str], passphrase: str) -> "Keystore":
        """The keystore at `path`; raises the KeystoreError that says what is wrong with it."""
        file = Path(path)
        data = _read(file)
        try:
            fields, cost, salt = _parse_header(data)
            check = unb64u(require_text(fields["check"], "check"))
            mac = unb64u(require_text(fields["mac"], "mac"))
            entries = _parse_entries(fields["entries"])
        except CanonicalError as error:
            raise KeystoreCorruptError(f"{file} is not a whole keystore file: {error}") from None
        keys = _derive(passphrase, cost, salt)
        if _decrypt(keys.wrap, "check", "", check) is None:
            raise KeystorePassphraseError(f"the passphrase does not open the keystore {file}")
        store = cls(file, keys, check, entries, data)
        if not hmac.compare_digest(mac, store._mac(entries)):
            raise KeystoreCorruptError(f"the keystore {file} was changed by something else; restore a backup")
        return store

    @property
    def path(self) -> Path:
        """Where the keystore is."""
        return self._path

    def names(self) -> tuple[str, ...]:
        """The names of all entries, sorted."""
        return tuple(sorted(self._entries))

    def add_signing(self, name: str, key: SigningKey) -> None:
        """Keep a signing key under a new name."""
        self._add(name, _SIGNING, key.private_bytes())

    def add_sealing(self, name: str, key: SealingPrivateKey) -> None:
        """Keep a sealing key under a new name."""
        self._add(name, _SEALING + key.public_key.suite, key.private_bytes())

    def add_secret(self, name: str, secret: bytes) -> None:
        """Keep other secret bytes under a new name."""
        self._add(name, _SECRET, secret)

    def signing(self, name: str) -> SigningKey:
        """The signing key of that name."""
        with _as_corrupt(self._path, name):
            return SigningKey(self._get(name, _SIGNING)[1])

    def sealing(self, name: str) -> SealingPrivateKey:
        """The sealing key of that name."""
        kind, raw = self._get(name, _SEALING)
        with _as_corrupt(self._path, name):
            return SealingPrivateKey(kind.removeprefix(_SEALING), raw)

    def secret(self, name: str) -> bytes:
        """The secret bytes of that name."""
        return self._get(name, _SECRET)[1]

    def delete(self, name: str) -> None:
        """Remove an entry for ever."""
        self._entry(name)
        self._save({other: entry for other, entry in self._entries.items() if other != name})

    def change_passphrase(self, passphrase: str, *, cost: Argon2Cost | None = None) -> None:
        """Encrypt everything anew under another passphrase."""
        plain = {name: (entry.kind, self._open_entry(name, entry)) for name, entry in self._entries.items()}
        before = self._keys, self._check
        self._keys = _derive(passphrase, cost or self._keys.cost, secrets.token_bytes(16))
        self._check = _encrypt(self._keys.wrap, "check", "", b"")
        try:
            self._save(
                {
                    name: _Entry(kind, _encrypt(self._keys.wrap, kind, name, raw))
                    for name, (kind, raw) in plain.items()
                }
            )
        except KeystoreError:
            self._keys, self._check = before
            raise

    def __repr__(self) -> str:
        return f"Keystore({str(self._path)!r}, {len(self._entries)} entries)"

    def _add(self, name: str, kind: str, raw: bytes) -> None:
        if not _NAME.fullmatch(name):
            raise KeystoreEntryError("a keystore name is from 1 to 200 printable ASCII characters")
        if name in self._entries:
            raise KeystoreEntryError(f"the keystore {self._path} already has an entry {name!r}")
        self._save({**self._entries, name: _Entry(kind, _encrypt(self._keys.wrap, kind, name, raw))})

    def _entry(self, name: str) -> _Entry:
        try:
            return self._entries[name]
        except KeyError:
            raise KeystoreEntryError(f"the keystore {self._path} has no entry {name!r}") from None

    def _get(self, name: str, kind: str) -> tuple[str, bytes]:
        entry = self._entry(name)
        if not (entry.kind == kind or (kind.endswith("/") and entry.kind.startswith(kind))):
            raise KeystoreEntryError(
                f"entry {name!r} of {self._path} is of kind {entry.kind!r}, not {kind.rstrip('/')!r}"
            )
        return entry.kind, self._open_entry(name, entry)

    def _open_entry(self, name: str, entry: _Entry) -> bytes:
        raw = _decrypt(self._keys.wrap, entry.kind, name, entry.box)
        if raw is None:
            raise KeystoreCorruptError(f"entry {name!r} of the keystore {self._path} is damaged")
        return raw

    def _body(self, entries: dict[str, _Entry]) -> dict[str, JsonValue]:
        cost = self._keys.cost
        return {
            "format": FORMAT,
            "kdf": {
                "name": "argon2id",
                "memory_kib": cost.memory_kib,
                "iterations": cost.iterations,
                "lanes": cost.lanes,
                "salt": b64u(self._keys.salt),
            },
            "check": b64u(self._check),
            "entries": {
                name: {"kind": entry.kind, "box": b64u(entry.box)} for name, entry in entries.items()
            },
        }

    def _mac(self, entries: dict[str, _Entry]) -> bytes:
        return hmac.digest(self._keys.mac, canonical_json(self._body(entries)), "sha256")

    def _save(self, entries: dict[str, _Entry]) -> None:
        data = canonical_json({**self._body(entries), "mac": b64u(self._mac(entries))})
        with _locked(self._path.parent):
            if self._on_disk is None and self._path.exists():
                raise KeystoreExistsError(f"{self._path} exists already; open it or choose another path")
            if self._on_disk is not None and _read(self._path) != self._on_disk:
                raise KeystoreError(f"another process changed {self._path}; open it again and repeat")
            _write_atomic(self._path, data)
        self._entries = entries
        self._on_disk = data


def _derive(passphrase: str, cost: Argon2Cost, salt: bytes) -> _Keys:
    if not passphrase:
        raise KeystorePassphraseError("the passphrase of a keystore must not be empty")
    master = Argon2id(
        salt=salt,
        length=32,
        iterations=cost.iterations,
        lanes=cost.lanes,
        memory_cost=cost.memory_kib,
    ).derive(unicodedata.normalize("NFC", passphrase).encode("utf-8"))
    wrap = hkdf(master, frame("tallystick/keystore/v1/wrap"), 32)
    return _Keys(cost, salt, wrap, hkdf(master, frame("tallystick/keystore/v1/mac"), 32))


def _encrypt(key: bytes, kind: str, name: str, plaintext: bytes) -> bytes:
    nonce = secrets.token_bytes(_NONCE)
    return nonce + AESGCM(key).encrypt(nonce, plaintext, frame(_LABEL, kind, name))


def _decrypt(key: bytes, kind: str, name: str, box: bytes) -> bytes | None:
    try:
        return AESGCM(key).decrypt(box[:_NONCE], box[_NONCE:], frame(_LABEL, kind, name))
    except (InvalidTag, ValueError):
        return None


def _parse_header(data: bytes) -> tuple[dict[str, JsonValue], Argon2Cost, bytes]:
    value = parse_canonical(data, max_bytes=MAX_FILE_BYTES)
    if isinstance(value, dict) and value.get("format") != FORMAT:
        raise CanonicalError(f"its format is not {FORMAT}")
    fields = require_object(value, frozenset({"check", "entries", "format", "kdf", "mac"}), "the keystore")
    names = frozenset({"name", "memory_kib", "iterations", "lanes", "salt"})
    kdf = require_object(fields["kdf"], names, "kdf")
    if kdf["name"] != "argon2id":
        raise CanonicalError("its key derivation is not argon2id")
    memory, iterations, lanes = (
        require_integer(kdf[name], name) for name in ("memory_kib", "iterations", "lanes")
    )
    salt = unb64u(require_text(kdf["salt"], "salt"))
    if len(salt) != 16:
        raise CanonicalError("its salt has not 16 bytes")
    try:
        return fields, Argon2Cost(memory, iterations, lanes), salt
    except KeystoreError as error:
        raise CanonicalError(str(error)) from None


def _parse_entries(value: JsonValue) -> dict[str, _Entry]:
    if not isinstance(value, dict):
        raise CanonicalError("its entries are not an object")
    result = {}
    for name, item in value.items():
        fields = require_object(item, frozenset({"kind", "box"}), "an entry")
        result[name] = _Entry(
            require_text(fields["kind"], "kind"), unb64u(require_text(fields["box"], "box"))
        )
    return result


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise KeystoreMissingError(f"there is no keystore at {path}") from None
    except OSError as error:
        raise KeystoreError(f"the keystore {path} cannot be read: {error.strerror}") from None


def _write_atomic(path: Path, data: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise KeystoreError(f"the keystore {path} cannot be written: {error.strerror}") from None


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the folder's advisory lock.

    So that two processes cannot both believe that they saw the newest file.
    """
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise KeystoreError(f"the folder {folder} cannot be used: {error.strerror}") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def _as_corrupt(path: Path, name: str) -> Iterator[None]:
    try:
        yield
    except KeyFormatError as error:
        raise KeystoreCorruptError(f"entry {name!r} of the keystore {path} is damaged: {error}") from None
