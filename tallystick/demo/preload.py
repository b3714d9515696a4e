"""Loads and compiles what the demonstration's servers share; imported by the process that forks them.

The program imports most of this lazily, so that small commands start fast; servers need all of it. Compiled
code comes from numba's cache, or goes there the first time: once, and not in six processes at once.
"""

from __future__ import annotations

import gc
import secrets
from collections import deque
from importlib import import_module
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

import tallystick.cli  # noqa: F401 - first, for `protos` must be there before grpc is
from agency_node.encoding.keys import EncodingKeys
from agency_node.encoding.section import EncodingSection, default_section
from agency_node.encoding.subjects import EncodingReport, encode_subjects
from agency_node.subjects import Identity, Subject, SubjectId
from broker.matching.index import BitslicedIndex

_FILTER_BYTES = 128
#: The other process is as fast as this one, or something is wrong with it; then this one compiles all.
_PATIENCE_SECONDS = 30.0
_SERVERS = ("agency_node.cli", "agency_node.app", "broker.cli", "broker.app", "broker.matching.incremental")
_NOBODY = Identity(
    {
        "given_names": "TEST",
        "family_name": "PERSON",
        "date_of_birth": "2000-02-03",
        "birth_year": "2000",
        "birth_day_month": "02-03",
        "sex": "X",
        "house": "1",
        "street": "TEST STREET",
        "town": "TESTTOWN",
        "address": "1 TEST STREET",
        "postcode": "ZZ991AA",
    }
)


def _options() -> typer.Typer:
    """A command with a server's option; reading one makes Typer load what it puts off."""
    app = typer.Typer()
    app.command()(_nothing)
    return app


def _nothing(config: Annotated[Path, typer.Option()]) -> None:
    """Does nothing."""


def _load() -> None:
    for module in _SERVERS:
        import_module(module)
    typer.main.get_command(_options())(["--config", "x"], standalone_mode=False)
    # Numba compiles on one core at a time: a second process fills its cache with the other half meanwhile.
    other = get_context("fork").Process(target=_compare)
    other.start()
    _encode()
    other.join(_PATIENCE_SECONDS)
    other.kill()
    other.join()
    _compare()
    # What is loaded stays: nobody need look through it for garbage, six processes over.
    gc.collect()
    gc.freeze()


def _encode() -> None:
    """Compiles what encodes."""
    name = SubjectId("nobody")
    for subject_type in ("person", "place"):
        section = default_section(subject_type)
        keys = EncodingKeys.derive(secrets.token_bytes(32), "preload", 1, section)
        rows = encode_subjects(
            EncodingSection.from_json(section, ("place",)),
            [Subject(name, subject_type, (_NOBODY,))],
            keys,
            {name: secrets.token_bytes(16)},
            EncodingReport(),
        )
        deque(rows, maxlen=0)


def _compare() -> None:
    """Compiles what matches, or loads it from the cache."""
    filters = np.full((2, _FILTER_BYTES), 0x55, np.uint8)
    BitslicedIndex.build(filters).query(filters, 0.5)


_load()
