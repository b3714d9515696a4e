"""Loads and compiles what the demonstration's servers share; imported by the process that forks them.

The program imports most of this lazily, so that small commands start fast; servers need all of it. Compiled
code comes from numba's cache, or goes there the first time: once, and not in six processes at once.
"""

from __future__ import annotations

import secrets
from importlib import import_module
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

_SERVERS = ("agency_node.cli", "agency_node.app", "broker.cli", "broker.app")
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
        for chunk in rows:
            for clks in chunk.clks.values():
                BitslicedIndex.build(np.repeat(clks, 2, axis=0)).query(clks, 0.5)


_load()
