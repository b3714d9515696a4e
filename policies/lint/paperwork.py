"""Impact assessment, advice, times, and the lawful basis of each party."""

from collections.abc import Iterator
from datetime import datetime, timedelta

from policies.lint.findings import Code, Finding, error, warning
from policies.parties import LawfulBasis, Party
from policies.sharing import SharingPolicy
from policies.vocabulary import Article6, Article9, Regime

OLD_DPIA = timedelta(days=730)


def paperwork_findings(policy: SharingPolicy, now: datetime) -> Iterator[Finding]:
    """What stands behind the policy, and whether it is in time."""
    yield from _assessment(policy, now)
    yield from _times(policy, now)
    for party in policy.parties:
        yield from _party(policy, party)


def _assessment(policy: SharingPolicy, now: datetime) -> Iterator[Finding]:
    dpia = policy.governance.dpia
    if dpia is None:
        yield error(Code.NO_DPIA, "governance", "no data protection impact assessment is named")
    elif dpia.completed > now.date():
        yield error(Code.DPIA_IN_FUTURE, "governance", "the impact assessment is dated in the future")
    elif now.date() - dpia.completed > OLD_DPIA:
        yield warning(Code.DPIA_OLD, "governance", "the impact assessment is more than two years old")
    advised = {advice.agency for advice in policy.governance.dpo_advice}
    for party in policy.parties:
        if party.agency not in advised:
            yield warning(Code.NO_DPO_ADVICE, party.agency, "the advice of this party's DPO is not attached")


def _times(policy: SharingPolicy, now: datetime) -> Iterator[Finding]:
    if now >= policy.not_after:
        yield error(Code.EXPIRED, "header", "not_after has passed")
    elif now >= policy.review_by:
        yield error(Code.REVIEW_OVERDUE, "header", "the review date has passed")
    if policy.review_by == policy.not_after:
        yield warning(
            Code.NO_REVIEW, "header", "the review falls on the last day: there is no review in its life"
        )


def _party(policy: SharingPolicy, party: Party) -> Iterator[Finding]:
    basis, where = party.lawful_basis, str(party.agency)
    if not basis.gateways:
        yield error(Code.NO_POWER, where, "no statutory power or other gateway is named")
    if party.health_or_care_data and not policy.governance.special_category_data:
        yield error(
            Code.HEALTH_NOT_SPECIAL,
            where,
            "it has health or care data, but the governance section says that no special-category data are"
            " shared",
        )
    check = _part3 if party.regime is Regime.PART3 else _uk_gdpr
    yield from check(policy, basis, where)


def _special(policy: SharingPolicy) -> bool:
    """Whether special-category data are shared: what the parties hold counts, whatever the flag says."""
    return policy.governance.special_category_data or any(
        party.health_or_care_data for party in policy.parties
    )


def _uk_gdpr(policy: SharingPolicy, basis: LawfulBasis, where: str) -> Iterator[Finding]:
    if basis.part3 is not None or basis.schedule8_paragraph is not None:
        yield error(Code.MIXED_REGIMES, where, "a party under the UK GDPR names Part 3 provisions")
    if basis.article6 is None:
        yield error(Code.NO_LAWFUL_BASIS, where, "no Article 6 basis is named")
    if basis.article6 is Article6.CONSENT:
        yield warning(
            Code.CONSENT, where, "consent is rarely free where a public authority and a risk are involved"
        )
    if _special(policy) and basis.article9 is None:
        yield error(
            Code.NO_ARTICLE_9, where, "special-category data is shared without an Article 9 condition"
        )
    needs_schedule = basis.article9 in (Article9.SUBSTANTIAL_PUBLIC_INTEREST, Article9.SOCIAL_PROTECTION)
    if needs_schedule and basis.schedule1_paragraph is None:
        yield error(Code.NO_SCHEDULE_1, where, f"the condition {basis.article9} needs a Schedule 1 paragraph")
    if policy.governance.criminal_offence_data and not (basis.article10 or basis.schedule1_paragraph):
        yield error(Code.NO_ARTICLE_10, where, "criminal-offence data is shared without a condition for it")


def _part3(policy: SharingPolicy, basis: LawfulBasis, where: str) -> Iterator[Finding]:
    if basis.article6 is not None or basis.article9 is not None or basis.schedule1_paragraph is not None:
        yield error(Code.MIXED_REGIMES, where, "a party under Part 3 names UK GDPR articles or Schedule 1")
    if basis.part3 is None:
        yield error(Code.NO_LAWFUL_BASIS, where, "no s.35(2) basis is named")
    if _special(policy) and basis.schedule8_paragraph is None:
        yield error(Code.NO_SCHEDULE_8, where, "sensitive processing is named without a Schedule 8 condition")
