"""Whether two agencies mean the same person or place, from keyed evidence (docs/adr/0003).

A person's evidence is that of `agency_node.encoding.identity`: two fields must agree. A place's is over its
UPRN, house, street and postcode, keyed in the same way; two of them must agree, of which the postcode and the
street alone are not enough, for neighbours share both.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping

from agency_node.encoding.identity import agreeing_fields, identity_evidence
from agency_node.subjects import Identity, Subject
from crypto.derive import frame
from policies.agreement import SubjectType

FIELDS_TO_AGREE = 2
PLACE_FIELDS = ("uprn", "house", "street", "postcode")
#: One of these must be among the fields on which the evidence of a place agrees.
_SAYS_WHICH_HOUSE = frozenset({"uprn", "house"})


def evidence_of(subject: Subject, kind: SubjectType, key: bytes, request_id: str) -> dict[str, bytes]:
    """Evidence of a subject's current identity, by field; `key` is `EncodingKeys.identity`."""
    current = subject.identities[0]
    if kind is SubjectType.PLACE:
        return _place_evidence(current, key, request_id)
    return identity_evidence(current, key, request_id)


def confirms(
    evidence: Mapping[str, bytes], subject: Subject, kind: SubjectType, key: bytes, request_id: str
) -> bool:
    """Whether the evidence is of this subject, under any identity by which it is or was known."""
    if kind is SubjectType.PERSON:
        return len(agreeing_fields(evidence, subject.identities, key, request_id)) >= FIELDS_TO_AGREE
    return any(
        _one_place(evidence, _place_evidence(identity, key, request_id)) for identity in subject.identities
    )


def _one_place(evidence: Mapping[str, bytes], own: Mapping[str, bytes]) -> bool:
    agreeing = {name for name, value in own.items() if hmac.compare_digest(value, evidence.get(name, b""))}
    return len(agreeing) >= FIELDS_TO_AGREE and bool(agreeing & _SAYS_WHICH_HOUSE)


def _place_evidence(identity: Identity, key: bytes, request_id: str) -> dict[str, bytes]:
    return {
        name: hmac.digest(key, frame("tallystick/identity/v1", request_id, f"place/{name}", value), "sha256")
        for name in PLACE_FIELDS
        if (value := identity.fields.get(name))
    }
