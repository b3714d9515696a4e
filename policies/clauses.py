"""The clauses of a sharing policy, its obligations, and its emergency section.

A release clause says exactly what it releases: every list is filled. A withhold clause may leave a list
empty, which means *any*. A clause of tier t speaks to requests of tier t and above. Conditions narrow a
clause.
"""

from dataclasses import dataclass

from policies.ids import AgencyId, FieldName, Line, Marker, Prose, RecordType
from policies.vocabulary import TIERS, Consent, Effect, OfficerRole, Purpose, Strength

PROTECTED_MARKERS = frozenset({Marker("safe_address"), Marker("refuge")})
"""A record or field that bears one of these is never released, whatever the clauses say."""
RECEIVED_MARKER = Marker("received")
"""A record that another agency disclosed bears this one. It is never released: nobody passes it on."""
BUILT_IN_MARKERS = PROTECTED_MARKERS | {RECEIVED_MARKER}
"""The markers that every policy knows. What bears one that a policy neither names nor knows is withheld."""
PROTECTED_FIELDS = frozenset(
    {FieldName("safe_address"), FieldName("refuge_address"), FieldName("refuge_name")}
)
"""Fields that no clause may name."""
LINK_RECORD = RecordType("link")
"""The record type of tier 0: that a link exists, and with whom."""
LINK_EXISTS = FieldName("exists")
LINK_AGENCY = FieldName("agency_name")


@dataclass(frozen=True, slots=True)
class Conditions:
    """Narrowing conditions; an absent one does not narrow.

    minimum_strength, max_record_age_days: only for release. The age in days must be known and at most the
    maximum.
    consent: the clause applies in these states of consent.
    markers, older_than_days: only for withholding. It applies when the record or field bears any of the
    markers; when the record is older than so many days *or its age is unknown*.
    """

    minimum_strength: Strength | None = None
    consent: tuple[Consent, ...] | None = None
    max_record_age_days: int | None = None
    older_than_days: int | None = None
    markers: tuple[Marker, ...] | None = None

    def __post_init__(self) -> None:
        for values in (self.consent, self.markers):
            if values is not None and (not values or len(set(values)) != len(values)):
                raise ValueError(
                    "a list in the conditions holds at least one value, each once; or leave it out"
                )


@dataclass(frozen=True, slots=True)
class Approvals:
    """How many officers other than the requester must approve, and how many of those from the provider."""

    count: int
    from_provider: int

    def __post_init__(self) -> None:
        if not 0 <= self.from_provider <= self.count <= 9:
            raise ValueError("approvals: 0 <= from_provider <= count <= 9")


NO_APPROVALS = Approvals(0, 0)


@dataclass(frozen=True, slots=True)
class Clause:
    """One numbered rule."""

    number: int
    effect: Effect
    plain_english: Prose
    tier: int
    record_types: tuple[RecordType, ...]
    fields: tuple[FieldName, ...]
    providers: tuple[AgencyId, ...] = ()
    recipients: tuple[AgencyId, ...] = ()
    officer_roles: tuple[OfficerRole, ...] = ()
    purposes: tuple[Purpose, ...] = ()
    conditions: Conditions = Conditions()
    approvals: Approvals = NO_APPROVALS
    push: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.number <= 9999:
            raise ValueError("a clause number is from 1 to 9999")
        if self.tier not in TIERS:
            raise ValueError("a tier is 0, 1, 2 or 3")
        for values in self.lists:
            if len(set(values)) != len(values):
                raise ValueError("a list of the clause says something twice")
        if self.effect is Effect.RELEASE:
            self._check_release()
        else:
            self._check_withhold()

    @property
    def lists(self) -> tuple[tuple[str, ...], ...]:
        """What the clause is about: record types, fields, providers, recipients, roles, purposes."""
        return (
            self.record_types,
            self.fields,
            self.providers,
            self.recipients,
            self.officer_roles,
            self.purposes,
        )

    def _check_release(self) -> None:
        if not all(self.lists):
            raise ValueError(
                "a release clause names its record types, fields, providers, recipients, roles and purposes"
            )
        if PROTECTED_FIELDS & set(self.fields):
            raise ValueError("a safe address can never be released: take the field out of the clause")
        if self.conditions.markers is not None or self.conditions.older_than_days is not None:
            raise ValueError("markers and older_than_days are conditions for withholding")
        if self.push and (self.tier > 1 or self.approvals != NO_APPROVALS):
            raise ValueError("only tiers 0 and 1 without approvals may be pushed")

    def _check_withhold(self) -> None:
        if self.approvals != NO_APPROVALS or self.push:
            raise ValueError("a withhold clause has no approvals and is not pushed")
        if self.conditions.minimum_strength is not None or self.conditions.max_record_age_days is not None:
            raise ValueError("minimum_strength and max_record_age_days are conditions for release")


@dataclass(frozen=True, slots=True)
class Obligations:
    """What a recipient must do with what it got.

    `onward_sharing` is there to say on the signed page that nobody may pass anything on: it is empty, and a
    policy that names somebody there releases nothing.
    """

    retention_days: int
    onward_sharing: tuple[AgencyId, ...]
    erasure_receipt: bool
    handling_marking: Line
    victim_contact_warning: Prose


@dataclass(frozen=True, slots=True)
class Alarms:
    """What is so unusual that a supervisor must look at it. An alarm stops nothing.

    requests_per_hour: more than so many by one officer within an hour.
    requests_per_day, times_usual: more than so many by one officer in a day (UTC), and more than so many
    times the daily mean of the officer's last four weeks.
    officers_per_subject: so many officers who ask about one subject within a week.
    subjects_per_case: so many subjects under one case reference of one officer within four weeks.
    """

    requests_per_hour: int
    requests_per_day: int
    times_usual: int
    officers_per_subject: int
    subjects_per_case: int

    def __post_init__(self) -> None:
        if not all((self.requests_per_hour, self.requests_per_day, self.times_usual)):
            raise ValueError("alarms: requests_per_hour, requests_per_day and times_usual are at least 1")
        if min(self.officers_per_subject, self.subjects_per_case) < 2:
            raise ValueError("alarms: officers_per_subject and subjects_per_case are at least 2")


USUAL_ALARMS = Alarms(
    requests_per_hour=5, requests_per_day=5, times_usual=3, officers_per_subject=4, subjects_per_case=8
)
"""What a draft gets that says nothing of alarms."""


@dataclass(frozen=True, slots=True)
class Safeguards:
    """Limits on asking, what raises an alarm, and the share of automatic releases that a supervisor looks at
    afterwards.
    """

    requests_per_officer_per_day: int
    requests_per_purpose_per_day: int
    case_reference_required: bool
    review_sample_percent: int
    alarms: Alarms = USUAL_ALARMS

    def __post_init__(self) -> None:
        if self.requests_per_officer_per_day < 1 or self.requests_per_purpose_per_day < 1:
            raise ValueError("a daily limit is at least 1")
        if self.review_sample_percent > 100:
            raise ValueError("review_sample_percent is from 0 to 100")


@dataclass(frozen=True, slots=True)
class Emergency:
    """Break-glass: these officers may do without a clause's approvals, up to `max_tier`, and are reviewed
    after.

    It waives approvals and nothing else: not a withhold clause, not a safe address, not a suspension.
    """

    officer_roles: tuple[OfficerRole, ...]
    max_tier: int
    review_hours: int
    reviewer_roles: tuple[OfficerRole, ...]
    reason_codes: tuple[Line, ...]

    def __post_init__(self) -> None:
        if not self.officer_roles or not self.reviewer_roles or not self.reason_codes:
            raise ValueError("an emergency section names officer roles, reviewer roles and reason codes")
        if self.max_tier not in TIERS:
            raise ValueError("a tier is 0, 1, 2 or 3")
        if not 1 <= self.review_hours <= 72:
            raise ValueError("a break-glass review is due in 1 to 72 hours")
