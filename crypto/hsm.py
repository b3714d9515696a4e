"""Ed25519 keys that never leave a PKCS#11 device (HSM, smart card, SoftHSM).

The URI is that of RFC 7512, restricted to the attributes `token`, `object` and `id` in the path and
`module-path` in the query, e.g.
`pkcs11:token=officers;object=siro?module-path=/usr/lib/softhsm/libsofthsm2.so`. The PIN is the passphrase
and is never part of the URI. The binding is the optional dependency `python-pkcs11` (`tallystick[hsm]`).
"""

import importlib
import threading
from collections.abc import Callable
from types import ModuleType
from typing import Any
from urllib.parse import unquote, unquote_to_bytes

from crypto.errors import KeyFormatError, SignerError
from crypto.keys import Signer, VerifyKey

_PATH = frozenset({"token", "object", "id"})


class Pkcs11Signer(Signer):
    """A handle to a key pair in a device, with its session kept open."""

    __slots__ = ("_lock", "_mechanism", "_private", "_session", "_verify_key")

    # The binding ships no types: its objects are Any here and nowhere else.
    def __init__(self, pkcs11: ModuleType, session: Any, query: dict[Any, Any]) -> None:
        self._lock = threading.Lock()
        self._session = session
        self._mechanism = pkcs11.Mechanism.EDDSA
        classes = pkcs11.ObjectClass
        self._private = _only(session, {**query, pkcs11.Attribute.CLASS: classes.PRIVATE_KEY}, "private key")
        public = _only(session, {**query, pkcs11.Attribute.CLASS: classes.PUBLIC_KEY}, "public key")
        self._verify_key = _public_key(bytes(public[pkcs11.Attribute.EC_POINT]))

    @property
    def verify_key(self) -> VerifyKey:
        return self._verify_key

    def sign(self, message: bytes) -> bytes:
        # A PKCS#11 session runs one operation at a time.
        with self._lock:
            return bytes(self._private.sign(message, mechanism=self._mechanism))

    def close(self) -> None:
        """Log out and end the session."""
        self._session.close()


def load_pkcs11_signer(uri: str, passphrase: Callable[[], str]) -> Pkcs11Signer:
    """The signer that an RFC 7512 URI names.

    Raises SignerError when the device, token, key or PIN is not usable.
    """
    path, module_path = parse_pkcs11_uri(uri)
    try:
        pkcs11 = importlib.import_module("pkcs11")
        errors: tuple[type[Exception], ...] = (
            importlib.import_module("pkcs11.exceptions").PKCS11Error,
            RuntimeError,
        )
    except ModuleNotFoundError:
        raise SignerError("pkcs11: keys need the optional dependency: install tallystick[hsm]") from None
    query: dict[Any, Any] = {}
    if "object" in path:
        query[pkcs11.Attribute.LABEL] = unquote(path["object"])
    if "id" in path:
        query[pkcs11.Attribute.ID] = unquote_to_bytes(path["id"])
    try:
        token = pkcs11.lib(module_path).get_token(token_label=unquote(path["token"]))
        session = token.open(user_pin=passphrase())
    except errors as error:
        raise SignerError(f"the PKCS#11 token does not open: {type(error).__name__}") from None
    try:
        return Pkcs11Signer(pkcs11, session, query)
    except errors as error:
        session.close()
        raise SignerError(f"the PKCS#11 key cannot be used: {type(error).__name__}") from None
    except SignerError:
        session.close()
        raise


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


def _only(session: Any, query: dict[Any, Any], what: str) -> Any:
    found = list(session.get_objects(query))
    if len(found) != 1:
        raise SignerError(f"the PKCS#11 token has {len(found)} objects that match this {what}, not one")
    return found[0]


def _public_key(point: bytes) -> VerifyKey:
    """PKCS#11 3.0 gives the point as a DER OCTET STRING; some devices give the 32 bytes bare."""
    raw = point[2:] if len(point) == 34 and point[:2] == b"\x04\x20" else point
    try:
        return VerifyKey(raw)
    except KeyFormatError:
        raise SignerError("the PKCS#11 key is not an Ed25519 key") from None
