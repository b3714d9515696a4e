"""Decoys: subjects that cannot match anybody, known as such only to their own node.

They estimate false discovery rates without truth (target-decoy search, as in proteomics), blur counts, and
betray probing. Two kinds are mixed:

*recombined*
    every group of fields from a different own subject: given names and sex of one, family name of another,
    birth of a third, address of a fourth. *sibling* family name, address and year of birth of one subject,
    the rest from others: what a linkage that fears to confuse households should be measured against.
    Persons only: a made-up neighbour may be a real address.

Numbers that exact tokens are made of (NHS number, UPRN ...) are scrambled in the same form, so that the
absence of a token does not give a decoy away.
"""

import random
import string
from collections.abc import Mapping, Sequence

from agency_node.encoding.errors import DecoyError
from agency_node.encoding.keys import EncodingKeys
from agency_node.subjects import Identity, Subject, SubjectId
from crypto.derive import frame, hkdf

_NAMES = ("given_names", "sex")
_FAMILY = ("family_name",)
_BIRTH = ("date_of_birth", "birth_year", "birth_day_month")
_ADDRESS = ("house", "street", "town", "address", "postcode")
_PERSON_GROUPS = (_NAMES, _FAMILY, _BIRTH, _ADDRESS)
_PLACE_GROUPS = (("house",), ("street", "town"), ("postcode",))
_NUMBERS = ("nhs_number", "upn", "phone", "email", "uprn")
_ATTEMPTS = 100

FEWEST_SUBJECTS = 5
"""Fewer own subjects cannot be recombined into strangers."""

Fields = dict[str, str]


def decoy_rng(keys: EncodingKeys, agency: str) -> random.Random:
    """The random numbers of an agency's decoys: the same in every run of one epoch, so that decoys stay
    put."""
    seed = hkdf(keys.dummy, frame("tallystick/decoys/v1", agency), 32)
    return random.Random(int.from_bytes(seed, "big"))  # noqa: S311  choosing donors is no secret, handles are


def make_decoys(
    subjects: Sequence[Subject], count: int, rng: random.Random, sibling_share: float = 0.0
) -> list[Subject]:
    """``count`` decoys from the current identities of ``subjects`` (all of one subject type).

    ``sibling_share`` (0 to 1) of them, on average, are siblings. Raises DecoyError when there are fewer
    than five subjects or they are too alike to be recombined into somebody new.
    """
    if len(subjects) < FEWEST_SUBJECTS:
        raise DecoyError(f"decoys need at least {FEWEST_SUBJECTS} subjects to recombine, got {len(subjects)}")
    if not 0 <= sibling_share <= 1:
        raise DecoyError("the share of siblings among decoys must be between 0 and 1")
    subject_type = subjects[0].subject_type
    if subject_type == "place" and sibling_share > 0:
        raise DecoyError("sibling decoys are for persons: a made-up neighbour may be a real address")
    existing = {_likeness(subject.identities[0].fields) for subject in subjects}
    decoys = []
    for number in range(count):
        fields = _stranger(subjects, rng, sibling_share, existing)
        decoys.append(Subject(SubjectId(f"decoy-{number}"), subject_type, (Identity(fields),)))
    return decoys


def _stranger(
    subjects: Sequence[Subject],
    rng: random.Random,
    sibling_share: float,
    existing: set[tuple[str | None, ...]],
) -> Fields:
    is_place = subjects[0].subject_type == "place"
    for _ in range(_ATTEMPTS):
        donors = [dict(subject.identities[0].fields) for subject in rng.sample(subjects, FEWEST_SUBJECTS)]
        if is_place:
            fields = _recombined_place(donors)
        elif rng.random() < sibling_share:
            fields = _sibling(donors)
        else:
            fields = _recombined(donors, _PERSON_GROUPS)
        fields |= {name: _scrambled(donors[4][name], rng) for name in _NUMBERS if name in donors[4]}
        if _likeness(fields) not in existing:
            return fields
    raise DecoyError("the subjects are too alike: recombining them only gives existing ones")


def _recombined(donors: Sequence[Fields], groups: Sequence[tuple[str, ...]]) -> Fields:
    """Each group of fields from the next donor, missing where that donor's is missing."""
    return {
        name: donor[name]
        for donor, group in zip(donors, groups, strict=False)
        for name in group
        if name in donor
    }


def _recombined_place(donors: Sequence[Fields]) -> Fields:
    fields = _recombined(donors, _PLACE_GROUPS)
    parts = [fields[name] for name in ("house", "street") if name in fields]
    if parts:
        fields["address"] = " ".join(parts)
    elif "address" in donors[0]:  # a source that does not split addresses
        fields["address"] = donors[0]["address"]
    return fields


def _sibling(donors: Sequence[Fields]) -> Fields:
    """The first donor's household and birth year, the second's given names, the third's birthday."""
    household, namesake, birthday = donors[:3]
    fields = _recombined([namesake, household, birthday, household], _PERSON_GROUPS)
    year = household.get("birth_year") or household.get("date_of_birth", "")[:4]
    if not year:
        return fields
    if "birth_year" in fields:
        fields["birth_year"] = year
    if "date_of_birth" in fields:
        month_day = fields["date_of_birth"][5:]
        # The year kept may have no 29 February.
        fields["date_of_birth"] = f"{year}-{'02-28' if month_day == '02-29' else month_day}"
        if "birth_day_month" in fields:
            fields["birth_day_month"] = fields["date_of_birth"][5:]
    return fields


def _scrambled(value: str, rng: random.Random) -> str:
    """The same form with other digits and letters."""
    return "".join(_scrambled_character(character, rng) for character in value)


def _scrambled_character(character: str, rng: random.Random) -> str:
    for alphabet in (string.digits, string.ascii_uppercase, string.ascii_lowercase):
        if character in alphabet:
            return rng.choice(alphabet)
    return character


def _likeness(fields: Mapping[str, str]) -> tuple[str | None, ...]:
    """What a decoy must not have all in common with an own subject."""
    return tuple(
        fields.get(name) for name in ("given_names", "family_name", "date_of_birth", "address", "postcode")
    )
