"""Errors of reading an agency's data.

::

    SourceError               the source cannot be read (missing file or table, no connection)
    +-- SourceStructureError  a column that the mapping names is not there, or a header is unusable
    +-- BadRowError           a row is malformed and the mapping says ``on_bad_row = "refuse"``
"""

from __future__ import annotations


class SourceError(Exception):
    """An agency's data source cannot be read."""


class SourceStructureError(SourceError):
    """A file or table does not have the shape that the mapping describes."""


class BadRowError(SourceError):
    """A malformed row, where the mapping asks to refuse rather than to skip."""
