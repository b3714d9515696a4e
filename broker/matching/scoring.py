"""One scale and one order for pairs that different projections found.

The solver goes through candidates by falling score, so the scores of several projections must mean the
same. What they have in common are the ends: a projection's threshold is where a pair just becomes a
candidate, and 1 is equality. The score is therefore the Dice coefficient stretched linearly from
``[threshold, 1]`` of its projection to ``[threshold, 1]`` of the first one. With one projection (or equal
thresholds) it is the Dice coefficient itself, to the last bit, so that results equal anonlink's. An equal
exact token scores 1.

Bands come from each projection's own Dice coefficient, before stretching; a pair has the best band of any
of its rows and projections.
"""

import numpy as np
from numpy.typing import NDArray

from broker.matching.model import Band, Candidates, Codes, Ints, MatchSpec, Scores


def scaled(spec: MatchSpec, projection: int, dice: Scores) -> Scores:
    """Scores of pairs found by ``spec.projections[projection]`` with Dice coefficients ``dice``."""
    base, own = spec.projections[0].threshold, spec.projections[projection].threshold
    if own == base:
        return dice
    if own == 1.0:
        return np.ones_like(dice)
    return np.clip(base + (dice - own) * ((1.0 - base) / (1.0 - own)), base, 1.0)


def bands(spec: MatchSpec, projection: int, dice: Scores) -> Codes:
    """:class:`Band` values of pairs found by ``spec.projections[projection]``."""
    limits = spec.projections[projection]
    result: Codes = np.full(len(dice), Band.POSSIBLE, np.int8)
    result[dice >= limits.probable] = Band.PROBABLE
    result[dice >= limits.strong] = Band.STRONG
    return result


def by_projection(spec: MatchSpec, projection: int, a: Ints, b: Ints, dice: Scores) -> Candidates:
    """Candidates found by a projection, possibly with repeated pairs."""
    via = np.full(len(a), projection, np.int8)
    return Candidates(a, b, scaled(spec, projection, dice), bands(spec, projection, dice), via)


def by_token(spec: MatchSpec, token: int, a: Ints, b: Ints) -> Candidates:
    """Candidates found by an equal exact token: score 1, strong."""
    count = len(a)
    via = np.full(count, len(spec.projections) + token, np.int8)
    return Candidates(a, b, np.ones(count), np.full(count, Band.STRONG, np.int8), via)


def folded(pairs: Candidates) -> Candidates:
    """Each pair once: its highest score, what gave it (the lowest ``via`` of several), its best band.

    Pairs must be oriented already; the result is sorted by ``(a, b)`` and does not depend on the order given.
    """
    if not len(pairs):
        return pairs
    pairs, key = _by_pair(pairs)
    again = np.diff(key) == 0
    if not again.any():
        return pairs
    # Most pairs come once, even where some come again: only those need the slower sort.
    repeated: NDArray[np.bool_] = np.zeros(len(pairs), np.bool_)
    repeated[1:] |= again
    repeated[:-1] |= again
    return _by_pair(Candidates.concatenate([pairs.take(~repeated), _best(pairs.take(repeated))]))[0]


def _by_pair(pairs: Candidates) -> tuple[Candidates, Ints]:
    """Sorted by ``(a, b)``, and a number that rises with it (it fits: subjects are far fewer than 2**31)."""
    key = pairs.a * (int(pairs.b.max()) + 1) + pairs.b
    order = np.argsort(key)
    return pairs.take(order), key[order]


def _best(pairs: Candidates) -> Candidates:
    pairs = pairs.take(np.lexsort((pairs.via, -pairs.score, pairs.b, pairs.a)))
    starts = np.flatnonzero((np.diff(pairs.a, prepend=-1) != 0) | (np.diff(pairs.b, prepend=-1) != 0))
    best = np.maximum.reduceat(pairs.band, starts)
    return Candidates(pairs.a[starts], pairs.b[starts], pairs.score[starts], best, pairs.via[starts])
