"""Errors of the encoder.

::

    EncodingError
    +-- EncodingSectionError      the agreement's encoding section is not usable as it stands
    |   +-- NarrowProjectionError a CLK over too few identifying fields, without a signed exception
    +-- HardeningError            unknown hardening, or parameters that it cannot work with
    +-- DecoyError                decoys cannot be made from these subjects
    +-- HandleError               a subject has no handle, or a malformed one

Invalid *rows* given to :func:`agency_node.encoding.encode_clks` raise clkhash's own errors.
"""


class EncodingError(ValueError):
    """Something about encoding cannot be done; the message never holds a personal value."""


class EncodingSectionError(EncodingError):
    """The encoding section of a linkage agreement is malformed."""


class NarrowProjectionError(EncodingSectionError):
    """A projection has fewer identifying fields than the agreement's minimum and no signed exception."""


class HardeningError(EncodingError):
    """The hardening is unknown or its parameters do not fit the filter."""


class HandleError(EncodingError):
    """A subject cannot be encoded because its 16-byte handle is missing or malformed."""


class DecoyError(EncodingError):
    """Decoys cannot be made: too few or too similar subjects, or a mixture that does not apply."""
