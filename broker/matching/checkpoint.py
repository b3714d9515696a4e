"""A run directory keeps the results of finished tasks, so that a run goes on where a restart interrupted it.

``manifest.json`` names the specification and the rows (as hashes) that the results belong to; each finished
task is one ``task-<number>.npz``, written under another name and renamed, so that a file is whole or
absent. Results are positions and scores: no handle, encoding or token is ever written here.
"""

import io
import json
import os
import zipfile
from collections.abc import Sequence
from dataclasses import astuple
from hashlib import sha256
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from broker.matching.errors import CheckpointError
from broker.matching.model import MatchSpec, PartyRows
from broker.matching.tasks import BlockPairs, BlockTask

FORMAT = 1
MANIFEST = "manifest.json"


def rows_hash(parties: Sequence[PartyRows]) -> str:
    """SHA-256, hex, over all columns of all parties in order of agency."""
    digest = sha256()
    for rows in sorted(parties, key=lambda party: party.agency):
        digest.update(f"{rows.agency}\0{len(rows)}\0".encode())
        columns: dict[str, NDArray[np.generic]] = {"handles": rows.handles, "row_numbers": rows.row_numbers}
        for kind, by_name in (
            ("clks", rows.clks),
            ("present", rows.present),
            ("exact", rows.exact),
            ("exact_present", rows.exact_present),
        ):
            columns |= {f"{kind}/{name}": column for name, column in by_name.items()}
        for name in sorted(columns):
            digest.update(f"{name}\0{columns[name].dtype.str}\0{columns[name].shape}\0".encode())
            digest.update(np.ascontiguousarray(columns[name]).data)
    return digest.hexdigest()


def spec_hash(spec: MatchSpec) -> str:
    """SHA-256, hex, of everything in a specification that decides results."""
    decisive = [astuple(projection) for projection in spec.projections]
    text = json.dumps([decisive, spec.exact_tokens, spec.one_to_one])
    return sha256(text.encode()).hexdigest()


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file, for its owner only, that is whole or absent, whatever happens in between."""
    partial = path.with_name(path.name + ".partial")
    partial.touch(mode=0o600)
    with partial.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


class RunDirectory:
    """The kept results of one run.

    :param path: made if missing.
    :raises CheckpointError: the directory belongs to a run over other rows, or by another specification.
    """

    def __init__(self, path: Path, spec: MatchSpec, parties: Sequence[PartyRows], block_rows: int) -> None:
        self._path = path
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        manifest = {
            "format": FORMAT,
            "spec": spec_hash(spec),
            "rows": rows_hash(parties),
            "block_rows": block_rows,
        }
        existing = path / MANIFEST
        if not existing.exists():
            write_atomically(existing, json.dumps(manifest, indent=1).encode())
        elif _read_manifest(existing) != manifest:
            raise CheckpointError(
                f"{path} keeps the results of a run over other rows or by another agreement; "
                "delete it, or start this run in a new directory"
            )

    def load(self, task: BlockTask) -> BlockPairs | None:
        """The kept result of a task; None if there is none, or it cannot be read and must be computed
        again."""
        try:
            with self._file(task).open("rb") as file, np.load(file) as kept:
                return BlockPairs(kept["left"].astype(np.int64), kept["right"].astype(np.int64), kept["dice"])
        except (FileNotFoundError, zipfile.BadZipFile, KeyError, EOFError, ValueError):
            return None

    def save(self, task: BlockTask, pairs: BlockPairs) -> None:
        """Keep the result of a finished task."""
        content = io.BytesIO()
        # Positions within a block fit 32 bits.
        left, right = pairs.left.astype(np.uint32), pairs.right.astype(np.uint32)
        np.savez(content, left=left, right=right, dice=pairs.dice)
        write_atomically(self._file(task), content.getvalue())

    def clear(self) -> None:
        """Delete the results and the directory, once they are no longer needed."""
        for file in self._path.iterdir():
            file.unlink()
        self._path.rmdir()

    def _file(self, task: BlockTask) -> Path:
        return self._path / f"task-{task.number:08d}.npz"


def _read_manifest(path: Path) -> object:
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise CheckpointError(f"{path} is damaged ({error}); delete its directory and start again") from error
