"""Evidence that two agencies mean the same person or place, as disclosure makes and checks it.

What it is made of is in `agency_node.encoding.identity`; why it is needed in docs/adr/0003.
"""

from __future__ import annotations

from collections.abc import Sequence

from agency_node.encoding.identity import person_evidence, place_evidence, same_person, same_place
from agency_node.subjects import Subject
from policies.agreement import SubjectType
from policies.clauses import PROTECTED_MARKERS
from policies.disclosure import IdentityEvidence
from policies.ids import FieldName, HexBytes
from policies.sharing import SharingPolicy
from protos.wire.errors import ErrorCode, RefusedError


def evidence_of(
    subject: Subject, kind: SubjectType, policy: SharingPolicy, key: bytes, request_id: str
) -> tuple[IdentityEvidence, ...]:
    """Evidence of a subject's current identity; `key` is `EncodingKeys.identity`.

    Raises:
        RefusedError: NOT_ALLOWED for a place that is marked as protected, or with a word that the policy does
            not name: evidence of it is its address.
    """
    current = subject.identities[0]
    if kind is SubjectType.PERSON:
        found = person_evidence(current, key, request_id)
    elif subject.markers & PROTECTED_MARKERS or subject.markers - policy.named_markers:
        raise RefusedError(
            ErrorCode.NOT_ALLOWED,
            "this place is marked as protected here, and nothing about it is sent; speak to the coordinator",
        )
    else:
        found = place_evidence(current, key, request_id)
    return tuple(IdentityEvidence(FieldName(name), HexBytes(value.hex())) for name, value in found.items())


def confirms(
    evidence: Sequence[IdentityEvidence],
    subject: Subject,
    kind: SubjectType,
    keys: Sequence[bytes],
    request_id: str,
) -> bool:
    """Whether the evidence is of this subject, by any identity by which it is or was known, under any of the
    identity keys.
    """
    values = {str(item.field): bytes.fromhex(item.value) for item in evidence}
    same = same_person if kind is SubjectType.PERSON else same_place
    return any(same(values, subject.identities, key, request_id) for key in keys)
