"""A5, pattern mining: bits that go together in many codes are taken for the bits of a frequent q-gram.

The attacker has the encodings and knows how often q-grams are among such people (from any similar list). No
key, and nobody need be on the list.

Source: Christen, Vidanage, Ranbaduge, Schnell, 'Pattern-Mining Based Cryptanalysis of Bloom Filters for
Privacy-Preserving Record Linkage', PAKDD 2018. As there: in a partition of the codes, the most frequent
q-gram whose frequency f stands clear of the next ones (f' above, f'' below) is assigned the largest set of
bit columns that are set together in a share of the codes between (f + f'') / 2 and (f + f') / 2; the
partition is split by that set, and the list by that q-gram, and both parts are searched on. Sets are grown
greedily from pairs that are set together more often than by chance. Then the codes that have all bits of a
set are taken to have its q-gram, and the list is ranked by agreement.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from crypto.canonical import JsonValue
from tallystick.privacy.encodings import Bits
from tallystick.privacy.grams import Grams
from tallystick.privacy.proportion import Proportion

Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]
MOST_TARGETS = 1_500
_MOST_PATTERNS = 60
_LEAST_ROWS = 100
_LEAST_BITS = 3
_MOST_COLUMNS = 400
_MOST_PARTS = 150
_MOST_FREQUENT = 0.97
_RANKS = 15
_LIFT = 1.15
_KEEPS = 0.9
_SURE = 0.8  # standard errors between q-grams of neighbouring rank
_RIGHT_BIT = 0.95
_RIGHT_SHARE = 0.6
_TOP = 10
_BLOCK = 250


@dataclass(frozen=True, slots=True)
class MiningResult:
    """``right``: of the bit sets mapped to a q-gram, how many are mostly bits that this q-gram sets;
    ``top1`` and ``top10``: how often the right person of the list agreed best with what was found."""

    right: Proportion
    top1: Proportion
    top10: Proportion

    def to_json(self) -> dict[str, JsonValue]:
        """As in the report."""
        return {"right": self.right.to_json(), "top1": self.top1.to_json(), "top10": self.top10.to_json()}


@dataclass(frozen=True, slots=True)
class _Pattern:
    gram: int
    columns: Ints


@dataclass(order=True, frozen=True, slots=True)
class _Part:
    """A partition of the codes and the corresponding one of the list; the largest comes first."""

    size: int
    number: int
    codes: Mask = field(compare=False)
    listed: Mask = field(compare=False)


def pattern_mining_attack(bits: Bits, grams: Grams, rng: np.random.Generator) -> MiningResult:
    """Attack ``bits`` (n, l); row i of ``grams`` is who row i of ``bits`` truly is, for scoring only."""
    patterns = list(_mine(bits, grams))
    right = sum(_is_right(bits, grams, pattern) for pattern in patterns)
    targets = rng.permutation(len(bits))[:MOST_TARGETS]
    top1, top10 = _rank(bits, grams, patterns, targets)
    return MiningResult(
        Proportion(right, len(patterns)), Proportion(top1, len(targets)), Proportion(top10, len(targets))
    )


def _mine(bits: Bits, grams: Grams) -> Iterator[_Pattern]:
    everybody = np.ones(len(bits), np.bool_)
    heap = [_Part(-len(bits), 0, everybody, everybody)]
    used_grams = np.zeros(grams.present.shape[1], np.bool_)
    used_columns = np.zeros(bits.shape[1], np.bool_)
    made = searched = 0
    while heap and made < _MOST_PATTERNS and searched < _MOST_PARTS:
        part = heapq.heappop(heap)
        searched += 1
        found = _most_frequent(bits, grams, part, used_grams, used_columns)
        if found is None:
            continue
        yield found
        made += 1
        used_grams[found.gram] = True
        used_columns[found.columns] = True
        has = bits[:, found.columns].all(axis=1)
        holds = grams.present[:, [found.gram]].toarray().ravel() > 0
        for side, (code_side, list_side) in enumerate(((has, holds), (~has, ~holds))):
            codes, listed = part.codes & code_side, part.listed & list_side
            if min(codes.sum(), listed.sum()) >= _LEAST_ROWS:
                heapq.heappush(heap, _Part(-int(codes.sum()), searched * 2 + side, codes, listed))


def _most_frequent(
    bits: Bits, grams: Grams, part: _Part, used_grams: Mask, used_columns: Mask
) -> _Pattern | None:
    """The most frequent q-gram of a partition that stands clear of its neighbours in frequency and for which
    a bit set of that frequency is found."""
    listed = np.flatnonzero(part.listed)
    frequency = np.asarray(grams.present[listed].mean(axis=0)).ravel()
    frequency[used_grams | (frequency > _MOST_FREQUENT)] = 0
    order = np.argsort(-frequency, kind="stable")[: _RANKS + 1]
    if len(order) < 2:
        return None
    ranked = frequency[order]
    clear = _SURE * np.sqrt(ranked * (1 - ranked) / len(listed))
    above = np.concatenate([[1.0], ranked[:-1]])
    sets = _bit_sets(bits[part.codes], used_columns, float(ranked[-1]))
    for rank in range(len(order) - 1):
        value, below = ranked[rank], ranked[rank + 1]
        if value * len(listed) < _LEAST_ROWS or min(value - below, above[rank] - value) < clear[rank]:
            continue
        for columns, share in sets:
            if (value + below) / 2 <= share <= (value + above[rank]) / 2:
                return _Pattern(int(order[rank]), columns)
    return None


def _bit_sets(bits: Bits, used: Mask, least: float) -> list[tuple[Ints, float]]:
    """Sets of unused columns that are set together almost as often as any two of them, the most frequent
    first, with the share of rows."""
    frequency = bits.mean(axis=0)
    frequency[used] = 0
    candidates = np.flatnonzero(frequency >= least)
    candidates = candidates[np.argsort(-frequency[candidates], kind="stable")][:_MOST_COLUMNS]
    if len(candidates) < _LEAST_BITS:
        return []
    part = bits[:, candidates].astype(np.float32)
    both = part.T @ part
    np.fill_diagonal(both, 0)
    expected = np.outer(frequency[candidates], frequency[candidates]) * len(bits)
    both[both < _LIFT * expected] = 0
    found = []
    for _ in range(_RANKS):
        one, other = divmod(int(both.argmax()), len(candidates))
        if both[one, other] < least * len(bits):
            break
        chosen, current = _grown(part, both, one, other)
        if len(chosen) >= _LEAST_BITS:
            found.append((np.sort(candidates[chosen]), float(current.mean())))
        both[chosen] = 0
        both[:, chosen] = 0
    return sorted(found, key=lambda item: -item[1])


def _grown(
    part: NDArray[np.float32], both: NDArray[np.float32], one: int, other: int
) -> tuple[list[int], NDArray[np.float32]]:
    """Columns added one by one, the one that keeps most rows first, while next to none are lost."""
    chosen = [one, other]
    current = part[:, one] * part[:, other]
    free = (both > 0).any(axis=1)
    while True:
        counts = np.where(free, current @ part, -1)
        counts[chosen] = -1
        best = int(counts.argmax())
        if counts[best] < _KEEPS * current.sum():
            return chosen, current
        chosen.append(best)
        current = current * part[:, best]


def _is_right(bits: Bits, grams: Grams, pattern: _Pattern) -> bool:
    """Whether most of the bits are set in (nearly) every code of a person who has the q-gram."""
    having = grams.present[:, [pattern.gram]].toarray().ravel() > 0
    share = bits[having][:, pattern.columns].mean(axis=0)
    return bool((share >= _RIGHT_BIT).mean() >= _RIGHT_SHARE)


def _rank(bits: Bits, grams: Grams, patterns: list[_Pattern], targets: Ints) -> tuple[int, int]:
    if not patterns:
        return 0, 0
    guess = np.stack([bits[targets][:, p.columns].all(axis=1) for p in patterns], axis=1) * 2.0 - 1
    _, first, place = np.unique(grams.profile, return_index=True, return_inverse=True)
    held = grams.dense(first, np.array([p.gram for p in patterns]))
    weight = 1 / np.sqrt(np.maximum(held.mean(axis=0) * (1 - held.mean(axis=0)), 1e-3))
    entries = (held * 2 - 1) * weight
    top1 = top10 = 0
    for start in range(0, len(targets), _BLOCK):
        fit = guess[start : start + _BLOCK] @ entries.T
        own = place[targets[start : start + _BLOCK]]
        rank = np.count_nonzero(fit >= np.take_along_axis(fit, own[:, None], axis=1) - 1e-9, axis=1)
        top1 += int(np.count_nonzero(rank <= 1))
        top10 += int(np.count_nonzero(rank <= _TOP))
    return top1, top10
