"""Ed25519 keys that never leave a PKCS#11 device (HSM, smart card, SoftHSM).

The URI is that of RFC 7512, restricted to the attributes `token`, `object` and `id` in the path and
`module-path` in the query, e.g.
`pkcs11:token=officers;object=siro?module-path=/usr/lib/softhsm/libsofthsm2.so`. The PIN is the passphrase
and is never part of the URI. The binding is the optional dependency `python-pkcs11` (`tallystick[hsm]`).
"""

import importlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import unquote, unquote_to_bytes

from crypto.errors import KeyFormatError, SignerError
from crypto.keys import Signer, VerifyKey

_PATH = frozenset({"token", "object", "id"})


# A login holds for all sessions of the process: one operation at a time, so that no signer works under
# another's PIN.
_one_login = threading.Lock()


class _Device:
    """One key pair of one token, reached through a session that lasts for one operation.

    The binding ships no types: its objects are Any here and nowhere else.
    """

    __slots__ = ("_errors", "_library", "_pin", "_pkcs11", "_query", "_token")

    def __init__(self, module_path: str, token: str, query: dict[str, str | bytes], pin: str) -> None:
        try:
            self._pkcs11: Any = importlib.import_module("pkcs11")
            base = importlib.import_module("pkcs11.exceptions").PKCS11Error
        except ModuleNotFoundError:
            raise SignerError("pkcs11: keys need the optional dependency: install tallystick[hsm]") from None
        self._errors: tuple[type[Exception], ...] = (base, RuntimeError)
        self._token = token
        self._pin = pin
        attributes = self._pkcs11.Attribute
        self._query = {attributes[name]: value for name, value in query.items()}
        try:
            self._library = self._pkcs11.lib(module_path)
        except self._errors as error:
            raise SignerError(f"the PKCS#11 module does not load: {type(error).__name__}") from None

    def public_point(self) -> bytes:
        """The EC_POINT attribute of the public key."""
        with self._session() as session:
            key = self._only(session, self._pkcs11.ObjectClass.PUBLIC_KEY, "public key")
            return bytes(key[self._pkcs11.Attribute.EC_POINT])

    def sign(self, message: bytes) -> bytes:
        """An EdDSA signature by the private key."""
        with self._session() as session:
            key = self._only(session, self._pkcs11.ObjectClass.PRIVATE_KEY, "private key")
            return bytes(key.sign(message, mechanism=self._pkcs11.Mechanism.EDDSA))

    @contextmanager
    def _session(self) -> Iterator[Any]:
        with _one_login:
            try:
                token = self._library.get_token(token_label=self._token)
                with token.open(user_pin=self._pin) as session:
                    yield session
            except self._errors as error:
                raise SignerError(f"the PKCS#11 token cannot be used: {type(error).__name__}") from None

    def _only(self, session: Any, kind: Any, what: str) -> Any:
        found = list(session.get_objects({**self._query, self._pkcs11.Attribute.CLASS: kind}))
        if len(found) != 1:
            raise SignerError(f"the PKCS#11 token has {len(found)} objects that match this {what}, not one")
        return found[0]


class Pkcs11Signer(Signer):
    """A handle to a key pair in a device."""

    __slots__ = ("_device", "_verify_key")

    def __init__(self, device: _Device) -> None:
        self._device = device
        self._verify_key = _public_key(device.public_point())

    @property
    def verify_key(self) -> VerifyKey:
        return self._verify_key

    def sign(self, message: bytes) -> bytes:
        return self._device.sign(message)


def load_pkcs11_signer(uri: str, passphrase: Callable[[], str]) -> Pkcs11Signer:
    """The signer that an RFC 7512 URI names.

    Raises SignerError when the device, token, key or PIN is not usable; so does signing, should the device
    go away.
    """
    path, module_path = parse_pkcs11_uri(uri)
    query: dict[str, str | bytes] = {}
    if "object" in path:
        query["LABEL"] = unquote(path["object"])
    if "id" in path:
        query["ID"] = unquote_to_bytes(path["id"])
    return Pkcs11Signer(_Device(module_path, unquote(path["token"]), query, passphrase()))


def parse_pkcs11_uri(uri: str) -> tuple[dict[str, str], str]:
    """The path attributes (still percent-encoded) and the module path of a `pkcs11:` URI.

    SignerError when malformed.
    """
    path_text, _, query_text = uri.removeprefix("pkcs11:").partition("?")
    path = _attributes(path_text, ";")
    query = _attributes(query_text, "&")
    if path.keys() - _PATH or query.keys() - {"module-path"}:
        raise SignerError("a pkcs11: URI may have token, object and id, then ?module-path=")
    if "token" not in path or not ({"object", "id"} & path.keys()) or "module-path" not in query:
        raise SignerError("a pkcs11: URI needs token=, object= or id=, and ?module-path=")
    return path, unquote(query["module-path"])


def _attributes(text: str, separator: str) -> dict[str, str]:
    result: dict[str, str] = {}
    for part in filter(None, text.split(separator)):
        name, equals, value = part.partition("=")
        if not equals or not value or name in result:
            raise SignerError("an attribute of the pkcs11: URI is empty or repeated")
        result[name] = value
    return result


def _public_key(point: bytes) -> VerifyKey:
    """PKCS#11 3.0 gives the point as a DER OCTET STRING; some devices give the 32 bytes bare."""
    raw = point[2:] if len(point) == 34 and point[:2] == b"\x04\x20" else point
    try:
        return VerifyKey(raw)
    except KeyFormatError:
        raise SignerError("the PKCS#11 key is not an Ed25519 key") from None
