"""What the databases of the node and of the broker have in common."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Final, TypeVar

CHUNK: Final = 500
"""Parameters of one statement stay well under the least limit of SQLite and PostgreSQL."""

Item = TypeVar("Item")


def chunks(items: Iterable[Item], size: int = CHUNK) -> Iterator[list[Item]]:
    """The items in lists of at most `size`."""
    iterator = iter(items)
    while part := list(islice(iterator, size)):
        yield part


class RollbackOnClose(sqlite3.Connection):
    """A connection that undoes an open transaction before it closes: `connect_args={"factory": ...}`.

    SQLite itself waits until every statement is finished. A task cancelled in the middle of one keeps it
    alive in its traceback, and with it the lock that everybody else would wait for.
    """

    def close(self) -> None:
        """Closes, and holds no lock afterwards."""
        try:
            if self.in_transaction:
                self.rollback()
        finally:
            super().close()
