"""Errors of a pilot, with messages for the person who runs it.

::

    PilotError                the pilot cannot run as asked (files, options, mapping)
    +-- UnsupportedDataError  the files are readable, but they do not support the choice of a threshold
"""

from __future__ import annotations


class PilotError(Exception):
    """The pilot cannot run; the message says why and what to do."""


class UnsupportedDataError(PilotError):
    """A threshold cannot be chosen responsibly from these files.

    :ivar reason: a word for programs: ``too-few-rows``, ``too-few-fields``, ``no-links`` or
        ``indistinguishable``.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
