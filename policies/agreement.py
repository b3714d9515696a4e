"""The linkage agreement: how a named matching project encodes and matches, signed by every participant.

`schema_hash` covers the `encoding` section only: what makes two encodings comparable. Population figures are
what each participant declared; the broker's upload quotas follow from them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import ClassVar, cast

from crypto.canonical import JsonValue, canonical_json, sha256_hex
from policies.codec import FrozenJson, encode_value
from policies.ids import AgencyId, FederationId, FieldName, Hash256, Line, LinkageId, Name, Prose, UnitDecimal


class SubjectType(StrEnum):
    """What is linked."""

    PERSON = "person"
    PLACE = "place"


class HardeningKind(StrEnum):
    """What is done to a CLK after clkhash."""

    PLAIN = "plain/v1"
    SPARSE_DIFFUSION = "sparse-diffusion/v1"


class MatchingMode(StrEnum):
    """Whether a subject may be linked to more than one subject of the same agency."""

    ONE_TO_ONE = "one-to-one"
    MANY = "many"


class ExceptionKind(StrEnum):
    """Privacy-weakening choices that an officer's signature must cover by name."""

    NARROW_PROJECTION = "narrow-projection"
    PLAIN_ENCODING = "plain-encoding"
    MISSING_PRIVACY_REPORT = "missing-privacy-report"


@dataclass(frozen=True, slots=True)
class Hardening:
    """`taps` is the number of input bits XORed into each output bit; only diffusion has it."""

    kind: HardeningKind
    taps: int | None = None

    def __post_init__(self) -> None:
        if self.kind is HardeningKind.PLAIN and self.taps is not None:
            raise ValueError("plain encodings have no taps")
        if self.kind is HardeningKind.SPARSE_DIFFUSION and (self.taps is None or not 2 <= self.taps <= 31):
            raise ValueError(
                "sparse diffusion needs 2 to 31 taps: with one, bits are only put in another order"
            )


@dataclass(frozen=True, slots=True)
class Projection:
    """One CLK of a row: its clkhash v3 schema, carried as it is, and its hardening."""

    name: Name
    schema: FrozenJson
    hardening: Hardening


@dataclass(frozen=True, slots=True)
class ExactToken:
    """A keyed token over the listed linkage fields, all of which must be present."""

    name: Name
    fields: tuple[FieldName, ...]

    def __post_init__(self) -> None:
        if not self.fields or len(set(self.fields)) != len(self.fields):
            raise ValueError("an exact token covers at least one field, each listed once")


@dataclass(frozen=True, slots=True)
class Encoding:
    """The section that both sides must share to the byte."""

    projections: tuple[Projection, ...]
    exact_tokens: tuple[ExactToken, ...]
    minimum_fields: int

    def __post_init__(self) -> None:
        if not self.projections and not self.exact_tokens:
            raise ValueError("an encoding has at least one projection or exact token")
        names = [item.name for item in self.projections] + [item.name for item in self.exact_tokens]
        if len(set(names)) != len(names):
            raise ValueError("two projections or exact tokens have the same name")
        if self.minimum_fields < 1:
            raise ValueError("minimum_fields is at least 1")


@dataclass(frozen=True, slots=True)
class Bands:
    """Dice thresholds: a pair is a candidate from `threshold`, probable and strong from theirs."""

    threshold: UnitDecimal
    probable: UnitDecimal
    strong: UnitDecimal

    def __post_init__(self) -> None:
        if not 0 < Decimal(self.threshold) <= Decimal(self.probable) <= Decimal(self.strong) <= 1:
            raise ValueError("bands must rise: 0 < threshold <= probable <= strong <= 1")


@dataclass(frozen=True, slots=True)
class Matching:
    """How candidates become links."""

    mode: MatchingMode
    projections: Mapping[Name, Bands]


@dataclass(frozen=True, slots=True)
class Participant:
    """An agency, and how many subjects it says it will bring at most."""

    agency: AgencyId
    declared_population: int

    def __post_init__(self) -> None:
        if self.declared_population < 1:
            raise ValueError("a participant declares at least one subject")


@dataclass(frozen=True, slots=True)
class SignedException:
    """A privacy-weakening choice, with its reason; the signatures on the agreement cover it."""

    kind: ExceptionKind
    reason: Prose
    projection: Name | None = None


@dataclass(frozen=True, slots=True)
class LinkageAgreement:
    """`linkage-agreement/v1`."""

    KIND: ClassVar[str] = "linkage-agreement/v1"
    READ_OFTEN: ClassVar[bool] = True

    federation: FederationId
    id: LinkageId
    version: int
    title: Line
    purpose: Prose
    subject_type: SubjectType
    participants: tuple[Participant, ...]
    encoding: Encoding
    matching: Matching
    epoch_days: int
    not_before: datetime
    not_after: datetime
    exceptions: tuple[SignedException, ...]
    supersedes: Hash256 | None = None
    privacy_report_hash: Hash256 | None = None

    def __post_init__(self) -> None:
        if self.version < 1:
            raise ValueError("an agreement's version starts at 1")
        if self.not_before >= self.not_after:
            raise ValueError("not_before must be before not_after")
        if not 1 <= self.epoch_days <= 366:
            raise ValueError("epoch_days is from 1 to 366")
        if len(self.participants) < 2 or len(set(self.agencies)) != len(self.participants):
            raise ValueError("an agreement has at least two participants, each listed once")
        if set(self.matching.projections) != {item.name for item in self.encoding.projections}:
            raise ValueError("matching must give bands for exactly the projections of the encoding")
        self._check_exceptions()

    def _check_exceptions(self) -> None:
        granted = {(item.kind, item.projection) for item in self.exceptions}
        for projection in self.encoding.projections:
            plain = projection.hardening.kind is HardeningKind.PLAIN
            if plain and (ExceptionKind.PLAIN_ENCODING, projection.name) not in granted:
                raise ValueError(
                    f"projection {projection.name} is plain: that needs a plain-encoding exception"
                )

    @property
    def agencies(self) -> tuple[AgencyId, ...]:
        """The participants' ids, in the agreement's order."""
        return tuple(item.agency for item in self.participants)

    def encoding_json(self) -> dict[str, JsonValue]:
        """The `encoding` section as plain JSON: what the encoder takes."""
        return cast(dict[str, JsonValue], encode_value(self.encoding))

    @property
    def schema_hash(self) -> str:
        """SHA-256 (hex) of the canonical encoding section."""
        return sha256_hex(canonical_json(self.encoding_json()))

    def declared_population(self, agency: str) -> int | None:
        """What the agency declared, or None if it does not take part."""
        return next((item.declared_population for item in self.participants if item.agency == agency), None)

    def in_force(self, now: datetime) -> bool:
        """Whether `now` is within the agreement's time."""
        return self.not_before <= now < self.not_after

    def epoch_at(self, now: datetime) -> int:
        """The scheduled epoch number at `now`, from 1 at `not_before`; ValueError before it."""
        if now < self.not_before:
            raise ValueError("the agreement has not begun")
        return (now - self.not_before) // timedelta(days=self.epoch_days) + 1
