"""Any sequence of submissions ends in the groups of one full run."""

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.matching.incremental import MatchState
from broker.matching.model import MatchDelta, MatchSpec, PartyRows, ProjectionSpec
from broker.matching.submission import Withdrawal
from tests.simulator.matching import links

AGENCIES = ("council", "nhs", "police")
BITS = 32
SPEC = MatchSpec(
    projections=(
        ProjectionSpec("rich", BITS, 0.7, 0.8, 0.9),
        ProjectionSpec("short", BITS, 0.8, 0.85, 0.95),
    ),
    exact_tokens=("number",),
)

# Few prototypes with few deviations: many ties, many chains, many pairs near the thresholds.
Row = tuple[int, int, int | None, int | None]
ROWS = st.lists(
    st.tuples(
        st.integers(0, 5),
        st.integers(0, 3),
        st.none() | st.integers(0, 2),
        st.none() | st.integers(0, 3),
    ),
    min_size=1,
    max_size=2,
)
Step = list[tuple[str, str, int, list[Row]]]

NO_ROWS: list[Row] = []
PUT = st.tuples(st.just("put"), st.sampled_from(AGENCIES), st.integers(0, 9), ROWS)
WITHDRAW = st.tuples(st.just("withdraw"), st.sampled_from(AGENCIES), st.integers(0, 9), st.just(NO_ROWS))
STEPS = st.lists(st.lists(PUT | PUT | WITHDRAW, max_size=12), max_size=8)

_PROTOTYPES = np.random.default_rng(5).random((6, BITS)) < 0.4


def _clk(prototype: int, deviation: int) -> bytes:
    bits = _PROTOTYPES[prototype].copy()
    bits[deviation * 5 : deviation * 5 + deviation] ^= True
    return np.packbits(bits).tobytes()


def _handle(agency: str, subject: int) -> bytes:
    # The canonical order must differ from the order of arrival.
    return random.Random(f"{agency}{subject}").randbytes(16)


def _party(agency: str, held: dict[tuple[str, int], list[Row]]) -> PartyRows:
    flat = [
        (_handle(owner, subject), number, row)
        for (owner, subject), rows in held.items()
        if owner == agency
        for number, row in enumerate(rows)
    ]
    count = len(flat)

    def columns(values: list[bytes], width: int) -> np.ndarray[tuple[int, int], np.dtype[np.uint8]]:
        return np.frombuffer(b"".join(values), np.uint8).reshape(count, width)

    def flags(values: list[bool]) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        return np.array(values, np.bool_)

    return PartyRows(
        agency=agency,
        handles=columns([handle for handle, _, _ in flat], 16),
        row_numbers=np.array([number for _, number, _ in flat], np.int64),
        clks={
            "rich": columns([_clk(row[0], row[1]) for _, _, row in flat], BITS // 8),
            "short": columns([_clk(row[2] or 0, 0) for _, _, row in flat], BITS // 8),
        },
        present={
            "rich": np.ones(count, np.bool_),
            "short": flags([row[2] is not None for _, _, row in flat]),
        },
        exact={"number": columns([bytes([row[3] or 0]) * 32 for _, _, row in flat], 32)},
        exact_present={"number": flags([row[3] is not None for _, _, row in flat])},
    )


def _withdrawal(agency: str, subjects: list[int]) -> Withdrawal:
    handles = b"".join(_handle(agency, subject) for subject in subjects)
    return Withdrawal(agency, np.frombuffer(handles, np.uint8).reshape(-1, 16))


def _check_delta(before: MatchState, groups_before: dict[bytes, object], delta: MatchDelta) -> None:
    """The delta, applied to the groups before, gives the groups after; whatever it does not mention kept
    its id."""
    after = {group.id.raw: group for group in before.result().groups}
    expected = dict(groups_before)
    for group in delta.removed:
        assert expected.pop(group.id.raw) == group
    for change in delta.changed:
        assert expected[change.before.id.raw] == change.before
        assert change.before.id == change.after.id
        assert change.before != change.after
        expected[change.after.id.raw] = change.after
    for group in delta.added:
        assert group.id.raw not in expected
        expected[group.id.raw] = group
    assert expected == after


@pytest.mark.parametrize("one_to_one", [True, False])
@given(steps=STEPS, seed=st.integers(0, 2**32))
@settings(max_examples=60, deadline=None)
def test_any_sequence_of_deltas_ends_in_the_groups_of_a_full_run(
    one_to_one: bool, steps: list[Step], seed: int
) -> None:
    spec = MatchSpec(SPEC.projections, SPEC.exact_tokens, one_to_one=one_to_one)
    new_bytes = random.Random(seed).randbytes
    state = MatchState.build(spec, AGENCIES, [], new_bytes=new_bytes)
    held: dict[tuple[str, int], list[Row]] = {}
    for step in steps:
        add: dict[tuple[str, int], list[Row]] = {}
        change: dict[tuple[str, int], list[Row]] = {}
        withdraw: set[tuple[str, int]] = set()
        for kind, agency, subject, rows in step:
            key = (agency, subject)
            if key in add or key in change or key in withdraw:
                continue
            if kind == "put":
                (change if key in held else add)[key] = rows
            elif key in held:
                withdraw.add(key)
        groups_before = {group.id.raw: group for group in state.result().groups}
        delta = state.apply(
            add=[_party(agency, add) for agency in AGENCIES],
            change=[_party(agency, change) for agency in AGENCIES],
            withdraw=[_withdrawal(agency, [s for a, s in withdraw if a == agency]) for agency in AGENCIES],
        )
        held |= add | change
        for key in withdraw:
            del held[key]
        _check_delta(state, dict(groups_before), delta)
    everyone = [_party(agency, held) for agency in AGENCIES]
    full = MatchState.build(spec, AGENCIES, everyone, new_bytes=new_bytes)
    assert links(state.result().groups) == links(full.result().groups)
    assert state.pair_count() == full.pair_count()
    assert state.subject_count() == full.subject_count() == len(held)
    assert state.encoding_count() == full.encoding_count()
    assert (state.fingerprint() == full.fingerprint()).all()


@given(rows=st.dictionaries(st.tuples(st.sampled_from(AGENCIES), st.integers(0, 9)), ROWS, max_size=20))
@settings(max_examples=30, deadline=None)
def test_withdrawing_everyone_and_adding_them_again_gives_the_same_groups(
    rows: dict[tuple[str, int], list[Row]],
) -> None:
    parties = [_party(agency, rows) for agency in AGENCIES]
    state = MatchState.build(SPEC, AGENCIES, parties)
    first = state.result().groups
    everyone = [
        _withdrawal(agency, [subject for owner, subject in rows if owner == agency]) for agency in AGENCIES
    ]
    delta = state.apply(withdraw=everyone)
    assert delta.removed == first
    assert state.encoding_count() == state.pair_count() == state.subject_count() == 0
    assert not state.fingerprint().any()
    state.apply(add=parties)
    assert links(state.result().groups) == links(first)
    assert {group.id for group in first}.isdisjoint(group.id for group in state.result().groups)


@given(rows=st.dictionaries(st.tuples(st.sampled_from(AGENCIES), st.integers(0, 9)), ROWS, max_size=20))
@settings(max_examples=30, deadline=None)
def test_submitting_the_same_rows_again_changes_nothing(rows: dict[tuple[str, int], list[Row]]) -> None:
    parties = [_party(agency, rows) for agency in AGENCIES]
    state = MatchState.build(SPEC, AGENCIES, parties)
    before = state.result()
    assert not state.apply(change=parties)
    assert state.result() == before
