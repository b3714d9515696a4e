"""What happens to somebody who moved, changed name, or is recorded incompletely: a test on the agency's own
records, which needs no truth. Each sampled record is changed, encoded again, and compared with itself."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from agency_node.encoding import EncodingKeys, EncodingReport, EncodingSection, encode_subjects
from agency_node.subjects import Identity, Subject, SubjectId
from tallystick.pilot.files import FACTS, Handles, party_rows

Fields = dict[str, str]

MOST_RECORDS: Final = 1_000
_ADDRESS: Final = ("house", "street", "town", "address", "postcode")
_BIRTH: Final = ("date_of_birth", "birth_year", "birth_day_month")


@dataclass(frozen=True, slots=True)
class WhatIf:
    """Of ``records`` changed as ``change`` says, the part that still reaches the threshold."""

    change: str
    records: int
    found: float
    likeness: float


def what_if(
    sample: Sequence[Subject],
    section: EncodingSection,
    keys: EncodingKeys,
    threshold: float,
    rng: random.Random,
) -> list[WhatIf]:
    """The effect of each change, and of losing each field, on ``sample``."""
    chosen = [one.identities[0].fields for one in rng.sample(list(sample), min(MOST_RECORDS, len(sample)))]
    donors = rng.sample(chosen, len(chosen))
    changes: list[tuple[str, Callable[[Fields, Mapping[str, str]], Fields]]] = [
        ("moved to another address", lambda own, other: _replaced(own, other, _ADDRESS)),
        ("changed family name", lambda own, other: _replaced(own, other, ("family_name",))),
        (
            "moved and changed family name",
            lambda own, other: _replaced(own, other, ("family_name", *_ADDRESS)),
        ),
        ("date of birth not recorded", lambda own, _: _replaced(own, {}, _BIRTH)),
        ("address not recorded", lambda own, _: _replaced(own, {}, _ADDRESS)),
    ]
    for name in FACTS:
        if sum(name in fields for fields in chosen) > len(chosen) // 100:
            label = f"{name.replace('_', ' ')} is different"
            changes.append((label, lambda own, other, name=name: _replaced(own, other, (name,))))  # type: ignore[misc]  # the default binds the loop's name
    before = _clks(chosen, section, keys)
    results = []
    for label, change in changes:
        after = _clks(
            [change(dict(own), other) for own, other in zip(chosen, donors, strict=True)], section, keys
        )
        sizes = before.sum(axis=1) + after.sum(axis=1)
        dice = 2 * (before * after).sum(axis=1) / np.maximum(1, sizes)
        results.append(WhatIf(label, len(chosen), float(np.mean(dice >= threshold)), float(np.median(dice))))
    return results


def _replaced(own: Fields, other: Mapping[str, str], names: Sequence[str]) -> Fields:
    kept = {name: value for name, value in own.items() if name not in names}
    return kept | {name: other[name] for name in names if name in other}


def _clks(
    rows: Sequence[Mapping[str, str]], section: EncodingSection, keys: EncodingKeys
) -> NDArray[np.int32]:
    subjects = [Subject(SubjectId(str(at)), "person", (Identity(row),)) for at, row in enumerate(rows)]
    handles = Handles(random.Random(0))  # noqa: S311 - handles play no part here
    chunks = list(encode_subjects(section, subjects, keys, handles, EncodingReport(), on_invalid="blank"))
    clks = party_rows("what-if", section, chunks).clks[section.projections[0].name]
    bits: NDArray[np.int32] = np.unpackbits(clks, axis=1).astype(np.int32)
    return bits
