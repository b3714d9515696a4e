"""A release is kept only if it answers the very request that was made."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from agency_node.disclosure.asks import require_fitting
from policies.disclosure import DisclosureRelease, ReleasedRecord
from policies.ids import DocumentId, FieldName, FieldValue, Hash256, LinkTokenText, RecordType
from protos.wire.errors import ErrorCode, RefusedError
from tests.simulator.disclosures import REQUEST, disclosure_documents
from tests.simulator.policies import CARE, NHS, POLICE

(RELEASE,) = (item for item in disclosure_documents() if isinstance(item, DisclosureRelease))


def record(record_type: str, field: str) -> ReleasedRecord:
    fields = {FieldName(field): FieldValue("...")}
    return ReleasedRecord(DocumentId("record-00bb"), RecordType(record_type), fields)


def test_the_answer_fits() -> None:
    require_fitting(RELEASE, REQUEST, POLICE, CARE)


@pytest.mark.parametrize(
    "changed",
    [
        replace(RELEASE, provider=NHS),
        replace(RELEASE, recipient=NHS),
        replace(RELEASE, policy_hash=Hash256("0" * 64)),
        replace(RELEASE, link_token=LinkTokenText("b" * 26)),
        replace(RELEASE, released_at=REQUEST.created - timedelta(minutes=6)),
        replace(RELEASE, records=(*RELEASE.records, record("incident", "risk_band"))),
        replace(RELEASE, records=(record("risk_assessment", "summary"),)),
    ],
    ids=[
        "provider", "recipient", "policy", "token", "older than the request", "another field",
        "another record type",
    ],
)  # fmt: skip
def test_anything_else_does_not(changed: DisclosureRelease) -> None:
    with pytest.raises(RefusedError) as refused:
        require_fitting(changed, REQUEST, POLICE, CARE)
    assert refused.value.code is ErrorCode.REQUEST_INVALID
