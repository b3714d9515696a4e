"""Where no folder for compiled code can be written, the program compiles each time and works."""

from __future__ import annotations

import subprocess
import sys

import pytest

_RUN = """
from numba.core.caching import CacheImpl
CacheImpl._locator_classes = []
from {module} import {name}
print({name}(lambda number: number + 1)(6))
"""


@pytest.mark.parametrize(
    ("module", "name"), [("agency_node.encoding.kernels", "kernel"), ("broker.matching.jit", "compiled")]
)
def test_without_a_place_for_the_cache(module: str, name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _RUN.format(module=module, name=name)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert (done.returncode, done.stdout.strip()) == (0, "7"), done.stderr
