"""A linkage as the broker works with it: the agreement in force, and what follows from it."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, cast

from broker.rows import RowLayout
from policies.agreement import LinkageAgreement, MatchingMode, Projection
from policies.errors import DocumentError
from protos.wire.errors import ErrorCode, RefusedError

if TYPE_CHECKING:
    from broker.matching.model import MatchSpec


@dataclass(frozen=True, slots=True)
class Linkage:
    """An agreement whose quorum was verified. `hash` is its document hash."""

    agreement: LinkageAgreement
    hash: str
    layout: RowLayout = field(init=False)

    def __post_init__(self) -> None:
        encoding = self.agreement.encoding
        layout = RowLayout(
            tuple((str(item.name), clk_bytes(item)) for item in encoding.projections),
            tuple(str(item.name) for item in encoding.exact_tokens),
        )
        object.__setattr__(self, "layout", layout)

    @property
    def id(self) -> str:
        """The linkage's id, which versions of the agreement share."""
        return str(self.agreement.id)

    @property
    def agencies(self) -> tuple[str, ...]:
        """The participants."""
        return tuple(str(agency) for agency in self.agreement.agencies)

    def require_participant(self, agency: str) -> None:
        """Refuses an agency that does not take part."""
        if agency not in self.agencies:
            raise RefusedError(
                ErrorCode.NOT_A_PARTICIPANT, f"{agency} does not take part in linkage {self.id}"
            )

    def population(self, agency: str) -> int:
        """How many subjects the agency declared at most."""
        return self.agreement.declared_population(agency) or 0

    def match_spec(self, max_candidate_pairs: int) -> MatchSpec:
        """What the matching engine must know."""
        from broker.matching.model import MatchSpec, ProjectionSpec

        bands = self.agreement.matching.projections
        return MatchSpec(
            projections=tuple(
                ProjectionSpec(
                    name=str(item.name),
                    length_bits=8 * clk_bytes(item),
                    threshold=float(Decimal(bands[item.name].threshold)),
                    probable=float(Decimal(bands[item.name].probable)),
                    strong=float(Decimal(bands[item.name].strong)),
                )
                for item in self.agreement.encoding.projections
            ),
            exact_tokens=self.layout.exact_tokens,
            one_to_one=self.agreement.matching.mode is MatchingMode.ONE_TO_ONE,
            max_candidate_pairs=max_candidate_pairs,
        )


def clk_bytes(projection: Projection) -> int:
    """Length of a projection's CLK, from `clkConfig.l` of its clkhash schema.

    Raises:
        DocumentError: the schema gives no length that is a positive multiple of 8 bits.
    """
    config = projection.schema.thaw().get("clkConfig")
    length = cast("dict[str, object]", config).get("l") if isinstance(config, dict) else None
    if not isinstance(length, int) or isinstance(length, bool) or not 0 < length <= 65_536 or length % 8:
        raise DocumentError(
            f"$.encoding.projections ({projection.name}): clkConfig.l must be a multiple of 8 bits"
        )
    return length // 8
