"""The parties of a sharing policy, their lawful bases, and its governance section.

Lawful basis is per party: data protection, the common-law duty of confidentiality, and statutory powers stand
beside each other, each in its own field.
"""

from dataclasses import dataclass
from datetime import date

from policies.ids import AgencyId, Email, Hash256, Line, Prose
from policies.vocabulary import Article6, Article9, Capacity, Controller, Part3Basis, Regime


@dataclass(frozen=True, slots=True)
class LawfulBasis:
    """Why a party may share or receive. Which members must be there depends on the regime; `policies.lint`
    says.
    """

    gateways: tuple[Line, ...]
    confidentiality: Prose
    necessity: Prose
    article6: Article6 | None = None
    article9: Article9 | None = None
    article10: Line | None = None
    schedule1_paragraph: Line | None = None
    part3: Part3Basis | None = None
    schedule8_paragraph: Line | None = None


@dataclass(frozen=True, slots=True)
class Party:
    """An agency that provides, receives, or both.

    `health_or_care_data`: what it provides includes health or care records, so its Caldicott Guardian signs
    too. `name_withheld`: nobody is told that it is *this* agency that holds a link (a refuge, a sexual-health
    clinic).
    """

    agency: AgencyId
    name: Line
    capacities: tuple[Capacity, ...]
    controller: Controller
    regime: Regime
    ico_number: Line
    health_or_care_data: bool
    name_withheld: bool
    lawful_basis: LawfulBasis

    def __post_init__(self) -> None:
        if not self.capacities or len(set(self.capacities)) != len(self.capacities):
            raise ValueError("a party is a provider, a recipient or both, each said once")

    @property
    def provides(self) -> bool:
        """Whether the party may release."""
        return Capacity.PROVIDER in self.capacities

    @property
    def receives(self) -> bool:
        """Whether the party may be released to."""
        return Capacity.RECIPIENT in self.capacities


@dataclass(frozen=True, slots=True)
class Dpia:
    """The data protection impact assessment: where it is, which version, when."""

    reference: Line
    hash: Hash256
    completed: date


@dataclass(frozen=True, slots=True)
class DpoAdvice:
    """A DPO's advice: attached, not counted as a signature, for a DPO is independent."""

    agency: AgencyId
    advice: Prose
    given: date


@dataclass(frozen=True, slots=True)
class Governance:
    """What stands behind the policy. A missing DPIA is a lint finding, not a parse error: drafts have none
    yet.
    """

    special_category_data: bool
    criminal_offence_data: bool
    dpo_advice: tuple[DpoAdvice, ...]
    rights_contact: Email
    transparency: Prose
    dpia: Dpia | None = None

    @property
    def relies_on(self) -> date | None:
        """When the youngest of the advice and the assessment was there: nobody can have signed before."""
        dates = [item.given for item in self.dpo_advice]
        if self.dpia is not None:
            dates.append(self.dpia.completed)
        return max(dates, default=None)
