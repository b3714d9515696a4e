"""Who must have signed: requirements per party, and the assignment of officers to them.

A quorum is a list of requirements ("the police: SIRO or IAO"), *all* of which must be filled, each by a
different person. One officer therefore fills one requirement, whatever number of roles and keys; a list
without requirements is refused, for it would be met by nobody signing.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from policies.agreement import LinkageAgreement
from policies.ids import AgencyId, PersonId
from policies.registry import Registry
from policies.sharing import SharingPolicy
from policies.vocabulary import AgencyKind, OfficerRole

ROLE_TITLES = {
    OfficerRole.SIRO: "SIRO",
    OfficerRole.IAO: "IAO",
    OfficerRole.DPO: "DPO",
    OfficerRole.DVDS_OFFICER: "DVDS officer",
    OfficerRole.MARAC_COORDINATOR: "MARAC coordinator",
    OfficerRole.CALDICOTT_GUARDIAN: "Caldicott Guardian",
}
_HEALTH_AND_CARE = frozenset({AgencyKind.NHS, AgencyKind.SOCIAL_CARE})
ACCOUNTABLE = (OfficerRole.SIRO, OfficerRole.IAO)


def role_title(role: OfficerRole) -> str:
    """The role as people write it."""
    return ROLE_TITLES.get(role, role.value.replace("_", " "))


@dataclass(frozen=True, slots=True)
class Requirement:
    """One signature: an officer of this organisation in any of these roles."""

    organisation: AgencyId
    roles: tuple[OfficerRole, ...]

    def __post_init__(self) -> None:
        if not self.roles:
            raise ValueError("a requirement names at least one role")

    def __str__(self) -> str:
        return f"{self.organisation}: {' or '.join(role_title(role) for role in self.roles)}"


@dataclass(frozen=True, slots=True)
class QuorumRule:
    """All of these requirements."""

    requirements: tuple[Requirement, ...]

    def __post_init__(self) -> None:
        if not self.requirements:
            raise ValueError("a quorum has at least one requirement")


@dataclass(frozen=True, slots=True)
class Signatory:
    """A person who signed, in one role for one organisation, as the registry confirms."""

    person: PersonId
    organisation: AgencyId
    role: OfficerRole

    def fills(self, requirement: Requirement) -> bool:
        """Whether this signature may count for the requirement."""
        return self.organisation == requirement.organisation and self.role in requirement.roles


def policy_rule(policy: SharingPolicy, registry: Registry) -> QuorumRule:
    """SIRO or IAO of every party, and the Caldicott Guardian of every provider of health or care data.

    That an NHS body or social care provides such data follows from the registry, whatever the policy says.
    """
    requirements: list[Requirement] = []
    for party in policy.parties:
        requirements.append(Requirement(party.agency, ACCOUNTABLE))
        agency = registry.agency(party.agency)
        health = party.health_or_care_data or (agency is not None and agency.kind in _HEALTH_AND_CARE)
        if party.provides and health:
            requirements.append(Requirement(party.agency, (OfficerRole.CALDICOTT_GUARDIAN,)))
    return QuorumRule(tuple(requirements))


def agreement_rule(agreement: LinkageAgreement) -> QuorumRule:
    """SIRO or IAO of every participant."""
    return QuorumRule(tuple(Requirement(agency, ACCOUNTABLE) for agency in agreement.agencies))


def unfilled(rule: QuorumRule, signatories: Sequence[Signatory]) -> tuple[Requirement, ...]:
    """The requirements that remain when as many as possible are filled, each by a different person.

    Maximum bipartite matching by augmenting paths; `rule` has a handful of requirements.
    """
    by_person: dict[PersonId, int] = {}

    def assign(index: int, tried: set[PersonId]) -> bool:
        for signatory in signatories:
            person = signatory.person
            if person in tried or not signatory.fills(rule.requirements[index]):
                continue
            tried.add(person)
            if person not in by_person or assign(by_person[person], tried):
                by_person[person] = index
                return True
        return False

    return tuple(item for index, item in enumerate(rule.requirements) if not assign(index, set()))
