"""What lint can find, and how it says so."""

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """How bad a finding is."""

    ERROR = "error"
    WARNING = "warning"


class Code(StrEnum):
    """What is wrong, for machines. A code is permanent: it is never given another meaning."""

    NO_DPIA = "no-dpia"
    DPIA_IN_FUTURE = "dpia-in-future"
    DPIA_OLD = "dpia-old"
    NO_DPO_ADVICE = "no-dpo-advice"
    EXPIRED = "expired"
    REVIEW_OVERDUE = "review-overdue"
    NO_REVIEW = "no-review"
    NO_POWER = "no-power"
    MIXED_REGIMES = "mixed-regimes"
    NO_LAWFUL_BASIS = "no-lawful-basis"
    CONSENT = "consent"
    HEALTH_NOT_SPECIAL = "health-not-special"
    NO_ARTICLE_9 = "no-article-9"
    NO_SCHEDULE_1 = "no-schedule-1"
    NO_ARTICLE_10 = "no-article-10"
    NO_SCHEDULE_8 = "no-schedule-8"
    UNREACHABLE = "unreachable"
    SHADOWED = "shadowed"
    ONLY_TODAY = "only-today"
    PART_UNREACHABLE = "part-unreachable"
    REDUNDANT = "redundant"
    WITHHOLDS_NOTHING = "withholds-nothing"
    FEWER_APPROVALS = "fewer-approvals"
    LINK_FIELDS = "link-fields"
    UNKNOWN_AT_TIER_0 = "unknown-at-tier-0"
    RECORD_AT_TIER_0 = "record-at-tier-0"
    NO_APPROVAL = "no-approval"
    NO_FOUR_EYES = "no-four-eyes"
    ANY_STRENGTH = "any-strength"
    NO_TIER_0 = "no-tier-0"
    UNUSED_PURPOSE = "unused-purpose"
    SILENT_PROVIDER = "silent-provider"
    SILENT_RECIPIENT = "silent-recipient"
    NO_RETENTION = "no-retention"
    LONG_RETENTION = "long-retention"
    NO_ERASURE_RECEIPT = "no-erasure-receipt"
    ONWARD = "onward"
    LATE_ALARM = "late-alarm"
    SILENT_ALARM = "silent-alarm"
    NO_CASE_REFERENCE = "no-case-reference"
    NO_REVIEW_SAMPLE = "no-review-sample"


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding; `where` is a party, a clause or a section."""

    severity: Severity
    code: Code
    where: str
    message: str

    def __str__(self) -> str:
        return f"{self.severity.value} {self.code.value} ({self.where}): {self.message}"


def error(code: Code, where: str, message: str) -> Finding:
    """A finding that must be mended before anybody signs."""
    return Finding(Severity.ERROR, code, where, message)


def warning(code: Code, where: str, message: str) -> Finding:
    """A finding that must be understood before anybody signs."""
    return Finding(Severity.WARNING, code, where, message)
