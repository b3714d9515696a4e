"""Identity evidence: proof in a disclosure request that both agencies mean the same person or place.

For each identifying field that it holds, the requester sends a *proof* of each of its parts,

::

    HMAC-SHA-256(identity key, frame("tallystick/identity/v2", request id, field, part)), the first 8 bytes

with :func:`crypto.derive.frame`, in ascending order. The provider makes the same proofs of its own values and
counts those that both have. Parts make the comparison forgiving: of a name they are its pairs of letters, of
a date of birth its year and, in either order, its day and month, for slips in both are common among records
of one person (docs/adr/0003). The request id keeps evidence of two requests from being compared. The key is
shared by the agencies of the linkage, so evidence hides values from the relay, not from the provider.

Nothing that says where a person lives is part of a person's evidence: members of a household share it, and it
may be the address of a refuge.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from agency_node.subjects import Identity
from crypto.derive import frame

PROOF_BYTES: Final = 8
PERSON_FIELDS: Final = ("given_names", "initial", "family_name", "date_of_birth", "nhs_number")
PLACE_FIELDS: Final = ("uprn", "house", "street", "town", "postcode")
#: Dice similarity of two names' pairs of letters from which they count as one name (docs/adr/0003).
ALIKE: Final = 0.4
#: From here on they count as written alike.
_NEARLY_EQUAL: Final = 0.8
_LETTERS_AT_MOST: Final = 100
#: Proofs that a field can have. With more of them somebody tries values, and they count for nothing.
_PROOFS_AT_MOST: Final = {"initial": 1, "date_of_birth": 3, "nhs_number": 1}

_Proofs = Mapping[str, frozenset[bytes]]


def person_evidence(identity: Identity, key: bytes, request_id: str) -> dict[str, bytes]:
    """Evidence of one identity of a person: the proofs of every field of :data:`PERSON_FIELDS` that it has,
    end to end.

    ``key`` is ``EncodingKeys.identity``.
    """
    return _evidence(PERSON_FIELDS, lambda field: field, identity, key, request_id)


def place_evidence(identity: Identity, key: bytes, request_id: str) -> dict[str, bytes]:
    """Evidence of a place, over :data:`PLACE_FIELDS`."""
    return _evidence(PLACE_FIELDS, lambda field: f"place/{field}", identity, key, request_id)


def same_person(
    evidence: Mapping[str, bytes], identities: Iterable[Identity], key: bytes, request_id: str
) -> bool:
    """Whether the evidence is of the person who is or was known by these identities.

    It is, where one of these holds, each field compared with the identity that agrees best:

    - both names are alike, and two of the year, day and month of birth agree;
    - the given name is alike or begins with the same letter, and the whole date of birth agrees;
    - both names are nearly equal, and of a date of birth known in part all that is known agrees;
    - the NHS number agrees, and a name is alike or two parts of the date of birth agree.
    """
    given = family = 0.0
    born = born_known = 0
    same_initial = same_number = False
    theirs = _proofs(evidence)
    for identity in identities:
        own = _proofs(person_evidence(identity, key, request_id))
        given = max(given, _dice(theirs, own, "given_names"))
        family = max(family, _dice(theirs, own, "family_name"))
        common = len(_common(theirs, own, "date_of_birth"))
        if common >= born:
            born = common
            born_known = min(len(item.get("date_of_birth", ())) for item in (theirs, own))
        same_initial |= bool(_common(theirs, own, "initial"))
        same_number |= bool(_common(theirs, own, "nhs_number"))
    names = min(given, family)
    return (
        (names >= ALIKE and born >= 2)
        or ((given >= ALIKE or same_initial) and born == 3)
        or (names >= _NEARLY_EQUAL and 0 < born == born_known)
        or (same_number and (max(given, family) >= ALIKE or born >= 2))
    )


def same_place(
    evidence: Mapping[str, bytes], identities: Iterable[Identity], key: bytes, request_id: str
) -> bool:
    """Whether the evidence is of this place: by its UPRN, or by its house with the postcode or with street
    and town. Neighbours share all but the house, and every town has a 14 High Street.
    """
    for identity in identities:
        agreeing = {
            field
            for field, own in place_evidence(identity, key, request_id).items()
            if hmac.compare_digest(own, evidence.get(field, b""))
        }
        if "uprn" in agreeing or (
            "house" in agreeing and ("postcode" in agreeing or {"street", "town"} <= agreeing)
        ):
            return True
    return False


def _evidence(
    fields: Iterable[str],
    label: Callable[[str], str],
    identity: Identity,
    key: bytes,
    request_id: str,
) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for field in fields:
        proofs = {_proof(label(field), part, key, request_id) for part in _parts(field, identity)}
        if proofs:
            found[field] = b"".join(sorted(proofs))
    return found


def _parts(field: str, identity: Identity) -> list[str]:
    match field:
        case "given_names":
            return _letter_pairs(identity.fields.get(field, "").partition(" ")[0])
        case "initial":
            return list(identity.fields.get("given_names", "")[:1])
        case "family_name":
            return _letter_pairs(identity.fields.get(field, "").replace(" ", ""))
        case "date_of_birth":
            return _birth_parts(identity)
    value = identity.fields.get(field, "")
    return [value] if value else []


def _letter_pairs(name: str) -> list[str]:
    padded = f"_{name[:_LETTERS_AT_MOST]}_"
    return [padded[place : place + 2] for place in range(len(padded) - 1)] if name else []


def _birth_parts(identity: Identity) -> list[str]:
    """The year, then day and month as one kind of thing; equal ones are told apart by counting."""
    year = identity.fields.get("birth_year", "")
    day_month = [half for half in identity.fields.get("birth_day_month", "").split("-") if half]
    parts = [f"year {year}"] if year else []
    for half in day_month:
        part = f"day or month {half}"
        parts.append(f"{part} again" if part in parts else part)
    return parts


def _proof(field: str, part: str, key: bytes, request_id: str) -> bytes:
    message = frame("tallystick/identity/v2", request_id, field, part)
    return hmac.digest(key, message, "sha256")[:PROOF_BYTES]


def _proofs(evidence: Mapping[str, bytes]) -> _Proofs:
    found = {
        field: frozenset(value[at : at + PROOF_BYTES] for at in range(0, len(value), PROOF_BYTES))
        for field, value in evidence.items()
    }
    return {
        field: each for field, each in found.items() if len(each) <= _PROOFS_AT_MOST.get(field, len(each))
    }


def _common(theirs: _Proofs, own: _Proofs, field: str) -> frozenset[bytes]:
    return theirs.get(field, frozenset()) & own.get(field, frozenset())


def _dice(theirs: _Proofs, own: _Proofs, field: str) -> float:
    total = len(theirs.get(field, ())) + len(own.get(field, ()))
    return 2 * len(_common(theirs, own, field)) / total if total else 0.0
