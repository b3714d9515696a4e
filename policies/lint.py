"""What an information-governance officer would be embarrassed by later.

Errors should stop a policy from being signed, warnings should be read. A finding has a permanent code for
machines and a sentence for people. Nothing here is legal advice: it finds what is missing or contradictory,
not what is lawful.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from policies.clauses import LINK_AGENCY, LINK_EXISTS, LINK_RECORD, Clause, Safeguards
from policies.parties import LawfulBasis, Party
from policies.sharing import SharingPolicy
from policies.vocabulary import Article6, Article9, Effect, Regime

MAX_RETENTION_DAYS = 2190
MAX_OFFICERS_UNNOTICED = 10
MAX_SUBJECTS_UNNOTICED = 25
OLD_DPIA = timedelta(days=730)


class Severity(StrEnum):
    """How bad a finding is."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding; `where` is a party, a clause or a section."""

    severity: Severity
    code: str
    where: str
    message: str

    def __str__(self) -> str:
        return f"{self.severity.value} {self.code} ({self.where}): {self.message}"


def lint(policy: SharingPolicy, now: datetime) -> tuple[Finding, ...]:
    """Every finding about `policy` at `now`, errors first."""
    found = [
        *_governance(policy, now),
        *_times(policy, now),
        *(finding for party in policy.parties for finding in _party(policy, party)),
        *_clauses(policy),
        *_duties(policy),
    ]
    return tuple(sorted(found, key=lambda item: item.severity is not Severity.ERROR))


def _error(code: str, where: str, message: str) -> Finding:
    return Finding(Severity.ERROR, code, where, message)


def _warning(code: str, where: str, message: str) -> Finding:
    return Finding(Severity.WARNING, code, where, message)


def _governance(policy: SharingPolicy, now: datetime) -> Iterator[Finding]:
    dpia = policy.governance.dpia
    if dpia is None:
        yield _error("no-dpia", "governance", "no data protection impact assessment is named")
    elif dpia.completed > now.date():
        yield _error("dpia-in-future", "governance", "the impact assessment is dated in the future")
    elif now.date() - dpia.completed > OLD_DPIA:
        yield _warning("dpia-old", "governance", "the impact assessment is more than two years old")
    advised = {advice.agency for advice in policy.governance.dpo_advice}
    for party in policy.parties:
        if party.agency not in advised:
            yield _warning("no-dpo-advice", party.agency, "the advice of this party's DPO is not attached")


def _times(policy: SharingPolicy, now: datetime) -> Iterator[Finding]:
    if now >= policy.not_after:
        yield _error("expired", "header", "not_after has passed")
    elif now >= policy.review_by:
        yield _error("review-overdue", "header", "the review date has passed")
    if policy.review_by == policy.not_after:
        yield _warning(
            "no-review", "header", "the review falls on the last day: there is no review in its life"
        )


def _party(policy: SharingPolicy, party: Party) -> Iterator[Finding]:
    basis, where = party.lawful_basis, str(party.agency)
    if not basis.gateways:
        yield _error("no-power", where, "no statutory power or other gateway is named")
    yield from (
        _part3(policy, basis, where) if party.regime is Regime.PART3 else _uk_gdpr(policy, basis, where)
    )


def _uk_gdpr(policy: SharingPolicy, basis: LawfulBasis, where: str) -> Iterator[Finding]:
    if basis.part3 is not None or basis.schedule8_paragraph is not None:
        yield _error("mixed-regimes", where, "a party under the UK GDPR names Part 3 provisions")
    if basis.article6 is None:
        yield _error("no-lawful-basis", where, "no Article 6 basis is named")
    if basis.article6 is Article6.CONSENT:
        yield _warning(
            "consent", where, "consent is rarely free where a public authority and a risk are involved"
        )
    governance = policy.governance
    if governance.special_category_data and basis.article9 is None:
        yield _error("no-article-9", where, "special-category data is shared without an Article 9 condition")
    needs_schedule = basis.article9 in (Article9.SUBSTANTIAL_PUBLIC_INTEREST, Article9.SOCIAL_PROTECTION)
    if needs_schedule and basis.schedule1_paragraph is None:
        yield _error("no-schedule-1", where, f"the condition {basis.article9} needs a Schedule 1 paragraph")
    if governance.criminal_offence_data and not (basis.article10 or basis.schedule1_paragraph):
        yield _error("no-article-10", where, "criminal-offence data is shared without a condition for it")


def _part3(policy: SharingPolicy, basis: LawfulBasis, where: str) -> Iterator[Finding]:
    if basis.article6 is not None or basis.article9 is not None or basis.schedule1_paragraph is not None:
        yield _error("mixed-regimes", where, "a party under Part 3 names UK GDPR articles or Schedule 1")
    if basis.part3 is None:
        yield _error("no-lawful-basis", where, "no s.35(2) basis is named")
    if policy.governance.special_category_data and basis.schedule8_paragraph is None:
        yield _error("no-schedule-8", where, "sensitive processing is named without a Schedule 8 condition")


def _clauses(policy: SharingPolicy) -> Iterator[Finding]:
    for clause in policy.clauses:
        where = f"clause {clause.number}"
        yield from _gate(clause, where)
        if not _reachable(policy, clause):
            yield _error("unreachable", where, "its only provider and its only recipient are the same agency")
        if any(shadows(other, clause) for other in policy.withholds if other is not clause):
            yield _error("shadowed", where, "another clause withholds everything that this one is about")
        if clause in policy.withholds and not any(overlaps(clause, item) for item in policy.releases):
            yield _warning("withholds-nothing", where, "no clause releases anything that this one withholds")
        if {LINK_EXISTS, LINK_AGENCY} & set(clause.fields) and LINK_RECORD not in clause.record_types:
            yield _warning(
                "link-fields", where, f"link fields are released only with the record type {LINK_RECORD}"
            )
    if not any(LINK_EXISTS in item.fields and LINK_RECORD in item.record_types for item in policy.releases):
        yield _warning("no-tier-0", "clauses", "nobody is ever told that a link exists, so nobody can ask")
    used = {purpose for clause in policy.releases for purpose in clause.purposes}
    for purpose in policy.purposes:
        if purpose not in used:
            yield _warning("unused-purpose", "header", f"no clause releases anything for {purpose.value}")
    yield from _silent_parties(policy)


def _gate(clause: Clause, where: str) -> Iterator[Finding]:
    if clause.effect is not Effect.RELEASE:
        return
    if clause.tier >= 2 and clause.approvals.count < 1:
        yield _error("no-approval", where, "a summary is released without anybody's approval")
    if clause.tier == 3 and (clause.approvals.count < 2 or clause.approvals.from_provider < 1):
        yield _error(
            "no-four-eyes", where, "a full record needs two approvals, one of them from the provider"
        )
    if clause.tier >= 2 and clause.conditions.minimum_strength is None:
        yield _warning("any-strength", where, "records are released on a merely possible link")


def _silent_parties(policy: SharingPolicy) -> Iterator[Finding]:
    for agency in policy.providers:
        if not any(agency in clause.providers for clause in policy.releases):
            yield _warning("silent-provider", agency, "no clause releases anything of this provider")
    for agency in policy.recipients:
        if not any(agency in clause.recipients for clause in policy.releases):
            yield _warning("silent-recipient", agency, "no clause releases anything to this recipient")


def _duties(policy: SharingPolicy) -> Iterator[Finding]:
    duties = policy.obligations
    if duties.retention_days == 0:
        yield _error("no-retention", "obligations", "no retention period is set")
    elif duties.retention_days > MAX_RETENTION_DAYS:
        yield _warning("long-retention", "obligations", "what is received is kept for more than six years")
    if not duties.erasure_receipt:
        yield _warning("no-erasure-receipt", "obligations", "recipients need not show that they erased")
    if duties.onward_sharing:
        yield _error(
            "onward",
            "obligations",
            "recipients may pass on what they got: every node refuses to, and releases nothing under such a"
            " policy; make each agency that needs it a recipient, or leave the list empty",
        )
    yield from _alarms(policy.safeguards)
    if not policy.safeguards.case_reference_required:
        yield _warning("no-case-reference", "safeguards", "requests need not be tied to a case")
    if policy.safeguards.review_sample_percent == 0:
        yield _warning("no-review-sample", "safeguards", "nobody ever looks at automatic releases afterwards")


def _alarms(limits: Safeguards) -> Iterator[Finding]:
    """Alarms that come too late to be of use."""
    alarms = limits.alarms
    if min(alarms.requests_per_hour, alarms.requests_per_day) >= limits.requests_per_officer_per_day:
        yield _warning(
            "late-alarm",
            "safeguards",
            "the alarm for many requests rings only beyond the day's limit",
        )
    if alarms.officers_per_subject > MAX_OFFICERS_UNNOTICED:
        yield _warning("silent-alarm", "safeguards", "very many officers may ask about one person unnoticed")
    if alarms.subjects_per_case > MAX_SUBJECTS_UNNOTICED:
        yield _warning(
            "silent-alarm", "safeguards", "very many people may be looked up under one case unnoticed"
        )


def _reachable(policy: SharingPolicy, clause: Clause) -> bool:
    providers = clause.providers or policy.providers
    recipients = clause.recipients or policy.recipients
    return any(provider != recipient for provider in providers for recipient in recipients)


def shadows(withhold: Clause, clause: Clause) -> bool:
    """Whether `withhold`, without conditions, covers everything that `clause` is about."""
    if withhold.conditions != type(withhold.conditions)() or withhold.tier > clause.tier:
        return False
    return all(
        not wide or (bool(narrow) and set(narrow) <= set(wide))
        for wide, narrow in zip(withhold.lists, clause.lists, strict=True)
    )


def overlaps(one: Clause, other: Clause) -> bool:
    """Whether the two could speak to the same field, conditions apart."""
    return all(not a or not b or bool(set(a) & set(b)) for a, b in zip(one.lists, other.lists, strict=True))
