"""Key URIs: where a signing key is, in one line of configuration.

- `keystore:/path/keys.json#name`: an entry of a passphrase-protected file (`crypto.keystore`);
- `pkcs11:token=T;object=O?module-path=/usr/lib/softhsm.so`: a key in an HSM, by RFC 7512 (`crypto.hsm`).

Other schemes (a cloud KMS) are added with `register_scheme`, without touching those who sign.
"""

from collections.abc import Callable

from crypto import hsm
from crypto.errors import SignerError
from crypto.keys import Signer
from crypto.keystore import Keystore

Passphrase = Callable[[], str]
SignerFactory = Callable[[str, Passphrase], Signer]

_factories: dict[str, SignerFactory] = {}


def register_scheme(scheme: str, factory: SignerFactory) -> None:
    """Serve `scheme:` URIs with `factory(uri, passphrase)`; SignerError if the scheme is taken."""
    if scheme in _factories:
        raise SignerError(f"the key URI scheme {scheme!r} is registered already")
    _factories[scheme] = factory


def load_signer(uri: str, passphrase: Passphrase) -> Signer:
    """The signer that `uri` names; `passphrase` is called only if one is needed.

    Raises SignerError for a URI that cannot be served, KeystoreError for a keystore that does not open.
    """
    scheme, separator, _ = uri.partition(":")
    factory = _factories.get(scheme)
    if not separator or factory is None:
        known = ", ".join(f"{name}:" for name in sorted(_factories))
        raise SignerError(f"the key URI does not begin with a known scheme; known: {known}")
    return factory(uri, passphrase)


def _from_keystore(uri: str, passphrase: Passphrase) -> Signer:
    path, separator, name = uri.removeprefix("keystore:").partition("#")
    if not (path and separator and name):
        raise SignerError("a keystore key is written keystore:/path/keys.json#name")
    return Keystore.open(path, passphrase()).signing(name)


register_scheme("keystore", _from_keystore)
register_scheme("pkcs11", hsm.load_pkcs11_signer)
