"""All candidate pairs of a linkage, streamed into columns.

anonlink's own merge holds every pair as a Python tuple; here pairs go from the kernel into numpy columns
block by block, rows fold to subjects on the way, and a limit ends a run whose threshold is too low before
memory does.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from threading import Event

from broker.matching.checkpoint import RunDirectory
from broker.matching.engine import Engine
from broker.matching.errors import RunCancelledError
from broker.matching.exact import ExactTokens
from broker.matching.model import Bytes2d, Candidates, Ints, MatchSpec
from broker.matching.scoring import by_projection
from broker.matching.sink import CandidateSink, PartyColumns
from broker.matching.subjects import SubjectTable
from broker.matching.tasks import BlockPairs, BlockRef, BlockTask, CancelFlag, Progress, plan

BLOCK_ROWS = 32_768
"""Rows of one block: 4 MB of encodings of 1,024 bits, and about a second of one core for a pair of blocks."""


def no_progress(_done: int, _total: int) -> None:
    """For callers who do not want to know."""


@dataclass(frozen=True, slots=True)
class RunControl:
    """How a long run reports, stops and resumes.

    :param progress: told of every finished task.
    :param cancel: set it from another thread to stop.
    :param directory: results of finished tasks are kept there; None keeps nothing.
    :param block_rows: rows of one block.
    """

    progress: Progress = no_progress
    cancel: CancelFlag = field(default_factory=Event)
    directory: RunDirectory | None = None
    block_rows: int = BLOCK_ROWS


class _Encodings:
    """Per projection and party, the encodings that are present and their rows' subjects."""

    def __init__(self, spec: MatchSpec, parties: Sequence[PartyColumns]) -> None:
        columns = [[party.encodings(projection.name) for party in parties] for projection in spec.projections]
        self.clks = [[clks for clks, _ in by_party] for by_party in columns]
        self.subjects = [[subjects for _, subjects in by_party] for by_party in columns]

    def block(self, ref: BlockRef) -> Bytes2d:
        return self.clks[ref.projection][ref.party][ref.start : ref.stop]

    def owners(self, ref: BlockRef, positions: Ints) -> Ints:
        return self.subjects[ref.projection][ref.party][positions + ref.start]

    def counts(self) -> list[list[int]]:
        return [[len(column) for column in by_party] for by_party in self.clks]


def find_candidates(
    spec: MatchSpec,
    subjects: SubjectTable,
    parties: Sequence[PartyColumns],
    tokens: ExactTokens,
    engine: Engine,
    control: RunControl,
) -> Candidates:
    """Every candidate pair between (and, with duplicates, within) parties.

    :param parties: in the order of ``subjects.agencies``.
    :param tokens: holds the tokens of the same rows.
    :raises PairLimitError: more pairs than the specification allows.
    :raises RunCancelledError: somebody set ``control.cancel``.
    """
    sink = CandidateSink(spec, subjects)
    for party, columns in enumerate(parties):
        for pairs, source in tokens.find(columns, range(party), sink.refuse):
            sink.add(pairs, source)
        if not spec.one_to_one:
            for pairs, source in tokens.find_own(party, columns, sink.refuse):
                sink.add(pairs, source)
    encodings = _Encodings(spec, parties)
    tasks = plan(
        encodings.counts(),
        [projection.threshold for projection in spec.projections],
        [projection.name for projection in spec.projections],
        within=not spec.one_to_one,
        block_rows=control.block_rows,
    )
    total = sum(task.comparisons for task in tasks)
    done = 0

    def take(task: BlockTask, found: BlockPairs) -> None:
        nonlocal done
        done += task.comparisons
        projection = task.left.projection
        a, b = encodings.owners(task.left, found.left), encodings.owners(task.right, found.right)
        sink.add(by_projection(spec, projection, a, b, found.dice), task.source, done / total)
        control.progress(done, total)

    missing: list[BlockTask] = []
    for task in tasks:
        kept = control.directory.load(task) if control.directory else None
        if kept is None:
            missing.append(task)
        else:
            take(task, kept)
    if control.cancel.is_set():
        raise RunCancelledError("the matching run was cancelled")
    for task, found in engine.compare(
        missing, encodings.block, limit=spec.max_candidate_pairs, cancel=control.cancel
    ):
        if control.directory:
            control.directory.save(task, found)
        take(task, found)
    return sink.result()
