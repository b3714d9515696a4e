"""docs/SPEC.md lists exactly the words that the code knows: a second verifier has nothing else."""

from __future__ import annotations

import inspect
import re
from dataclasses import fields
from enum import Enum
from pathlib import Path

import pytest

from crypto.audit import AuditAction
from policies import disclosure, vocabulary
from policies.annexb import AnnexB

SPEC = (Path(__file__).resolve().parents[2] / "docs" / "SPEC.md").read_text("utf-8")
LISTED = dict(re.findall(r"^\| ([a-z0-9 ]+) \| ((?:`[^`]+` ?)+) \|$", SPEC, re.MULTILINE))
KNOWN = [
    item
    for module in (vocabulary, disclosure)
    for item in vars(module).values()
    if inspect.isclass(item) and issubclass(item, Enum) and item.__module__ == module.__name__
]


@pytest.mark.parametrize("kind", KNOWN, ids=lambda kind: kind.__name__)
def test_each_vocabulary_is_listed(kind: type[Enum]) -> None:
    name = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", kind.__name__).lower()
    assert re.findall(r"`([^`]+)`", LISTED[name]) == [str(item.value) for item in kind]


def test_the_actions_of_the_log_are_listed() -> None:
    listed = SPEC.partition("Actions, a closed list:")[2].strip().partition("\n\n")[0]
    assert set(re.findall(r"`([^`]+)`", listed)) == {item.value for item in AuditAction}


def test_the_members_of_annex_b_are_listed() -> None:
    listed = SPEC.partition("`annex_b` is the ICO's form:")[2].partition("}")[0]
    assert all(re.search(rf"\b{item.name}\b", listed) for item in fields(AnnexB))
