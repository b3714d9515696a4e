"""How alike the encodings of one agency are among themselves: what betrays that one person is tried in many
variants.

A probe uploads somebody it wants to find under many spellings, as many subjects. An honest agency holds few
subjects that are nearly alike, and none that has dozens of them. Encodings that are *equal* give a probe
nothing new, and honest data has them (the same placeholder a thousand times), so that they do not count.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from broker.matching.model import PartyRows

#: Pairs of encodings compared in one examination: two or three seconds of one core.
PAIRS_COMPARED = 2_000_000_000
#: Close pairs taken in; an upload with more is suspect for that alone.
_CLOSE_PAIRS = 5_000_000
_QUERIES_AT_ONCE = 512


@dataclass(frozen=True, slots=True)
class Nearness:
    """Counts over the subjects of an upload.

    `crowded` is how many of those looked at (`checked`) have at least so many near neighbours as the limit
    says, `near` how many have any, `most` the most neighbours that one has.
    """

    checked: int
    near: int
    crowded: int
    most: int

    @property
    def figures(self) -> dict[str, int]:
        """For the audit log and for people."""
        return {
            "subjects_checked": self.checked,
            "subjects_with_near_ones": self.near,
            "subjects_crowded": self.crowded,
            "most_near_ones": self.most,
        }


def nearness(
    incoming: PartyRows,
    everything: PartyRows,
    closeness: Mapping[str, float],
    limit: int,
    rng: np.random.Generator,
    pairs_compared: int = PAIRS_COMPARED,
    *,
    former: PartyRows | None = None,
    changed: NDArray[np.bool_] | None = None,
) -> Nearness:
    """How crowded the subjects of `incoming` are among those of `everything`, which holds them too.

    A neighbour is another subject whose encoding, in any projection, differs and has at least the Dice
    coefficient that `closeness` gives for the projection. Large uploads are sampled: as many rows, drawn at
    random, as fit into `pairs_compared`.

    `former` is what the agency held until lately. Rows that are `changed` are compared with it too, and its
    subjects make crowded as if they were still there; that somebody is near their own former self is no
    wonder, and not counted in `near`.
    """
    now = _neighbours(
        incoming, _drawn(len(incoming), len(everything), pairs_compared, rng), everything, closeness
    )
    counts = np.array(list(now.values()), np.int64)
    if former is not None and changed is not None and len(former) and changed.any():
        part = changed & _drawn(int(changed.sum()), len(former), pairs_compared, rng, len(incoming))
        earlier = _neighbours(incoming, part, former, closeness)
        crowd = np.array([now.get(one, 0) + earlier.get(one, 0) for one in now | earlier], np.int64)
    else:
        crowd = counts
    return Nearness(
        len(counts), int((counts > 0).sum()), int((crowd >= limit).sum()), int(crowd.max(initial=0))
    )


def _drawn(
    asking: int, held: int, pairs_compared: int, rng: np.random.Generator, rows: int | None = None
) -> NDArray[np.bool_]:
    share = min(1.0, pairs_compared / max(1, asking * held))
    return rng.random(asking if rows is None else rows) < share


def _neighbours(
    incoming: PartyRows, drawn: NDArray[np.bool_], everything: PartyRows, closeness: Mapping[str, float]
) -> dict[bytes, int]:
    """How many neighbours the subjects of the drawn rows have, by handle."""
    rows_of, subjects = _numbered(everything.handles, incoming.handles[drawn])
    neighbours = dict.fromkeys(subjects, 0)
    for name, least in closeness.items():
        asking = drawn & incoming.present[name]
        held = everything.present[name]
        found = _close(
            incoming.clks[name][asking],
            incoming.handles[asking],
            everything.clks[name][held],
            rows_of[held],
            subjects,
            least,
        )
        for handle, count in found.items():
            neighbours[handle] = max(neighbours[handle], count)
    return neighbours


def _numbered(
    held: NDArray[np.uint8], asked: NDArray[np.uint8]
) -> tuple[NDArray[np.int64], dict[bytes, int]]:
    """The number of each held row's subject, and those of the subjects asked for, by handle."""
    from broker.matching.subjects import unique_handles

    numbers = unique_handles(np.concatenate([held, asked]))[1]
    of_asked = numbers[len(held) :].tolist()
    return numbers[: len(held)], {
        handle.tobytes(): number for handle, number in zip(asked, of_asked, strict=True)
    }


def _close(
    clks: NDArray[np.uint8],
    handles: NDArray[np.uint8],
    held: NDArray[np.uint8],
    owner: NDArray[np.int64],
    subjects: Mapping[bytes, int],
    least: float,
) -> dict[bytes, int]:
    """Neighbours by handle; only handles that have any."""
    from broker.matching.errors import PairLimitError
    from broker.matching.index import BitslicedIndex

    found: dict[bytes, int] = {}
    if not len(clks) or not len(held):
        return found
    index = BitslicedIndex.build(np.ascontiguousarray(held))
    try:
        for first in range(0, len(clks), _QUERIES_AT_ONCE):
            part = slice(first, first + _QUERIES_AT_ONCE)
            matches = index.query(np.ascontiguousarray(clks[part]), least, max_pairs=_CLOSE_PAIRS)
            differing = matches.score < 1.0
            queries, rows = matches.query_row[differing], matches.record_row[differing]
            starts = np.searchsorted(queries, np.arange(len(clks[part]) + 1))
            for query in np.unique(queries):
                handle = handles[first + query].tobytes()
                near = rows[starts[query] : starts[query + 1]]
                near = near[owner[near] != subjects[handle]]
                count = _variants(held[near], owner[near])
                if count:
                    found[handle] = max(found.get(handle, 0), count)
    except PairLimitError:
        # So many close pairs within one agency are no honest register: every subject asked for counts.
        found |= {handle.tobytes(): _CLOSE_PAIRS for handle in handles}
    return found


def _variants(clks: NDArray[np.uint8], owner: NDArray[np.int64]) -> int:
    """Other subjects, those with equal encodings counted once."""
    if len(clks) < 2:
        return len(clks)
    return min(len(np.unique(clks, axis=0)), len(np.unique(owner)))


def variants_seen(clks: NDArray[np.uint8], earlier: NDArray[np.uint8], least: float) -> NDArray[np.bool_]:
    """Which of some earlier encodings `(n, bytes)` are near any of `clks` `(m, bytes)`, by Dice."""
    near = np.zeros(len(earlier), np.bool_)
    sizes = np.bitwise_count(earlier).sum(axis=1, dtype=np.int64)
    for clk in clks:
        common = np.bitwise_count(earlier & clk).sum(axis=1, dtype=np.int64)
        total = sizes + int(np.bitwise_count(clk).sum())
        near |= 2 * common >= least * np.maximum(total, 1)
    return near
