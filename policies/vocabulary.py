"""The closed vocabularies of the signed documents."""

from enum import StrEnum


class AgencyKind(StrEnum):
    """What an agency is; health and care bodies need their Caldicott Guardian's signature to provide."""

    POLICE = "police"
    SOCIAL_CARE = "social_care"
    NHS = "nhs"
    CHARITY = "charity"
    HOUSING = "housing"
    EDUCATION = "education"
    PROBATION = "probation"
    FIRE_AND_RESCUE = "fire_and_rescue"
    OTHER = "other"


class OfficerRole(StrEnum):
    """What an officer may do, as the registry says."""

    SIRO = "siro"
    IAO = "iao"
    CALDICOTT_GUARDIAN = "caldicott_guardian"
    DPO = "dpo"
    PRIVACY_OFFICER = "privacy_officer"
    APPROVER = "approver"
    SUPERVISOR = "supervisor"
    INVESTIGATOR = "investigator"
    SOCIAL_WORKER = "social_worker"
    CLINICIAN = "clinician"
    MARAC_COORDINATOR = "marac_coordinator"
    DVDS_OFFICER = "dvds_officer"
    MISSING_PERSONS_OFFICER = "missing_persons_officer"
    SUPPORT_WORKER = "support_worker"


class Purpose(StrEnum):
    """Why something is shared."""

    DOMESTIC_ABUSE_RISK = "domestic_abuse_risk"
    DOMESTIC_VIOLENCE_DISCLOSURE = "domestic_violence_disclosure"
    SAFEGUARDING_CHILDREN = "safeguarding_children"
    SAFEGUARDING_ADULTS = "safeguarding_adults"
    MENTAL_HEALTH_CRISIS = "mental_health_crisis"
    MISSING_PERSON = "missing_person"
    CRIME_PREVENTION = "crime_prevention"
    VITAL_INTERESTS = "vital_interests"


class Capacity(StrEnum):
    """On which side of the sharing a party stands; it may stand on both."""

    PROVIDER = "provider"
    RECIPIENT = "recipient"


class Controller(StrEnum):
    """The controller relationship of a party to what is shared."""

    INDEPENDENT = "independent_controller"
    JOINT = "joint_controller"


class Regime(StrEnum):
    """The data-protection regime under which a party processes for this policy."""

    UK_GDPR = "uk_gdpr"
    PART3 = "dpa2018_part3"


class Article6(StrEnum):
    """Lawful bases of UK GDPR Article 6(1)."""

    CONSENT = "6(1)(a)"
    CONTRACT = "6(1)(b)"
    LEGAL_OBLIGATION = "6(1)(c)"
    VITAL_INTERESTS = "6(1)(d)"
    PUBLIC_TASK = "6(1)(e)"
    RECOGNISED_LEGITIMATE_INTERESTS = "6(1)(ea)"
    LEGITIMATE_INTERESTS = "6(1)(f)"


class Article9(StrEnum):
    """Conditions of UK GDPR Article 9(2) for special-category data."""

    EXPLICIT_CONSENT = "9(2)(a)"
    SOCIAL_PROTECTION = "9(2)(b)"
    VITAL_INTERESTS = "9(2)(c)"
    NOT_FOR_PROFIT = "9(2)(d)"
    LEGAL_CLAIMS = "9(2)(f)"
    SUBSTANTIAL_PUBLIC_INTEREST = "9(2)(g)"
    HEALTH_OR_SOCIAL_CARE = "9(2)(h)"
    PUBLIC_HEALTH = "9(2)(i)"


class Part3Basis(StrEnum):
    """DPA 2018 s.35(2): the first data-protection principle for law enforcement."""

    CONSENT = "s.35(2)(a)"
    NECESSARY_FOR_TASK = "s.35(2)(b)"


class Effect(StrEnum):
    """What a clause does."""

    RELEASE = "release"
    WITHHOLD = "withhold"


class Strength(StrEnum):
    """The strength band of a link; nodes never learn a score."""

    POSSIBLE = "possible"
    PROBABLE = "probable"
    STRONG = "strong"

    @property
    def rank(self) -> int:
        """1, 2 or 3."""
        return list(Strength).index(self) + 1


class Consent(StrEnum):
    """What the record says of the subject's consent to sharing."""

    GIVEN = "given"
    REFUSED = "refused"
    NOT_RECORDED = "not_recorded"


class Decision(StrEnum):
    """What an officer says in a statement."""

    APPROVE = "approve"
    REJECT = "reject"


TIERS = range(4)
"""0 existence, 1 risk flags, 2 summary, 3 full record."""
TIER_NAMES = ("existence of contact", "risk flags", "summary", "full record")
