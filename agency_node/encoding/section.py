"""The ``encoding`` section of a linkage agreement, read and checked.

Shape (canonical-JSON friendly)::

    {"projections": [{"name": "person", "schema": {clkhash v3}, "hardening": {"kind": ..., "taps": ...}}],
     "exact_tokens": [{"name": "nhs-dob", "fields": ["nhs_number", "date_of_birth"]}],
     "minimum_fields": 5}

A projection's feature identifiers are linkage field names. What leaks is decided by the narrowest
projection, so one over fewer identifying *facts* than ``minimum_fields`` is refused unless the agreement's
officers signed an exception for it. Fields that say the same thing (a date of birth whole and in parts; an
address whole and in parts) are one fact.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from agency_node.encoding.clk import JsonSchema
from agency_node.encoding.errors import EncodingSectionError, NarrowProjectionError
from agency_node.encoding.hardening import Hardening
from agency_node.subjects import LINKAGE_FIELDS
from crypto.canonical import JsonValue

FEWEST_FIELDS = 5
"""An agreement may ask for more identifying facts, never for fewer."""

_FACTS = {
    "birth_year": "date_of_birth",
    "birth_day_month": "date_of_birth",
    "house": "address",
    "street": "address",
    "town": "address",
}


@dataclass(frozen=True, slots=True)
class Projection:
    """One CLK per row: its name, clkhash schema, and hardening.  ``fields`` is the schema's feature order."""

    name: str
    schema: JsonSchema
    hardening: Hardening
    fields: tuple[str, ...]
    hashed_fields: tuple[str, ...]

    @property
    def facts(self) -> frozenset[str]:
        """The distinct identifying facts that the CLK is made of."""
        return frozenset(_FACTS.get(field, field) for field in self.hashed_fields)

    def count_facts(self, columns: Mapping[str, Sequence[str]], rows: int) -> NDArray[np.int64]:
        """How many of the facts each row has a value for, (rows,); a field without a column has none."""
        held: dict[str, NDArray[np.bool_]] = {}
        for field in self.hashed_fields:
            column = columns.get(field)
            if column is not None:
                # most columns are full, and looking for a gap is much sooner done than looking at each value
                full = (
                    np.ones(rows, np.bool_)
                    if "" not in column
                    else np.fromiter(map(bool, column), np.bool_, rows)
                )
                fact = _FACTS.get(field, field)
                held[fact] = held[fact] | full if fact in held else full
        return np.sum(list(held.values()), axis=0, dtype=np.int64) if held else np.zeros(rows, np.int64)


@dataclass(frozen=True, slots=True)
class ExactToken:
    """A keyed token over the exact values of some fields; a row lacks it when any of them is missing."""

    name: str
    fields: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class EncodingSection:
    """A checked encoding section."""

    projections: tuple[Projection, ...]
    exact_tokens: tuple[ExactToken, ...]
    minimum_fields: int

    @classmethod
    def from_json(
        cls, value: Mapping[str, JsonValue], narrow_exceptions: Collection[str] = ()
    ) -> "EncodingSection":
        """Check and read a section; ``narrow_exceptions`` names the projections that may be narrow.

        Raises EncodingSectionError (NarrowProjectionError, HardeningError) with what is wrong and where.
        """
        _keys(value, {"projections", "exact_tokens", "minimum_fields"}, "the encoding section")
        minimum = value["minimum_fields"]
        if not isinstance(minimum, int) or isinstance(minimum, bool) or minimum < FEWEST_FIELDS:
            raise EncodingSectionError(f"'minimum_fields' must be an integer of at least {FEWEST_FIELDS}")
        projections = tuple(_projection(item) for item in _list(value["projections"], "'projections'"))
        tokens = tuple(_exact_token(item) for item in _list(value["exact_tokens"], "'exact_tokens'"))
        if not projections and not tokens:
            raise EncodingSectionError("the encoding section has neither a projection nor an exact token")
        for names in ([item.name for item in projections], [item.name for item in tokens]):
            if len(set(names)) != len(names):
                raise EncodingSectionError("two projections, or two exact tokens, have the same name")
        for projection in projections:
            _refuse_narrow(projection, minimum, narrow_exceptions)
        return cls(projections, tokens, minimum)


def default_section(subject_type: Literal["person", "place"]) -> dict[str, JsonValue]:
    """The encoding section that ships for a subject type, as JSON, to adopt in an agreement.

    Person: one CLK over names, birth (year, and day with month, so that a partial date still counts), sex,
    address, town and postcode. Its weights keep most people who moved above the usual thresholds, at a mean
    fill of .24: sparser filters match a little better and give far more away to known-pairs attacks. The town
    is light: where few towns are shared by everybody, a heavier one makes strangers alike.

    Place: house, street and postcode, the house weighing enough to tell neighbours apart. It is narrow (an
    address is one fact, a postcode another): its agreement needs a signed exception for ``place``.
    """
    path = files("agency_node.encoding").joinpath("schemas", f"{subject_type}.json")
    section: dict[str, JsonValue] = json.loads(path.read_text(encoding="utf-8"))
    return section


def _projection(value: JsonValue) -> Projection:
    item = _object(value, "a projection")
    _keys(item, {"name", "schema", "hardening"}, "a projection")
    name = _text(item["name"], "a projection's name")
    schema = _object(item["schema"], f"the schema of projection '{name}'")
    features = schema.get("features")
    if not isinstance(features, list) or not features:
        raise EncodingSectionError(f"the schema of projection '{name}' has no features")
    described = [_object(feature, f"a feature of projection '{name}'") for feature in features]
    fields = [_field(feature.get("identifier"), f"projection '{name}'") for feature in described]
    hashed = [
        field for field, feature in zip(fields, described, strict=True) if not feature.get("ignored", False)
    ]
    if len(set(fields)) != len(fields):
        raise EncodingSectionError(f"a field occurs twice in the schema of projection '{name}'")
    hardening = Hardening.from_json(item["hardening"])
    return Projection(name, dict(schema), hardening, tuple(fields), tuple(hashed))


def _exact_token(value: JsonValue) -> ExactToken:
    item = _object(value, "an exact token")
    _keys(item, {"name", "fields"}, "an exact token")
    name = _text(item["name"], "an exact token's name")
    fields = tuple(
        _field(field, f"exact token '{name}'") for field in _list(item["fields"], f"the fields of '{name}'")
    )
    if not fields or len(set(fields)) != len(fields):
        raise EncodingSectionError(f"exact token '{name}' needs at least one field, and none twice")
    return ExactToken(name, fields)


def _refuse_narrow(projection: Projection, minimum: int, exceptions: Collection[str]) -> None:
    if len(projection.facts) < minimum and projection.name not in exceptions:
        raise NarrowProjectionError(
            f"projection '{projection.name}' is made of {len(projection.facts)} identifying facts; at least "
            f"{minimum} are needed, because a narrow encoding can be attacked far more easily. Add fields to "
            "its schema, or have officers sign an exception for it in the linkage agreement."
        )


def _keys(value: Mapping[str, JsonValue], expected: set[str], where: str) -> None:
    if set(value) != expected:
        raise EncodingSectionError(f"{where} must have exactly the members {', '.join(sorted(expected))}")


def _object(value: JsonValue, where: str) -> dict[str, JsonValue]:
    if not isinstance(value, dict):
        raise EncodingSectionError(f"{where} must be an object")
    return value


def _list(value: JsonValue, where: str) -> list[JsonValue]:
    if not isinstance(value, list):
        raise EncodingSectionError(f"{where} must be a list")
    return value


def _text(value: JsonValue, where: str) -> str:
    if not isinstance(value, str) or not value:
        raise EncodingSectionError(f"{where} must be a non-empty text")
    return value


def _field(value: JsonValue, where: str) -> str:
    name = _text(value, f"a field of {where}")
    if name not in LINKAGE_FIELDS:
        raise EncodingSectionError(
            f"{where} uses '{name}', which is no linkage field; known: {', '.join(LINKAGE_FIELDS)}"
        )
    return name
