"""Encodings as the broker would hold them, as 0/1 matrices, and attackers' own encodings under other keys."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from agency_node.encoding import ClkEncoder, EncodingKeys, EncodingSection, Hardener, Hardening, Projection
from agency_node.encoding.hardening import PLAIN
from crypto.derive import frame, hkdf
from tallystick.privacy.people import Fields

Bits = NDArray[np.uint8]
"""(rows, bits), each 0 or 1."""


@dataclass(frozen=True, slots=True)
class Target:
    """What an attack is run against: one projection, or all of a row's projections side by side."""

    name: str
    projections: tuple[Projection, ...]

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields that it encodes, each once."""
        return tuple(dict.fromkeys(name for p in self.projections for name in p.hashed_fields))

    @property
    def kinds(self) -> tuple[str, ...]:
        """The hardenings in use, for people."""
        return tuple(dict.fromkeys(described(p.hardening) for p in self.projections))

    def plain(self) -> Target:
        """The same without hardening: what the attacks are known to succeed on."""
        plain = tuple(replace(p, hardening=Hardening(PLAIN)) for p in self.projections)
        return Target(self.name, plain)


def described(hardening: Hardening) -> str:
    """``plain/v1`` or ``sparse-diffusion/v1, 5 taps``."""
    return f"{hardening.kind}, {hardening.taps} taps" if hardening.taps else hardening.kind


def targets_of(section: EncodingSection) -> list[Target]:
    """Every projection, and their union where there are several: the broker sees them of the same row."""
    single = [Target(p.name, (p,)) for p in section.projections]
    return single if len(single) < 2 else [*single, Target("all projections together", section.projections)]


def made_up_keys(seed: int, holder: str) -> EncodingKeys:
    """Made-up keys of ``holder`` for a report: repeatable, and of no linkage."""
    key = hkdf(seed.to_bytes(16, "big"), frame("tallystick/privacy-report/v1", holder), 32)
    return EncodingKeys.derive(key, "privacy-report", 1, holder)


def encode(target: Target, rows: Sequence[Fields], keys: EncodingKeys) -> Bits:
    """The hardened codes of ``rows`` under ``keys``, unpacked, projections side by side.

    A value that the schema refuses is left out of its row, as nodes can be told to do.
    """
    parts = []
    for projection in target.projections:
        encoder = ClkEncoder(projection.schema, keys.clk(projection.name))
        columns = [[row.get(name, "") for row in rows] for name in projection.fields]
        clks = encoder.try_encode(columns, len(rows))
        if clks is None:
            for place, column, _ in encoder.invalid_entries(columns):
                columns[column][place] = ""
            clks = encoder.encode(list(zip(*columns, strict=True)))
        hardener = Hardener(projection.hardening, keys.harden(projection.name), encoder.bits)
        parts.append(np.unpackbits(hardener.apply(clks), axis=1, count=encoder.bits))
    return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)


def dice_matrix(left: Bits, right: Bits) -> NDArray[np.float32]:
    """Dice coefficients (left rows, right rows); 0 where both are empty."""
    a, b = left.astype(np.float32), right.astype(np.float32)
    dice = a @ b.T
    dice *= 2
    dice /= np.maximum(a.sum(axis=1)[:, None] + b.sum(axis=1)[None, :], 1)
    return dice
