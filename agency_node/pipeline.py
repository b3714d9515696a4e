"""Raw rows to hardened encodings, one chunk at a time: what every core of a node can do on its own.

A chunk needs nothing but the job and its own rows, so :mod:`agency_node.workers` may run it in another
process. Results hold encodings, counts and positions, and the few subjects that were asked for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import cast

import numpy as np
from numpy.typing import NDArray

from agency_node.encoding import EncodedRows, EncodingKeys, EncodingReport, EncodingSection
from agency_node.encoding.subjects import (
    MAX_IDENTITIES,
    IdentityRows,
    OnInvalid,
    SubjectEncoder,
    handle_bytes,
)
from agency_node.mapping import SubjectRule
from agency_node.normalise import NormalisationReport, NormaliseRules
from agency_node.sources.columnar import ColumnAssembler, IdentityColumns
from agency_node.sources.problems import ProblemLog
from agency_node.sources.rows import RawChunk
from agency_node.subjects import Identity, Subject, SubjectId


@dataclass(frozen=True, slots=True)
class EncodingJob:
    """How rows become encodings: the rules of their table, and the linkage's section and keys.

    ``most_identities`` is how many rows a linkage takes of one subject; the current identity comes first.
    """

    rule: SubjectRule
    rules: NormaliseRules
    today: date
    section: EncodingSection
    keys: EncodingKeys
    on_invalid: OnInvalid
    most_identities: int

    def __repr__(self) -> str:
        return f"EncodingJob(<{self.rule.subject_type}, keys hidden>)"


@dataclass(frozen=True, slots=True)
class EncodedChunk:
    """What became of one chunk; ``donors`` are its first subjects, as many as were asked for.

    ``refused`` are the handles of subjects that have no row because the schema refuses their values.
    """

    rows: tuple[EncodedRows, ...]
    encoding: EncodingReport
    normalisation: NormalisationReport
    problems: ProblemLog
    donors: tuple[Subject, ...] = ()
    refused: frozenset[bytes] = frozenset()

    def __repr__(self) -> str:
        return f"EncodedChunk(<{self.encoding.rows} rows>)"


class ChunkEncoder:
    """Normalises and encodes chunks of one job. Not thread-safe."""

    def __init__(self, job: EncodingJob) -> None:
        self._limit = min(job.most_identities, MAX_IDENTITIES)
        self._encoder = SubjectEncoder(job.section, job.keys, job.on_invalid)
        self._report = NormalisationReport()
        self._problems = ProblemLog()
        self._assembler = ColumnAssembler(job.rule, job.rules, self._report, self._problems, job.today)

    def encode(self, chunk: RawChunk, handles: Mapping[SubjectId, bytes], donors: int = 0) -> EncodedChunk:
        """Encode one chunk under the given handles; HandleError for a subject that has none."""
        columns = self._assembler.read(chunk)
        own = handle_bytes(handles, cast(Sequence[SubjectId], chunk.subjects))
        counts = EncodingReport(subjects=len(chunk))
        rows = self._rows(columns, own, counts)
        subjects = tuple(
            replace(subject, identities=subject.identities[: self._limit])
            for subject in self._assembler.subjects(chunk, columns, donors)
        )
        encoded = self._encoder.encode_rows(rows, counts)
        refused = _handles(own) - _handles(encoded.handles) if counts.dropped_rows else frozenset()
        return EncodedChunk((encoded,), counts, self._report.take(), self._problems.take(), subjects, refused)

    def _rows(
        self, columns: IdentityColumns, handles: NDArray[np.uint8], counts: EncodingReport
    ) -> IdentityRows:
        """The identities of a chunk as rows, as many of each subject as are taken."""
        numbers = np.zeros(len(handles), dtype=np.uint8)
        if not columns.further:
            return IdentityRows(handles, numbers, columns.fields)
        more: list[Identity] = []
        owners: list[int] = []
        more_numbers: list[int] = []
        for place, identities in columns.further.items():
            counts.surplus_identities += max(0, len(identities) - self._limit)
            for number, identity in enumerate(identities[1 : self._limit], start=1):
                more.append(identity)
                owners.append(place)
                more_numbers.append(number)
        # a subject's rows stand together, the current identity first
        order = np.argsort(np.concatenate([np.arange(len(handles)), owners]), kind="stable").tolist()
        names = dict.fromkeys([*columns.fields, *(name for identity in more for name in identity.fields)])
        missing = [""] * len(handles)
        values: dict[str, Sequence[str]] = {}
        for name in names:
            column = [*columns.fields.get(name, missing), *(i.fields.get(name, "") for i in more)]
            values[name] = [column[place] for place in order]
        return IdentityRows(
            np.concatenate([handles, handles[owners]])[order],
            np.concatenate([numbers, np.array(more_numbers, dtype=np.uint8)])[order],
            values,
        )


def _handles(rows: NDArray[np.uint8]) -> frozenset[bytes]:
    return frozenset(row.tobytes() for row in rows)
