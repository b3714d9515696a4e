"""What recipients must do with what they got, and what is watched."""

from collections.abc import Iterator

from policies.clauses import Safeguards
from policies.lint.findings import Code, Finding, error, warning
from policies.sharing import SharingPolicy

MAX_RETENTION_DAYS = 2190
MAX_OFFICERS_UNNOTICED = 10
MAX_SUBJECTS_UNNOTICED = 25


def duty_findings(policy: SharingPolicy) -> Iterator[Finding]:
    """Obligations and safeguards that are missing or too weak."""
    duties = policy.obligations
    if duties.retention_days == 0:
        yield error(Code.NO_RETENTION, "obligations", "no retention period is set")
    elif duties.retention_days > MAX_RETENTION_DAYS:
        yield warning(Code.LONG_RETENTION, "obligations", "what is received is kept for more than six years")
    if not duties.erasure_receipt:
        yield warning(Code.NO_ERASURE_RECEIPT, "obligations", "recipients need not show that they erased")
    if duties.onward_sharing:
        yield error(
            Code.ONWARD,
            "obligations",
            "recipients may pass on what they got: every node refuses to, and releases nothing under such a"
            " policy; make each agency that needs it a recipient, or leave the list empty",
        )
    yield from _alarms(policy.safeguards)
    if not policy.safeguards.case_reference_required:
        yield warning(Code.NO_CASE_REFERENCE, "safeguards", "requests need not be tied to a case")
    if policy.safeguards.review_sample_percent == 0:
        yield warning(
            Code.NO_REVIEW_SAMPLE, "safeguards", "nobody ever looks at automatic releases afterwards"
        )


def _alarms(limits: Safeguards) -> Iterator[Finding]:
    """Alarms that come too late to be of use."""
    alarms = limits.alarms
    if min(alarms.requests_per_hour, alarms.requests_per_day) >= limits.requests_per_officer_per_day:
        yield warning(
            Code.LATE_ALARM, "safeguards", "the alarm for many requests rings only beyond the day's limit"
        )
    if alarms.officers_per_subject > MAX_OFFICERS_UNNOTICED:
        yield warning(
            Code.SILENT_ALARM, "safeguards", "very many officers may ask about one person unnoticed"
        )
    if alarms.subjects_per_case > MAX_SUBJECTS_UNNOTICED:
        yield warning(
            Code.SILENT_ALARM, "safeguards", "very many people may be looked up under one case unnoticed"
        )
