"""From a Dice threshold to whole numbers.

The Dice score of encodings with popcounts a, b and overlap c is ``2 c / (a + b)``, and 0 where both are
empty. The scan compares integers only; this table makes its comparisons agree with the floating-point one
in every last bit.
"""

from functools import lru_cache

import numpy as np
import numpy.typing as npt


def dice_scores(
    overlap: npt.NDArray[np.int32], popcount_sum: npt.NDArray[np.int32]
) -> npt.NDArray[np.float64]:
    """``2 overlap / popcount_sum`` in double precision, 0 where both sides are empty."""
    scores = overlap.astype(np.float64) * 2.0
    np.divide(scores, popcount_sum, out=scores, where=popcount_sum > 0)
    return scores


@lru_cache(maxsize=64)
def needed_overlaps(bits: int, threshold: float) -> npt.NDArray[np.int32]:
    """The least overlap whose score reaches ``threshold``, by the sum of both popcounts.

    :return: ``2 * bits + 1`` values; more than the sum itself where no overlap reaches the threshold.
    :raises ValueError: the threshold is not a number.
    """
    if np.isnan(threshold):
        raise ValueError("the threshold is not a number")
    sums = np.arange(2 * bits + 1, dtype=np.int32)
    impossible = sums + 1
    # Start below the mathematical bound, then let the score's own rounding decide.
    near = np.floor(sums * min(max(threshold, -1.0), 3.0) / 2) - 1
    least: npt.NDArray[np.int32] = np.clip(near, 0, impossible).astype(np.int32)
    for _ in range(4):
        least += (dice_scores(least, sums) < threshold) & (least < impossible)
    least.flags.writeable = False  # shared by all callers
    return least


@lru_cache(maxsize=64)
def stricter_bounds(bits: int, threshold: float) -> npt.NDArray[np.int32]:
    """How many misses fewer a record may have, by how many set bits more it has (``bits + 1`` values).

    A query of a set bits may miss ``a - needed[a + b]`` of them in a record of b. With k more set bits that
    is ``needed[a + b + k] - needed[a + b]`` fewer: more than ``threshold * k / 2 - 1`` whatever a and b, for
    ``needed`` is ``threshold / 2`` times the sum, rounded up. The values never exceed that, nor 255.
    """
    more = np.arange(bits + 1)
    fewer = np.ceil(more * min(max(threshold, 0.0), 1.0) / 2 - 1 - 1e-6)
    result: npt.NDArray[np.int32] = np.clip(fewer, 0, 255).astype(np.int32)
    result.flags.writeable = False  # shared by all callers
    return result
