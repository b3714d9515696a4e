"""The demonstration's linkage agreements and sharing policy."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from importlib import resources
from typing import Literal

from agency_node.encoding.section import default_section
from crypto.canonical import sha256_hex
from policies.agreement import (
    Bands,
    Encoding,
    ExceptionKind,
    LinkageAgreement,
    Matching,
    MatchingMode,
    Participant,
    SignedException,
    SubjectType,
)
from policies.authoring import fill, load_policy
from policies.codec import decode_value, format_time
from policies.ids import AgencyId, FederationId, Line, LinkageId, Name, Prose, UnitDecimal
from policies.sharing import SharingPolicy

PEOPLE = LinkageId("people")
PLACES = LinkageId("places")

#: Dice thresholds for the default schemas, hardened: candidate, probable, strong.
BANDS = {
    "person": Bands(UnitDecimal("0.64"), UnitDecimal("0.68"), UnitDecimal("0.76")),
    "place": Bands(UnitDecimal("0.80"), UnitDecimal("0.86"), UnitDecimal("0.92")),
}


def agreement(
    linkage: LinkageId,
    subject_type: Literal["person", "place"],
    agencies: Sequence[AgencyId],
    population: int,
    federation: FederationId,
    now: datetime,
) -> LinkageAgreement:
    """A linkage agreement over the default schema of a subject type."""
    encoding = decode_value(Encoding, default_section(subject_type), "$.encoding")
    exceptions = [
        SignedException(
            ExceptionKind.MISSING_PRIVACY_REPORT,
            Prose("A demonstration over made-up people: there is nobody whose privacy could be lost."),
        )
    ]
    if subject_type == "place":
        exceptions.append(
            SignedException(
                ExceptionKind.NARROW_PROJECTION,
                Prose("An address has few fields; it identifies a house, not a person."),
                Name("place"),
            )
        )
    return LinkageAgreement(
        federation=federation,
        id=linkage,
        version=1,
        title=Line(f"Early help: {linkage} known to more than one agency"),
        purpose=Prose("To see repeated low-level harm across agencies before it becomes serious."),
        subject_type=SubjectType(subject_type),
        participants=tuple(Participant(agency, population) for agency in agencies),
        encoding=encoding,
        matching=Matching(
            MatchingMode.MANY,
            {projection.name: BANDS[projection.name] for projection in encoding.projections},
        ),
        epoch_days=90,
        not_before=_day(now) - timedelta(days=1),
        not_after=_day(now) + timedelta(days=364),
        exceptions=tuple(exceptions),
    )


def sharing_policy(federation: FederationId, now: datetime) -> SharingPolicy:
    """The policy in `policy.yaml`, in force from yesterday for a year."""
    text = (resources.files("tallystick.demo") / "policy.yaml").read_text("utf-8")
    day = _day(now)
    values = {
        "federation": str(federation),
        "not_before": format_time(day - timedelta(days=1)),
        "not_after": format_time(day + timedelta(days=364)),
        "review_by": format_time(day + timedelta(days=180)),
        "dpia_hash": sha256_hex(b"demonstration: an assessment would stand here"),
        "dpia_completed": (day - timedelta(days=30)).date().isoformat(),
    }
    return load_policy(fill(text, values), "policy.yaml")


def _day(now: datetime) -> datetime:
    return now.replace(hour=0, minute=0, second=0, microsecond=0)
