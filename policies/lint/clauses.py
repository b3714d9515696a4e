"""What can be seen of one clause by itself."""

from collections.abc import Iterator

from policies.clauses import LINK_AGENCY, LINK_EXISTS, LINK_RECORD, Clause
from policies.lint.findings import Code, Finding, error, warning
from policies.sharing import SharingPolicy
from policies.vocabulary import Consent, Effect

_LINK_FIELDS = frozenset({LINK_EXISTS, LINK_AGENCY})


def clause_findings(policy: SharingPolicy) -> Iterator[Finding]:
    """Gates that are missing, and what is said at tier 0 that cannot be kept."""
    for clause in policy.clauses:
        where = f"clause {clause.number}"
        if clause.effect is Effect.RELEASE:
            yield from _gate(clause, where)
        if (
            _LINK_FIELDS & set(clause.fields)
            and clause.record_types
            and LINK_RECORD not in clause.record_types
        ):
            yield warning(
                Code.LINK_FIELDS, where, f"link fields are released only with the record type {LINK_RECORD}"
            )
        yield from _tier_0(clause, where)


def _gate(clause: Clause, where: str) -> Iterator[Finding]:
    if clause.tier >= 2 and clause.approvals.count < 1:
        yield error(Code.NO_APPROVAL, where, "a summary is released without anybody's approval")
    if clause.tier == 3 and (clause.approvals.count < 2 or clause.approvals.from_provider < 1):
        yield error(
            Code.NO_FOUR_EYES, where, "a full record needs two approvals, one of them from the provider"
        )
    if clause.tier >= 2 and clause.conditions.minimum_strength is None:
        yield warning(Code.ANY_STRENGTH, where, "records are released on a merely possible link")


def _tier_0(clause: Clause, where: str) -> Iterator[Finding]:
    """The broker tells of links. It sees no record: neither what it says of consent nor its markers.

    A clause that leaves open what it is about and asks for markers is about records, which bear them. What it
    says of consent everybody takes to be about the person, the link included.
    """
    if clause.tier > 0:
        return
    consent = set(clause.conditions.consent or Consent) != set(Consent)
    if (consent and _about_links(clause)) or (clause.conditions.markers and _names_links(clause)):
        yield warning(
            Code.UNKNOWN_AT_TIER_0,
            where,
            "it depends on consent or markers, but the broker tells of a link before any record is looked at,"
            " as if consent were not recorded and nothing marked. If it is about records, give it tier 1;"
            " whoever's links must not be told is left out of the linkage",
        )
    if clause.effect is Effect.RELEASE and set(clause.record_types) != {LINK_RECORD}:
        yield warning(
            Code.RECORD_AT_TIER_0,
            where,
            "it releases records at tier 0, which is for the existence of a link: withhold clauses of higher"
            " tiers do not hold them back",
        )


def _about_links(clause: Clause) -> bool:
    return (not clause.record_types or LINK_RECORD in clause.record_types) and (
        not clause.fields or bool(_LINK_FIELDS & set(clause.fields))
    )


def _names_links(clause: Clause) -> bool:
    return _about_links(clause) and bool(clause.record_types or clause.fields)
