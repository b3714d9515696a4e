"""A5, pattern mining: bits that go together in many codes are taken for the bits of a frequent q-gram.

The attacker has the encodings and knows how often q-grams are among such people (from any similar list). No
key, and nobody need be on the list.

Source: Christen, Vidanage, Ranbaduge, Schnell, 'Pattern-Mining Based Cryptanalysis of Bloom Filters for
Privacy-Preserving Record Linkage', PAKDD 2018. As there: in a partition of the codes the most frequent q-gram,
if clearly more frequent than the second, is assigned the largest set of bit columns that are set together in
at least (f1 + f2) / 2 of the codes; the partition is split by that set, and the list by that q-gram, and both
halves are searched on. The largest set is grown greedily from the pair that is set together most often. Then
the codes that have all bits of a set are taken to have its q-gram, and the list is ranked by agreement.
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
_SURE = 3.0  # standard errors between the two most frequent q-grams
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
    while heap and made < _MOST_PATTERNS and searched < 4 * _MOST_PATTERNS:
        part = heapq.heappop(heap)
        searched += 1
        frequency = np.asarray(grams.present[np.flatnonzero(part.listed)].mean(axis=0)).ravel()
        frequency[used_grams] = 0
        second, first = np.partition(frequency, -2)[-2:] if len(frequency) > 1 else (0.0, frequency[0])
        size = int(part.listed.sum())
        if first >= 1 or first - second < _SURE * np.sqrt(first * (1 - first) / size):
            continue
        columns = _together(bits[part.codes], float(first + second) / 2, used_columns)
        if len(columns) < _LEAST_BITS:
            continue
        gram = int(frequency.argmax())
        yield _Pattern(gram, columns)
        made += 1
        used_grams[gram] = True
        used_columns[columns] = True
        has = bits[:, columns].all(axis=1)
        holds = grams.present[:, [gram]].toarray().ravel() > 0
        for code_side, list_side in ((has, holds), (~has, ~holds)):
            codes, listed = part.codes & code_side, part.listed & list_side
            if min(codes.sum(), listed.sum()) >= _LEAST_ROWS:
                number = searched * 2 + int(code_side is has)
                heapq.heappush(heap, _Part(-int(codes.sum()), number, codes, listed))


def _together(bits: Bits, least: float, used: Mask) -> Ints:
    """The largest set of unused columns found that are set together in a share ``least`` of the rows."""
    frequency = bits.mean(axis=0)
    frequency[used] = 0
    candidates = np.flatnonzero(frequency >= least)
    candidates = candidates[np.argsort(-frequency[candidates], kind="stable")][:_MOST_COLUMNS]
    if len(candidates) < _LEAST_BITS:
        return np.empty(0, np.int64)
    part = bits[:, candidates].astype(np.float32)
    both = part.T @ part
    np.fill_diagonal(both, 0)
    one, other = divmod(int(both.argmax()), len(candidates))
    chosen = [one, other]
    current = part[:, one] * part[:, other]
    needed = least * len(bits)
    if current.sum() < needed:
        return np.empty(0, np.int64)
    while len(chosen) < len(candidates):
        counts = current @ part
        counts[chosen] = -1
        best = int(counts.argmax())
        if counts[best] < needed:
            break
        chosen.append(best)
        current = current * part[:, best]
    return np.sort(candidates[chosen])


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
