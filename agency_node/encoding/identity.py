"""Identity evidence: proof in a disclosure request that both agencies mean the same person, field by field.

The requester sends, for each identifying field that it holds,

::

    HMAC-SHA-256(identity key, frame("tallystick/identity/v1", request id, field, value))

with :func:`crypto.derive.frame`. The provider computes the same over every identity of the linked subject
and counts the fields on which they agree. The request id keeps evidence of two requests from being
compared. The key is shared by the agencies of the linkage, so evidence hides values from the relay, not
from the provider.

``value`` is the normalised value, made forgiving where agencies write one truth in two ways: of
``given_names`` the first name only; of ``date_of_birth`` the year, then the smaller and the larger of day and
month (``1986 04 07``), because swapping them is the commonest slip.
"""

import hmac
from collections.abc import Iterable, Mapping

from agency_node.subjects import Identity
from crypto.derive import frame

EVIDENCE_FIELDS = ("given_names", "family_name", "date_of_birth", "postcode", "nhs_number")
"""The fields that evidence is given for, each worth one agreement."""


def identity_evidence(identity: Identity, key: bytes, request_id: str) -> dict[str, bytes]:
    """Evidence of one identity: 32 bytes for every field of :data:`EVIDENCE_FIELDS` that it has.

    ``key`` is ``EncodingKeys.identity``.
    """
    return {
        field: _evidence(field, value, key, request_id)
        for field in EVIDENCE_FIELDS
        if (value := _forgiving(field, identity.fields.get(field, "")))
    }


def agreeing_fields(
    evidence: Mapping[str, bytes], identities: Iterable[Identity], key: bytes, request_id: str
) -> frozenset[str]:
    """The fields on which the evidence agrees with at least one identity of a subject; its length is the
    count.

    Evidence for other fields than :data:`EVIDENCE_FIELDS` agrees with nothing.
    """
    agreeing = set()
    for identity in identities:
        for field, own in identity_evidence(identity, key, request_id).items():
            if hmac.compare_digest(own, evidence.get(field, b"")):
                agreeing.add(field)
    return frozenset(agreeing)


def _forgiving(field: str, value: str) -> str:
    if field == "given_names":
        return value.partition(" ")[0]
    if field == "date_of_birth" and value:
        year, *day_and_month = value.split("-")
        return " ".join((year, *sorted(day_and_month)))
    return value


def _evidence(field: str, value: str, key: bytes, request_id: str) -> bytes:
    return hmac.digest(key, frame("tallystick/identity/v1", request_id, field, value), "sha256")
