"""Errors of the privacy report.

::

    PrivacyReportError      the report cannot be made; the message says why and what to do
    +-- LiveDataError       the data look like a node's own source; nobody has said that they are held out
"""

from __future__ import annotations


class PrivacyReportError(ValueError):
    """The report cannot be made as asked."""


class LiveDataError(PrivacyReportError):
    """The data belong to a node and nobody has named them as held out."""
