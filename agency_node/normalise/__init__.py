"""Normalisation of UK personal data for matching: pure functions from text to a value and reason codes."""

from agency_node.normalise.addresses import AddressReading, joined_address, read_address
from agency_node.normalise.dates import DateReading, DateRule, read_date, read_date_parts
from agency_node.normalise.fields import NORMALISERS, NormaliseRules, normalise_field, normaliser_of
from agency_node.normalise.names import NameReading, read_full_name, read_name
from agency_node.normalise.reasons import EXPLANATIONS, MISSING, Outcome, Reason
from agency_node.normalise.report import FieldCounts, NormalisationReport

__all__ = [
    "EXPLANATIONS",
    "MISSING",
    "NORMALISERS",
    "AddressReading",
    "DateReading",
    "DateRule",
    "FieldCounts",
    "NameReading",
    "NormalisationReport",
    "NormaliseRules",
    "Outcome",
    "Reason",
    "joined_address",
    "normalise_field",
    "normaliser_of",
    "read_address",
    "read_date",
    "read_date_parts",
    "read_full_name",
    "read_name",
]
