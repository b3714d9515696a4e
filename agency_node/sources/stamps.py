"""Whether files are still what they were, without reading them."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

_SETTLED_NS: Final = 2_000_000_000
"""The coarsest clock of a file system in use (FAT): within it a file may change and keep its times."""


@dataclass(frozen=True, slots=True)
class FileStamp:
    """A file by its device, inode and size, and by when it was written and changed at all."""

    device: int
    inode: int
    size: int
    modified_ns: int
    changed_ns: int

    @classmethod
    def of(cls, path: Path) -> FileStamp | None:
        """The stamp of a file as it is now, None where it cannot be opened."""
        try:
            # network file systems tell of changes for sure only when a file is opened
            with path.open("rb") as stream:
                found = os.fstat(stream.fileno())
        except OSError:
            return None
        return cls(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


@dataclass(frozen=True, slots=True)
class SourceStamp:
    """The files that a source is made of at a moment; none where every answer is read from the data anew."""

    files: tuple[FileStamp | None, ...]
    taken_ns: int = field(compare=False)

    @classmethod
    def of(cls, paths: Iterable[Path]) -> SourceStamp:
        """These files as they are now."""
        taken = time.time_ns()
        return cls(tuple(map(FileStamp.of, paths)), taken)

    @property
    def is_settled(self) -> bool:
        """Whether a later stamp that is equal says that nothing changed: no file had changed just then."""
        changed = (file.changed_ns for file in self.files if file is not None)
        return all(self.taken_ns - moment > _SETTLED_NS for moment in changed)
