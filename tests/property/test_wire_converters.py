"""Converters lose nothing, and a batch that does not fit the agreement is refused, however it is wrong."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protos.linkage.v1 import linkage_pb2
from protos.wire import documents, linkage, relay
from protos.wire.errors import ErrorCode, RefusedError
from protos.wire.limits import LIMITS
from protos.wire.linkage import BatchShape, Column, EncodingBatch

SHAPE = BatchShape(clk_bytes=(8, 4), exact_tokens=1)
_sixteen = st.binary(min_size=16, max_size=16)
_times = st.integers(0, 4_000_000_000).map(lambda s: datetime.fromtimestamp(s, UTC))
_ids = st.from_regex(r"[a-z][a-z0-9-]{0,20}", fullmatch=True)


@st.composite
def _columns(draw: st.DrawFn, rows: int, width: int) -> Column:
    present = bytes(draw(st.lists(st.integers(0, 1), min_size=rows, max_size=rows)))
    values = draw(st.binary(min_size=present.count(1) * width, max_size=present.count(1) * width))
    return Column(present, values)


@st.composite
def batches(draw: st.DrawFn) -> EncodingBatch:
    rows = draw(st.integers(1, 6))
    return EncodingBatch(
        handles=draw(st.binary(min_size=16 * rows, max_size=16 * rows)),
        row_numbers=bytes(draw(st.lists(st.integers(0, 31), min_size=rows, max_size=rows))),
        projections=tuple(draw(_columns(rows, width)) for width in SHAPE.clk_bytes),
        exact_tokens=(draw(_columns(rows, 32)),),
        withdrawn=tuple(draw(st.lists(_sixteen, max_size=3))),
    )


@given(batches())
def test_batches_survive_the_wire(batch: EncodingBatch) -> None:
    wire = linkage_pb2.EncodingBatch.FromString(linkage.batch_to_wire(batch).SerializeToString())
    back = linkage.batch_from_wire(wire)
    assert back == batch
    linkage.check_batch(back, SHAPE)


@given(batches(), st.data())
def test_a_batch_with_any_column_cut_or_grown_is_refused(batch: EncodingBatch, data: st.DataObject) -> None:
    damage = data.draw(
        st.sampled_from(["handles", "row", "present", "values", "byte", "projection", "token", "withdrawn"])
    )
    first = batch.projections[0]
    broken = {
        "handles": lambda: replace(batch, handles=batch.handles[:-1]),
        "row": lambda: replace(batch, row_numbers=batch.row_numbers + b"\0"),
        "present": lambda: replace(
            batch, projections=(replace(first, present=first.present + b"\0"), batch.projections[1])
        ),
        "values": lambda: replace(
            batch, projections=(replace(first, values=first.values + b"\0"), batch.projections[1])
        ),
        "byte": lambda: replace(
            batch, projections=(replace(first, present=b"\2" + first.present[1:]), batch.projections[1])
        ),
        "projection": lambda: replace(batch, projections=batch.projections[:1]),
        "token": lambda: replace(batch, exact_tokens=()),
        "withdrawn": lambda: replace(batch, withdrawn=(b"short",)),
    }[damage]()
    with pytest.raises(RefusedError) as caught:
        linkage.check_batch(broken, SHAPE)
    assert caught.value.code in {
        ErrorCode.BATCH_INVALID,
        ErrorCode.WRONG_LENGTH,
        ErrorCode.WRONG_SCHEMA,
    }


def test_over_long_batches_and_subjects_are_refused() -> None:
    rows = LIMITS.rows_per_batch + 1
    with pytest.raises(RefusedError, match=str(LIMITS.rows_per_batch)) as caught:
        linkage.check_batch(EncodingBatch(bytes(16 * rows), bytes(rows)), BatchShape((), 0))
    assert caught.value.code is ErrorCode.TOO_LARGE
    with pytest.raises(RefusedError, match="at most") as caught:
        linkage.check_batch(EncodingBatch(bytes(16), bytes([LIMITS.rows_per_subject])), BatchShape((), 0))
    assert caught.value.code is ErrorCode.TOO_LARGE


@given(
    st.builds(
        linkage.LinkEvent,
        st.integers(1, 2**60),
        st.sampled_from(linkage.LinkEventKind),
        st.builds(
            linkage.Link,
            _sixteen,
            _sixteen,
            _ids,
            st.integers(1, 1000),
            st.sampled_from(linkage.Strength),
            st.none() | _ids,
            st.from_regex(r"[0-9a-f]{64}", fullmatch=True),
            _times,
        ),
    )
)
def test_link_events_survive_the_wire(event: linkage.LinkEvent) -> None:
    assert linkage.link_event_from_wire(linkage.link_event_to_wire(event)) == event


@given(
    st.builds(
        relay.OutgoingMessage,
        st.from_regex(r"[0-9a-f]{32}", fullmatch=True),
        st.builds(relay.ToAgency, _ids) | st.builds(relay.ToLink, _sixteen),
        st.from_regex(r"[a-z][a-z0-9-]{0,39}", fullmatch=True),
        st.binary(min_size=1, max_size=50),
        _times,
    )
)
def test_outgoing_messages_survive_the_wire(message: relay.OutgoingMessage) -> None:
    assert relay.outgoing_from_wire(relay.outgoing_to_wire(message)) == message


@given(
    st.builds(
        relay.IncomingMessage,
        _ids,
        _ids,
        _ids,
        st.binary(max_size=50),
        st.none()
        | st.builds(
            relay.LinkReference, _sixteen, _ids, st.integers(1, 99), st.sampled_from(linkage.Strength)
        ),
    )
)
def test_incoming_messages_survive_the_wire(message: relay.IncomingMessage) -> None:
    assert relay.incoming_from_wire(relay.incoming_to_wire(message)) == message


@given(
    st.sampled_from(documents.DocumentKind),
    st.binary(min_size=1, max_size=20),
    st.lists(st.binary(max_size=20), max_size=4).map(tuple),
    st.lists(st.binary(max_size=20), max_size=4).map(tuple),
)
def test_bundles_survive_the_wire(
    kind: documents.DocumentKind, document: bytes, statements: tuple[bytes, ...], events: tuple[bytes, ...]
) -> None:
    bundle = documents.DocumentBundle(kind, document, statements, events)
    assert documents.bundle_from_wire(documents.bundle_to_wire(bundle)) == bundle


def test_enumerations_unknown_to_this_version_are_refused() -> None:
    with pytest.raises(RefusedError, match="not known"):
        linkage.run_state_from_wire(99)
    with pytest.raises(RefusedError, match="not known"):
        documents.kind_from_wire(99)


def test_secrets_do_not_show() -> None:
    link = linkage.Link(
        b"T" * 16, b"H" * 16, "l", 1, linkage.Strength.STRONG, None, "0" * 64, datetime.now(UTC)
    )
    batch = EncodingBatch(b"H" * 16, b"\0")
    assert "TTTT" not in repr(link)
    assert "HHHH" not in repr(link) + repr(batch)
