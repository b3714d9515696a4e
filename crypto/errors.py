"""The errors of this package.

All of them derive from `CryptoError`, so that a caller may refuse anything that failed a check with one
clause::

    CryptoError
    +-- CanonicalError            not canonical JSON, or a value that canonical JSON cannot carry
    +-- KeyFormatError            a public or private key that is malformed, weak or of an unknown scheme
    +-- SignatureError            a signature that does not verify, or one that is required and absent
    +-- EnvelopeError             a DSSE envelope that is malformed or of the wrong payload type
    +-- SealError                 a sealed message that cannot be opened with this key in this context
    +-- DeriveError               key derivation was asked for something outside its format
    +-- TokenError                text that is not a link token
    +-- KeystoreError             the file keystore
    |   +-- KeystoreMissingError      no keystore at that path
    |   +-- KeystoreExistsError       a keystore is already there
    |   +-- KeystoreCorruptError      truncated, edited or not a keystore
    |   +-- KeystorePassphraseError   wrong passphrase
    |   +-- KeystoreEntryError        no such entry, an entry of another kind, or a name taken
    +-- SignerError               a key URI that no signer can serve
    +-- PkiError                  certificates, requests and SPIFFE identities
    +-- MerkleError               a tree operation outside the tree
    |   +-- ProofError                an inclusion or consistency proof that does not hold
    +-- CheckpointError           a signed note or checkpoint that is malformed
    +-- AuditError                an audit leaf or its details that are malformed or unreadable
        +-- AuditErasedError          the subject's data key has been erased

Messages are for people and never contain key material, plaintext or personal data.
"""


class CryptoError(Exception):
    """Base of every error raised by `crypto`."""


class CanonicalError(CryptoError):
    """Bytes that are not canonical JSON, or a value that it cannot carry."""


class KeyFormatError(CryptoError):
    """A key that is malformed, weak or of an unknown scheme."""


class SignatureError(CryptoError):
    """A signature that does not verify, or one that is required and absent."""


class EnvelopeError(CryptoError):
    """An envelope that is malformed or of the wrong payload type."""


class SealError(CryptoError):
    """A sealed message that cannot be made, or cannot be opened with this key in this context."""


class DeriveError(CryptoError):
    """Key derivation was asked for something outside its format."""


class TokenError(CryptoError):
    """Text or bytes that are not a link token."""


class KeystoreError(CryptoError):
    """The keystore file could not be used."""


class KeystoreMissingError(KeystoreError):
    """There is no keystore at that path."""


class KeystoreExistsError(KeystoreError):
    """A keystore is already there and must not be overwritten."""


class KeystoreCorruptError(KeystoreError):
    """The file is truncated, edited or not a keystore."""


class KeystorePassphraseError(KeystoreError):
    """The passphrase does not open this keystore."""


class KeystoreEntryError(KeystoreError):
    """No such entry, an entry of another kind, or a name already taken."""


class SignerError(CryptoError):
    """A key URI that no registered signer can serve."""


class PkiError(CryptoError):
    """A certificate, certificate request or SPIFFE identity that is not acceptable."""


class MerkleError(CryptoError):
    """A tree operation outside the tree."""


class ProofError(MerkleError):
    """An inclusion or consistency proof that does not hold."""


class CheckpointError(CryptoError):
    """A signed note or checkpoint that is malformed."""


class AuditError(CryptoError):
    """An audit leaf or its details that are malformed or unreadable."""


class AuditErasedError(AuditError):
    """The details exist, but the data key of their subject has been erased."""
