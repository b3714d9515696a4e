"""One table from linkage field to normaliser, with the rules a mapping can set."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Final, Literal

from agency_node.normalise.addresses import normalise_house, normalise_street, normalise_town
from agency_node.normalise.codes import normalise_sex
from agency_node.normalise.dates import DateRule, normalise_date
from agency_node.normalise.names import normalise_family_name, normalise_given_names
from agency_node.normalise.numbers import (
    normalise_email,
    normalise_nhs_number,
    normalise_phone,
    normalise_upn,
    normalise_uprn,
)
from agency_node.normalise.postcodes import normalise_foreign_postcode, normalise_postcode
from agency_node.normalise.reasons import Outcome


@dataclass(frozen=True, slots=True)
class NormaliseRules:
    """What a mapping may choose: how dates read, the home of telephone numbers, the form of postcodes."""

    dates: DateRule = field(default_factory=DateRule)
    phone_region: str = "GB"
    postcodes: Literal["uk", "any"] = "uk"


NORMALISERS: Final[dict[str, Callable[[str], Outcome]]] = {
    "given_names": normalise_given_names,
    "family_name": normalise_family_name,
    "date_of_birth": normalise_date,
    "sex": normalise_sex,
    "house": normalise_house,
    "street": normalise_street,
    "town": normalise_town,
    "postcode": normalise_postcode,
    "nhs_number": normalise_nhs_number,
    "upn": normalise_upn,
    "phone": normalise_phone,
    "email": normalise_email,
    "uprn": normalise_uprn,
}
"""Each linkage field that a source can give, with its normaliser under default rules."""


def normaliser_of(name: str, rules: NormaliseRules) -> Callable[[str], Outcome]:
    """The normaliser of linkage field ``name`` under ``rules``; ``KeyError`` for an unknown name."""
    if name == "date_of_birth":
        return partial(normalise_date, rule=rules.dates)
    if name == "phone":
        return partial(normalise_phone, region=rules.phone_region)
    if name == "postcode" and rules.postcodes == "any":
        return normalise_foreign_postcode
    return NORMALISERS[name]


def normalise_field(name: str, text: str, rules: NormaliseRules) -> Outcome:
    """Normalise one cell of linkage field ``name``; ``KeyError`` for a name that is no such field."""
    return normaliser_of(name, rules)(text)
