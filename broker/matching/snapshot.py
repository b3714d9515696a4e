"""What a restarted broker need not compute again: the edges and the groups of a linkage, in one file.

The rows are the truth and live in the broker's store; a snapshot is worth something only beside the very
rows that it was taken with, which its fingerprint tells. It holds subject numbers, not handles, encodings
or tokens.
"""

import io
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from broker.matching.checkpoint import spec_hash, write_atomically
from broker.matching.errors import CheckpointError
from broker.matching.model import Bytes2d, Candidates, Ints, MatchSpec

FORMAT = 1


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Edges and groups; subjects are numbered by agency, then handle bytes.

    :param fingerprint: ``(2,)`` sum of the fingerprints of all rows (``broker.matching.fingerprint``).
    :param members: subjects that are in a group; ``positions`` says in which, ``ids`` ``(groups, 16)``
        what it is called.
    """

    spec: str
    agencies: tuple[str, ...]
    fingerprint: NDArray[np.uint64]
    edges: Candidates
    members: Ints = field(repr=False)
    positions: Ints = field(repr=False)
    ids: Bytes2d = field(repr=False)

    def fits(self, spec: MatchSpec, agencies: Sequence[str], fingerprint: NDArray[np.uint64]) -> bool:
        """Whether it was taken by this specification beside these rows."""
        return (
            self.spec == spec_hash(spec)
            and self.agencies == tuple(agencies)
            and np.array_equal(self.fingerprint, fingerprint)
        )

    def save(self, path: Path) -> None:
        """Write the file, or replace it as a whole."""
        content = io.BytesIO()
        np.savez(
            content,
            format=np.array(FORMAT),
            spec=np.array(self.spec),
            agencies=np.array(self.agencies),
            fingerprint=self.fingerprint,
            a=self.edges.a,
            b=self.edges.b,
            score=self.edges.score,
            band=self.edges.band,
            via=self.edges.via,
            members=self.members,
            positions=self.positions,
            ids=self.ids,
        )
        write_atomically(path, content.getvalue())

    @staticmethod
    def load(path: Path) -> "Snapshot":
        """Read a file.

        :raises CheckpointError: it is missing, damaged or of another format; compute the groups anew.
        """
        try:
            with path.open("rb") as file, np.load(file) as kept:
                if int(kept["format"]) != FORMAT:
                    raise CheckpointError(
                        f"{path} has format {int(kept['format'])}, this version reads {FORMAT}"
                    )
                return Snapshot(
                    spec=str(kept["spec"]),
                    agencies=tuple(str(agency) for agency in kept["agencies"]),
                    fingerprint=kept["fingerprint"],
                    edges=Candidates(kept["a"], kept["b"], kept["score"], kept["band"], kept["via"]),
                    members=kept["members"],
                    positions=kept["positions"],
                    ids=kept["ids"],
                )
        except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile) as error:
            raise CheckpointError(f"cannot read the saved groups in {path}: {error}") from error
