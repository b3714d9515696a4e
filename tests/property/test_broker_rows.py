"""Packed rows give back what was packed, and lose exactly the subjects that are taken out."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from broker.rows import RowLayout, among, handles_of, repeated_rows, subject_count
from broker.store.model import Segment
from protos.wire.linkage import Column, EncodingBatch, check_batch

# Few handles, some alike in their first half, so that they collide.
HANDLES = [bytes([first]) * 8 + bytes([second]) * 8 for first in range(3) for second in range(3)]
LAYOUT = RowLayout((("person", 4), ("place", 2)), ("nhs-dob",))


@st.composite
def batches(draw: st.DrawFn) -> EncodingBatch:
    rows = draw(st.lists(st.tuples(st.sampled_from(HANDLES), st.integers(0, 31)), max_size=12))

    def column(width: int) -> Column:
        present = bytes(draw(st.lists(st.integers(0, 1), min_size=len(rows), max_size=len(rows))))
        held = present.count(1) * width
        return Column(present, draw(st.binary(min_size=held, max_size=held)))

    return EncodingBatch(
        handles=b"".join(handle for handle, _ in rows),
        row_numbers=bytes(number for _, number in rows),
        projections=(column(4), column(2)) if rows else (),
        exact_tokens=(column(32),) if rows else (),
    )


@given(batches())
def test_packed_rows_hold_every_value(batch: EncodingBatch) -> None:
    check_batch(batch, LAYOUT.shape)
    records = LAYOUT.records([Segment(0, "police", batch.rows, LAYOUT.pack(batch))])
    rows = LAYOUT.party_rows("police", records)
    assert rows.handles.tobytes() == batch.handles
    assert rows.row_numbers.tolist() == list(batch.row_numbers)
    if batch.rows:
        for name, column in (("person", batch.projections[0]), ("place", batch.projections[1])):
            assert rows.present[name].astype(np.uint8).tobytes() == column.present
            assert rows.clks[name][rows.present[name]].tobytes() == column.values
        token = batch.exact_tokens[0]
        assert rows.exact["nhs-dob"][rows.exact_present["nhs-dob"]].tobytes() == token.values


@given(batches(), st.sets(st.sampled_from(HANDLES)))
def test_chosen_subjects_are_found(batch: EncodingBatch, chosen: set[bytes]) -> None:
    records = LAYOUT.records([Segment(0, "police", batch.rows, LAYOUT.pack(batch))])
    handles = [batch.handles[at : at + 16] for at in range(0, len(batch.handles), 16)]
    assert among(records, chosen).tolist() == [handle in chosen for handle in handles]
    assert handles_of(records) == set(handles)
    assert subject_count(records) == len(set(handles))
    rows = list(zip(handles, batch.row_numbers, strict=True))
    assert repeated_rows(records) == len(rows) - len(set(rows))
