"""What the clauses do to each other, tried out with the reference evaluator over the policy's own domain.

A release clause that is in no permission is unreachable, and so is every agency, role, purpose, record type
or field in it for which the same holds. A withhold clause that never stands alone between a release and its
recipient changes nothing.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from policies.access import NeedsApproval, Permit, Withhold, missing_approvals
from policies.clauses import LINK_EXISTS, LINK_RECORD, NO_APPROVALS, Clause
from policies.domain import Domain
from policies.lint.cases import cases, concerning, narrowed, overlaps, parts, unmarked
from policies.lint.findings import Code, Finding, error, warning
from policies.reference import applies, reference_decision
from policies.sharing import SharingPolicy
from policies.vocabulary import TIERS, Consent

_CEILING = max(TIERS)


@dataclass(frozen=True, slots=True)
class _Obstacle:
    """Why nothing is released: the withhold clauses in the way, and the rest in words."""

    withheld_by: tuple[int, ...]
    why: str


@dataclass(frozen=True, slots=True)
class _Reach:
    """What a release clause really releases: `obstacle` is None if anything, `idle` the values for which
    nothing is."""

    clause: Clause
    obstacle: _Obstacle | None
    only_today: bool
    idle: dict[tuple[str, str], _Obstacle]

    def opens(self, dimension: str, value: str) -> bool:
        """Whether it releases anything where the dimension has this value."""
        listed = value in getattr(self.clause, dimension)
        return listed and self.obstacle is None and (dimension, value) not in self.idle


def reach_findings(policy: SharingPolicy) -> Iterator[Finding]:
    """Clauses, and values in them, that change nothing; parties and purposes that nothing is released for."""
    # Under a policy that allows onward sharing nothing is released at all; that is a finding of its own.
    policy = replace(policy, obligations=replace(policy.obligations, onward_sharing=()))
    reaches = [_reach(policy, clause) for clause in policy.releases]
    for reach in reaches:
        yield from _release(reach)
    for clause in policy.withholds:
        yield from _withhold(policy, clause)
    for clause in policy.releases:
        yield from _fewer_approvals(policy, clause)
    yield from _silence(policy, reaches)


def _reach(policy: SharingPolicy, clause: Clause) -> _Reach:
    policy = concerning(policy, clause)
    own = unmarked(narrowed(policy, clause))
    obstacle = _obstacle(policy, clause, own)
    if obstacle is not None:
        return _Reach(clause, obstacle, _obstacle(policy, clause, own, today=True) is None, {})
    found = {(name, value): _obstacle(policy, clause, part) for name, value, part in parts(clause, own)}
    return _Reach(clause, None, False, {key: item for key, item in found.items() if item is not None})


def _obstacle(
    policy: SharingPolicy, clause: Clause, domain: Domain, *, today: bool = False
) -> _Obstacle | None:
    """Why the clause releases nothing in the whole of a domain; None as soon as it does."""
    withheld: set[int] = set()
    builtin: set[str] = set()
    asked = False
    for asker, item in cases(policy, domain, today=today):
        asked = True
        decision = reference_decision(policy, asker, item, _CEILING)
        if isinstance(decision, Permit) and clause.number in decision.clauses:
            return None
        if isinstance(decision, Withhold):
            withheld.update(decision.clauses)
            builtin.update([decision.builtin.value] if decision.builtin else [])
    if withheld:
        numbers = tuple(sorted(withheld))
        return _Obstacle(numbers, f"{_named(numbers)} {'withholds' if len(numbers) == 1 else 'withhold'} it")
    return _Obstacle((), "; ".join(sorted(builtin)) if builtin else _impossible(policy, domain, asked))


def _impossible(policy: SharingPolicy, domain: Domain, asked: bool) -> str:
    hidden = {party.agency for party in policy.parties if party.name_withheld}
    if not domain.pairs:
        return "provider and recipient are the same agency"
    if all(provider in hidden for provider, _ in domain.pairs):
        return "the provider's name is withheld, so its node answers no request"
    if all(item.record_type == LINK_RECORD for item in domain.requests):
        return "of a link there are only the fields of tier 0, and no consent is known when it is told"
    return "no record can fit its conditions" if asked else "nothing that it is about can be asked for"


def _release(reach: _Reach) -> Iterator[Finding]:
    where, obstacle = f"clause {reach.clause.number}", reach.obstacle
    if reach.only_today:
        yield error(
            Code.ONLY_TODAY,
            where,
            "it releases only what is dated this very day: a limit of 0 days is not the same as no limit",
        )
    elif obstacle is not None and obstacle.withheld_by:
        yield error(Code.SHADOWED, where, f"it releases nothing: {obstacle.why}")
    elif obstacle is not None:
        yield error(Code.UNREACHABLE, where, f"it releases nothing: {obstacle.why}")
    for (name, value), part in reach.idle.items():
        yield warning(
            Code.PART_UNREACHABLE,
            where,
            f"it names {value} among its {name}, but releases nothing there: {part.why}",
        )


def _withhold(policy: SharingPolicy, clause: Clause) -> Iterator[Finding]:
    where = f"clause {clause.number}"
    company: set[int] = set()
    for release in policy.releases:
        if overlaps(release, clause):
            found = _company(concerning(policy, release, clause), release, clause)
            if found == {clause.number}:
                return
            company |= found
    if company:
        others = _named(tuple(sorted(company - {clause.number})))
        yield warning(Code.REDUNDANT, where, f"it changes nothing: {others} already withhold all of it")
    else:
        yield warning(Code.WITHHOLDS_NOTHING, where, "no clause releases anything that this one withholds")


def _company(policy: SharingPolicy, release: Clause, clause: Clause) -> set[int]:
    """The withhold clauses that stand beside `clause` where it holds back what `release` would release; only
    itself if it ever does so alone.
    """
    company: set[int] = set()
    for asker, item in cases(policy, narrowed(policy, release, clause), today=True):
        if not applies(release, asker, item, _CEILING):
            continue
        decision = reference_decision(policy, asker, item, _CEILING)
        if isinstance(decision, Withhold) and clause.number in decision.clauses:
            if decision.clauses == (clause.number,):
                return {clause.number}
            company.update(decision.clauses)
    return company


def _fewer_approvals(policy: SharingPolicy, clause: Clause) -> Iterator[Finding]:
    """A request waits for what the most demanding record would need, whether or not there is such a record:
    otherwise its waiting would tell what is held.
    """
    rivals = [
        other
        for other in policy.releases
        if other.tier <= clause.tier
        and overlaps(clause, other)
        and missing_approvals(other.approvals, clause.approvals) != NO_APPROVALS
    ]
    in_vain = tuple(
        other.number
        for other in rivals
        # A third clause may ask for as little; the two alone are tried first, for they are soon tried.
        if _waits_anyway(concerning(policy, clause, other), clause, other)
        and _waits_anyway(concerning(policy, clause, other, beside=policy.clauses), clause, other)
    )
    if in_vain:
        yield warning(
            Code.FEWER_APPROVALS,
            f"clause {clause.number}",
            f"{_named(in_vain)} asks for more approvals for the same fields where consent or the record's age"
            " is another. A request waits for the most demanding, so that waiting tells nothing about what is"
            " held: the fewer approvals of this clause never help there",
        )


def _waits_anyway(policy: SharingPolicy, clause: Clause, other: Clause) -> bool:
    """Whether a field that `clause` releases with its own approvals needs those of `other` where consent or
    age is another.
    """
    helped: set[object] = set()
    waiting: set[object] = set()
    own = replace(unmarked(narrowed(policy, clause, other)), approvals=(clause.approvals,))
    for asker, item in cases(policy, own):
        question = (replace(asker, consent=Consent.NOT_RECORDED), item.record_type, item.field)
        decision = reference_decision(policy, asker, item, _CEILING)
        if isinstance(decision, Permit):
            helped.add(question)
        elif isinstance(decision, NeedsApproval):
            waiting.add(question)
        if question in helped and question in waiting:
            return True
    return False


def _silence(policy: SharingPolicy, reaches: list[_Reach]) -> Iterator[Finding]:
    if not any(_tells(policy, reach.clause) for reach in reaches):
        yield warning(Code.NO_TIER_0, "clauses", "nobody is ever told that a link exists, so nobody can ask")
    for purpose in policy.purposes:
        if not any(reach.opens("purposes", purpose) for reach in reaches):
            yield warning(Code.UNUSED_PURPOSE, "header", f"no clause releases anything for {purpose.value}")
    for agency in policy.providers:
        if not any(reach.opens("providers", agency) for reach in reaches):
            yield warning(Code.SILENT_PROVIDER, agency, "no clause releases anything of this provider")
    for agency in policy.recipients:
        if not any(reach.opens("recipients", agency) for reach in reaches):
            yield warning(Code.SILENT_RECIPIENT, agency, "no clause releases anything to this recipient")


def _tells(policy: SharingPolicy, clause: Clause) -> bool:
    """Whether the broker may tell of a link under this clause."""
    if clause.tier > 0 or clause.approvals != NO_APPROVALS:
        return False
    policy = concerning(policy, clause)
    own = narrowed(policy, clause)
    exists = tuple(
        item for item in own.requests if (item.record_type, item.field) == (LINK_RECORD, LINK_EXISTS)
    )
    return _obstacle(policy, clause, replace(own, requests=exists)) is None


def _named(numbers: tuple[int, ...]) -> str:
    return ("clause " if len(numbers) == 1 else "clauses ") + ", ".join(map(str, numbers))
