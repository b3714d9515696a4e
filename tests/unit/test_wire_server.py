"""The options of every server: gRPC passes over a name that it does not know, so the library is asked."""

from __future__ import annotations

import mmap
from importlib.util import find_spec
from pathlib import Path

from protos.wire.limits import LIMITS
from protos.wire.server import SERVER_OPTIONS


def test_every_option_is_one_that_the_installed_library_knows() -> None:
    library = find_spec("grpc._cython.cygrpc")
    assert library is not None and library.origin is not None
    with (
        Path(library.origin).open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as image,
    ):
        unknown = [name for name, _ in SERVER_OPTIONS if image.find(name.encode() + b"\0") < 0]
    assert unknown == []


def test_the_calls_of_one_connection_are_bounded() -> None:
    assert dict(SERVER_OPTIONS)["grpc.max_concurrent_streams"] == LIMITS.calls_per_connection
