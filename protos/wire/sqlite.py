"""SQLite connections that give up their locks when they are closed."""

from __future__ import annotations

import sqlite3


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
