"""Whether the compiled kernel can be used."""

import importlib.util
import logging
from functools import cache

_logger = logging.getLogger(__name__)


@cache
def kernel_available() -> bool:
    """Whether numba is installed; says so, once, if it is not."""
    try:
        found = importlib.util.find_spec("numba") is not None
    except ValueError:  # a half-removed module has no spec
        found = False
    if not found:
        _logger.warning(
            "numba is not installed: matching runs on NumPy alone, with the same results, but far slower"
        )
    return found
