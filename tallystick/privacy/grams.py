"""Plaintext as an attacker sees it: which q-grams a record has."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from tallystick.privacy.encodings import Target
from tallystick.privacy.people import Fields


@dataclass(frozen=True, slots=True)
class Cut:
    """How a field is cut into q-grams: ``size`` 0 is the whole value."""

    size: int
    positional: bool


@dataclass(frozen=True, slots=True)
class Grams:
    """Who has which q-gram.

    :param present: ``(records, q-grams)`` of 0 and 1, sparse.
    :param profile: ``(records,)`` equal numbers mean equal q-grams: people whom the list cannot tell apart.
    """

    present: csr_matrix = field(repr=False)
    profile: NDArray[np.int64] = field(repr=False)
    fields: tuple[str, ...]

    def dense(self, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> NDArray[np.float32]:
        """The given part as an ordinary matrix."""
        part: NDArray[np.float32] = self.present[rows][:, columns].toarray()
        return part


def cuts_of(target: Target) -> dict[str, Cut]:
    """The schema's own way of cutting each field: it is in the agreement, so an attacker may know it."""
    cuts: dict[str, Cut] = {}
    for projection in target.projections:
        for feature in projection.schema["features"]:
            hashing = feature.get("hashing")
            if hashing is None or feature["identifier"] in cuts:
                continue
            how = hashing["comparison"]
            ngram = how["type"] == "ngram"
            cuts[feature["identifier"]] = Cut(how["n"] if ngram else 0, bool(how.get("positional", False)))
    return cuts


def grams_of(rows: Sequence[Fields], cuts: Mapping[str, Cut], fields: Sequence[str]) -> Grams:
    """The q-grams of ``fields`` of every row."""
    vocabulary: dict[str, int] = {}
    profiles: dict[tuple[int, ...], int] = {}
    columns: list[int] = []
    ends = [0]
    profile = np.empty(len(rows), np.int64)
    for number, row in enumerate(rows):
        found = {
            vocabulary.setdefault(gram, len(vocabulary))
            for name in fields
            for gram in _grams(name, row.get(name, ""), cuts[name])
        }
        ordered = tuple(sorted(found))
        columns += ordered
        ends.append(len(columns))
        profile[number] = profiles.setdefault(ordered, len(profiles))
    shape = (len(rows), max(1, len(vocabulary)))
    present = csr_matrix((np.ones(len(columns), np.float32), columns, ends), shape=shape)
    return Grams(present, profile, tuple(fields))


def _grams(name: str, value: str, cut: Cut) -> Iterator[str]:
    if not value:
        return
    if not cut.size:
        yield f"{name}={value}"
        return
    padded = value if cut.size == 1 else f" {value} "
    for place in range(len(padded) - cut.size + 1):
        where = place if cut.positional else ""
        yield f"{name}{where}:{padded[place : place + cut.size]}"
