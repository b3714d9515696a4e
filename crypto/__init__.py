"""Signed bytes, keys, sealing, derivations, the Merkle log. Refuses a library with known holes."""

from importlib.metadata import version

_OLDEST = 47

if int(version("cryptography").partition(".")[0]) < _OLDEST:
    raise ImportError(
        f"cryptography {version('cryptography')} is too old: known vulnerabilities, and no HPKE. "
        f"Install {_OLDEST} or later; clkhash's lower limit on it can be overridden (see README)."
    )
