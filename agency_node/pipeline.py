"""Raw rows to hardened encodings, one chunk at a time: what every core of a node can do on its own.

A chunk needs nothing but the job and its own rows, so :mod:`agency_node.workers` may run it in another
process. Results hold encodings, counts and positions, and the few subjects that were asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date

from agency_node.encoding import EncodedRows, EncodingKeys, EncodingReport, EncodingSection
from agency_node.encoding.subjects import OnInvalid, SubjectEncoder
from agency_node.mapping import SubjectRule
from agency_node.normalise import NormalisationReport, NormaliseRules
from agency_node.sources.assemble import Assembler
from agency_node.sources.problems import ProblemLog
from agency_node.sources.rows import RawChunk
from agency_node.subjects import Subject, SubjectId


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
    """What became of one chunk; ``donors`` are its first subjects, as many as were asked for."""

    rows: tuple[EncodedRows, ...]
    encoding: EncodingReport
    normalisation: NormalisationReport
    problems: ProblemLog
    donors: tuple[Subject, ...] = ()

    def __repr__(self) -> str:
        return f"EncodedChunk(<{self.encoding.rows} rows>)"


class ChunkEncoder:
    """Normalises and encodes chunks of one job. Not thread-safe."""

    def __init__(self, job: EncodingJob) -> None:
        self._job = job
        self._encoder = SubjectEncoder(job.section, job.keys, job.on_invalid)
        self._report = NormalisationReport()
        self._problems = ProblemLog()
        self._assembler = Assembler(job.rules, self._report, self._problems, job.today)

    def encode(self, chunk: RawChunk, handles: Mapping[SubjectId, bytes], donors: int = 0) -> EncodedChunk:
        """Encode one chunk under the given handles; HandleError for a subject that has none."""
        limit = self._job.most_identities
        subjects = self._assembler.subjects(self._job.rule, chunk)
        surplus = sum(max(0, len(subject.identities) - limit) for subject in subjects)
        if surplus:
            subjects = [
                replace(subject, identities=subject.identities[:limit])
                if len(subject.identities) > limit
                else subject
                for subject in subjects
            ]
        counts = EncodingReport(surplus_identities=surplus)
        rows = tuple(self._encoder.encode(subjects, handles, counts))
        return EncodedChunk(
            rows, counts, self._report.take(), self._problems.take(), tuple(subjects[:donors])
        )
