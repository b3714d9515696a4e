"""One service for one data folder: two on the same folder would spoil it."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import IO


def locked(path: Path) -> IO[str]:
    """Holds a lock file until it is closed, at the latest when the process ends.

    Raises:
        BlockingIOError: another process holds it.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    file = os.fdopen(descriptor, "r+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise
    return file
