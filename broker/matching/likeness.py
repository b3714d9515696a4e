"""Like encodings beside each other: the order in which a scan is fast (:mod:`broker.matching.halving`)."""

import numpy as np
import numpy.typing as npt

from broker.matching.backend import kernel_available
from broker.matching.transpose import Packed, popcounts


def likeness_order(packed: Packed, smallest: int) -> npt.NDArray[np.int64]:
    """Row numbers of ``packed`` in an order that puts like encodings into one part of ``smallest`` rows.

    Without numba the order is by popcount.
    """
    if not kernel_available():
        return np.argsort(popcounts(packed), kind="stable")
    from broker.matching import halving  # compiling is slow to import and not always there

    size, length = packed.shape
    if length % 8:
        padded = np.zeros((size, length // 8 * 8 + 8), np.uint8)
        padded[:, :length] = packed
        packed = padded
    order = np.arange(size)
    halving.sort_by_likeness(packed.view(np.uint64), smallest, order)
    return order
