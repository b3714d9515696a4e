"""A4, the key holder: what somebody can do who has both the linkage key and encodings.

Not an attack on the hardening but its limit, shown and never hidden: whoever can encode can encode a whole
list and look for the nearest code. The design's answer is that nobody has both: the broker has encodings and
no key, nodes have the key and nobody else's encodings.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from agency_node.encoding import EncodingKeys, EncodingSection, ExactToken
from agency_node.encoding.exact import exact_tokens
from crypto.canonical import JsonValue
from tallystick.population.slips import name_slip
from tallystick.privacy.encodings import Target, dice_matrix, encode
from tallystick.privacy.people import Fields
from tallystick.privacy.proportion import Proportion

_TARGETS = 1_000
_BLOCK = 250


@dataclass(frozen=True, slots=True)
class KeyHolderResult:
    """How often the nearest code of the list was the right person: ``same`` as the list has them,
    ``misspelt`` with a slip of the pen in a name or street."""

    listed: int
    same: Proportion
    misspelt: Proportion

    def to_json(self) -> dict[str, JsonValue]:
        """As in the report."""
        return {"listed": self.listed, "same": self.same.to_json(), "misspelt": self.misspelt.to_json()}


@dataclass(frozen=True, slots=True)
class TokenResult:
    """An exact token. ``having`` of the rows have it; ``shared`` of those have one that another row has too;
    ``most_common`` rows have the most frequent one."""

    name: str
    fields: tuple[str, ...]
    having: Proportion
    shared: Proportion
    most_common: int

    def to_json(self) -> dict[str, JsonValue]:
        """As in the report."""
        return {
            "name": self.name,
            "fields": list(self.fields),
            "having": self.having.to_json(),
            "shared": self.shared.to_json(),
            "most_common": self.most_common,
        }


def key_holder_attack(
    target: Target, rows: Sequence[Fields], keys: EncodingKeys, seed: int
) -> KeyHolderResult:
    """Encode the list with the true key and take the nearest code by Dice."""
    rng = random.Random(f"privacy slips {seed}")  # noqa: S311 - sampling, no secret
    listed = encode(target, rows, keys)
    chosen = rows[:_TARGETS]
    slipped = encode(target, [_misspelt(row, rng) for row in chosen], keys)
    same = misspelt = 0
    for start in range(0, len(chosen), _BLOCK):
        truth = np.arange(start, min(start + _BLOCK, len(chosen)))
        same += int((dice_matrix(listed[truth], listed).argmax(axis=1) == truth).sum())
        misspelt += int((dice_matrix(slipped[truth], listed).argmax(axis=1) == truth).sum())
    return KeyHolderResult(len(rows), Proportion(same, len(chosen)), Proportion(misspelt, len(chosen)))


def token_frequencies(
    section: EncodingSection, rows: Sequence[Fields], keys: EncodingKeys
) -> list[TokenResult]:
    """What the broker sees of the exact tokens without a key: which are equal, and how many."""
    return [_token_result(token, rows, keys) for token in section.exact_tokens]


def _token_result(token: ExactToken, rows: Sequence[Fields], keys: EncodingKeys) -> TokenResult:
    columns = [[row.get(name, "") for row in rows] for name in token.fields]
    tokens, present = exact_tokens(token, columns, keys)
    count = int(present.sum())
    if not count:
        none = Proportion(0, len(rows))
        return TokenResult(token.name, token.fields, none, Proportion(0, 0), 0)
    _, repeats = np.unique(tokens[present], axis=0, return_counts=True)
    return TokenResult(
        token.name,
        token.fields,
        Proportion(count, len(rows)),
        Proportion(int(repeats[repeats > 1].sum()), count),
        int(repeats.max()),
    )


def _misspelt(row: Fields, rng: random.Random) -> dict[str, str]:
    name = next((field for field in ("family_name", "street", "given_names") if row.get(field)), "")
    if not name:
        return dict(row)
    changed = {**row, name: name_slip(rng, row[name]).upper()}
    if name == "street":
        changed["address"] = f"{row.get('house', '')} {changed['street']}".strip()
    return changed
