"""What counts as a candidate, by which score and band, and what ends a careless run."""

import numpy as np
import pytest

from broker.matching.candidates import RunControl
from broker.matching.errors import MatchInputError, PairLimitError, UnknownSubjectError
from broker.matching.incremental import MatchState
from broker.matching.model import (
    Band,
    GroupId,
    LinkGroup,
    LookupHit,
    MatchSpec,
    Member,
    PartyRows,
    ProjectionSpec,
    Tie,
)
from broker.matching.submission import Withdrawal
from tests.simulator.matching import (
    links,
    memberships,
    one_projection,
    overlapping_parties,
    party,
    random_clks,
    random_handles,
)

BITS = 128
RNG = np.random.default_rng(3)


def clk(*bits: range) -> np.ndarray[tuple[int, int], np.dtype[np.uint8]]:
    """One encoding ``(1, 16)`` with the bits of some ranges set."""
    flags = np.zeros(BITS, np.uint8)
    for part in bits:
        flags[list(part)] = 1
    return np.packbits(flags).reshape(1, -1)


def row(
    agency: str,
    handle: int,
    *,
    token: int | None = None,
    **clks: np.ndarray[tuple[int, int], np.dtype[np.uint8]],
) -> PartyRows:
    """One row with some of the projections ``wide`` and ``narrow`` and perhaps a token."""
    return PartyRows(
        agency=agency,
        handles=np.full((1, 16), handle, np.uint8),
        row_numbers=np.zeros(1, np.int64),
        clks={name: clks.get(name, clk()) for name in ("wide", "narrow")},
        present={name: np.array([name in clks]) for name in ("wide", "narrow")},
        exact={"number": np.full((1, 32), token or 0, np.uint8)},
        exact_present={"number": np.array([token is not None])},
    )


def spec(*, one_to_one: bool = True, limit: int = 1000) -> MatchSpec:
    return MatchSpec(
        (ProjectionSpec("wide", BITS, 0.6, 0.7, 0.8), ProjectionSpec("narrow", BITS, 0.8, 0.9, 0.95)),
        ("number",),
        one_to_one,
        limit,
    )


def hits(held: list[PartyRows], asked: PartyRows, *, one_to_one: bool = True) -> tuple[LookupHit, ...]:
    by_agency: dict[str, PartyRows] = {}
    for rows in held:
        by_agency[rows.agency] = (
            by_agency[rows.agency].followed_by(rows) if rows.agency in by_agency else rows
        )
    state = MatchState.build(spec(one_to_one=one_to_one), ["a", "b"], by_agency.values())
    return state.lookup(asked)


def test_any_projection_makes_a_candidate() -> None:
    held = row("b", 1, wide=clk(range(40)), narrow=clk(range(20)))
    far, near = clk(range(60, 100)), clk(range(20))
    (hit,) = hits([held], row("a", 9, wide=far, narrow=near))
    assert (hit.member, hit.via, hit.band, hit.score) == (Member("b", b"\1" * 16), "narrow", Band.STRONG, 1.0)
    assert hits([held], row("a", 9, wide=far)) == ()


def test_one_scale_for_all_projections() -> None:
    # Dice .9 is half way from .8 to 1 in the narrow projection: .8 on the wide one's scale, from .6 to 1.
    held = row("b", 1, narrow=clk(range(20)))
    (hit,) = hits([held], row("a", 9, narrow=clk(range(2, 22))))
    assert hit.score == pytest.approx(0.8)
    assert hit.band == Band.PROBABLE
    # The same coefficient in the first projection is the score itself.
    (hit,) = hits([row("b", 1, wide=clk(range(20)))], row("a", 9, wide=clk(range(2, 22))))
    assert hit.score == 36 / 40
    assert hit.band == Band.STRONG


def test_the_best_of_several_rows_counts() -> None:
    former = row("b", 1, wide=clk(range(20)))
    current = row("b", 1, wide=clk(range(60, 80)))
    (hit,) = hits([current, former], row("a", 9, wide=clk(range(2, 22))))
    assert hit.score == 36 / 40


def test_an_absent_encoding_matches_nothing() -> None:
    # Absent columns are all zeros, as are empty encodings, and must not be compared.
    assert hits([row("b", 1)], row("a", 9)) == ()
    assert hits([row("b", 1, wide=clk(range(9)))], row("a", 9, narrow=clk(range(9)))) == ()


def test_an_equal_token_is_a_strong_candidate_without_any_encoding() -> None:
    (hit,) = hits([row("b", 1, token=5), row("b", 2, token=6)], row("a", 9, token=5))
    assert (hit.member.handle, hit.via, hit.band, hit.score) == (b"\1" * 16, "number", Band.STRONG, 1.0)


def test_tokens_alone_are_enough_for_a_linkage() -> None:
    tokens_only = MatchSpec((), ("number",))
    state = MatchState.build(tokens_only, ["a", "b"], [row("a", 1, token=5)])
    (group,) = state.apply(add=[row("b", 2, token=5)]).added
    assert [member.handle[0] for member in group.members] == [1, 2]
    assert group.band(*group.members) == Band.STRONG


def test_lookup_searches_other_agencies_and_with_duplicates_the_own_one() -> None:
    held = [row("a", 1, token=5), row("a", 2, token=5), row("b", 3, token=5)]
    asked = row("a", 1, token=5)
    assert [hit.member for hit in hits(held, asked)] == [Member("b", b"\3" * 16)]
    both = {hit.member for hit in hits(held, asked, one_to_one=False)}
    assert both == {Member("a", b"\2" * 16), Member("b", b"\3" * 16)}


def test_lookup_puts_the_strongest_first_and_keeps_nothing() -> None:
    close, closer = clk(range(3, 23)), clk(range(1, 21))
    state = MatchState.build(
        spec(), ["a", "b"], [row("b", 1, wide=close).followed_by(row("b", 2, wide=closer))]
    )
    before = state.fingerprint().copy()
    found = state.lookup(row("a", 9, wide=clk(range(20))))
    assert [hit.member.handle[0] for hit in found] == [2, 1]
    assert (state.fingerprint() == before).all()
    assert state.subject_count() == 2


def test_duplicates_within_an_agency_join_a_group_only_where_the_agreement_says_so() -> None:
    a = row("a", 1, wide=clk(range(20))).followed_by(row("a", 2, wide=clk(range(1, 21))))
    b = row("b", 3, wide=clk(range(20)))
    one = MatchState.build(spec(), ["a", "b"], [a, b]).result().groups
    assert memberships(one) == {frozenset({("a", b"\1" * 16), ("b", b"\3" * 16)})}
    (group,) = MatchState.build(spec(one_to_one=False), ["a", "b"], [a, b]).result().groups
    assert [member.handle[0] for member in group.members] == [1, 2, 3]
    pairs = [(first.handle[0], second.handle[0]) for first, second, _ in group.pairs()]
    assert pairs == [(1, 3), (2, 3)]


def test_members_whom_only_likely_ties_connect_are_probable_and_never_strong() -> None:
    # 1 and 2 share nothing, 3 has rows like both: with duplicates, half of the pairs is enough.
    a = row("a", 1, wide=clk(range(20))).followed_by(row("a", 2, wide=clk(range(60, 80))))
    b = row("b", 3, wide=clk(range(20))).followed_by(row("b", 3, wide=clk(range(60, 80))))
    (group,) = MatchState.build(spec(one_to_one=False), ["a", "b"], [a, b]).result().groups
    first, second, third = group.members
    assert group.band(first, second) == Band.PROBABLE
    assert group.band(third, first) == Band.STRONG
    assert len(group.ties) == 2


def test_one_weak_step_makes_an_indirect_link_possible() -> None:
    members = tuple(Member(agency, bytes([number]) * 16) for number, agency in enumerate("abc"))
    group = LinkGroup(GroupId(bytes(16)), members, (Tie(0, 1, Band.STRONG), Tie(1, 2, Band.POSSIBLE)))
    strengths = {(one.agency, other.agency): band for one, other, band in group.pairs()}
    assert strengths == {("a", "b"): Band.STRONG, ("b", "c"): Band.POSSIBLE, ("a", "c"): Band.POSSIBLE}


def test_a_low_threshold_ends_in_a_clear_error() -> None:
    rng = np.random.default_rng(1)
    parties = [party(name, random_handles(rng, 400), random_clks(rng, 400)) for name in "ab"]
    with pytest.raises(PairLimitError) as caught:
        MatchState.build(one_projection(0.05, limit=5000), ["a", "b"], parties)
    assert 5000 < caught.value.found <= caught.value.estimated
    message = str(caught.value)
    assert "'person'" in message
    assert "over the limit of 5,000" in message
    assert "max_candidate_pairs" in message


def test_a_token_that_everybody_has_ends_in_a_clear_error() -> None:
    def rows(agency: str) -> PartyRows:
        many = row(agency, 0, token=7).take(np.zeros(100, np.int64))
        many.handles[:, 0] = np.arange(100)
        return many

    with pytest.raises(PairLimitError, match=r"exact token 'number'.*10,000.*limit of 1,000"):
        MatchState.build(spec(), ["a", "b"], [rows("a"), rows("b")])
    with pytest.raises(PairLimitError, match=r"exact token 'number'.*4,950.*limit of 1,000"):
        MatchState.build(spec(one_to_one=False), ["a"], [rows("a")])


def test_a_submission_over_the_limit_leaves_the_state_as_it_was() -> None:
    rng = np.random.default_rng(2)
    a, b = (party(name, random_handles(rng, 60), random_clks(rng, 60)) for name in "ab")
    state = MatchState.build(one_projection(0.05, limit=3000), ["a", "b"], [a])
    before = state.fingerprint().copy()
    with pytest.raises(PairLimitError):
        state.apply(add=[b])
    assert (state.fingerprint() == before).all()
    assert not state.holds("b", b.handles).any()
    assert state.subject_count() == 60
    few = b.take(np.arange(10, dtype=np.int64))
    state.apply(add=[few])
    assert state.holds("b", few.handles).all()


def test_the_groups_of_chosen_subjects() -> None:
    parties = overlapping_parties(np.random.default_rng(4), [50, 50, 50])
    state = MatchState.build(one_projection(0.6), ["a", "b", "c"], parties)
    groups = state.result().groups
    for group in groups[:5]:
        member = group.members[0]
        handle = np.frombuffer(member.handle, np.uint8).reshape(1, 16)
        assert state.groups_of({member.agency: handle}) == (group,)
    assert state.groups_of({"a": parties[0].handles}) == tuple(g for g in groups if "a" in g.agencies)
    assert state.groups_of({"a": random_handles(RNG, 2)}) == ()


def test_submissions_that_make_no_sense_are_refused() -> None:
    state = MatchState.build(spec(), ["a", "b"], [row("a", 1)])
    handle = np.full((1, 16), 1, np.uint8)
    with pytest.raises(MatchInputError, match="are held"):
        state.apply(add=[row("a", 1)])
    with pytest.raises(UnknownSubjectError, match="1 of the subjects named for agency 'a'"):
        state.apply(change=[row("a", 2)])
    with pytest.raises(UnknownSubjectError):
        state.apply(withdraw=[Withdrawal("b", handle)])
    with pytest.raises(MatchInputError, match="changes and withdraws"):
        state.apply(change=[row("a", 1)], withdraw=[Withdrawal("a", handle)])
    with pytest.raises(MatchInputError, match="twice"):
        state.apply(add=[row("a", 2), row("a", 3)])
    with pytest.raises(MatchInputError, match="'z' takes no part"):
        state.apply(add=[row("z", 2)])
    with pytest.raises(MatchInputError, match="shape"):
        state.apply(withdraw=[Withdrawal("a", handle[:, :5])])
    with pytest.raises(MatchInputError, match="clks of 'wide' should have shape"):
        state.lookup(party("a", handle, clk(range(3))))


def test_no_value_shows_handles_or_encodings_in_its_repr() -> None:
    rows = row("a", 65, wide=clk(range(9)), token=66)
    other = row("b", 67, wide=clk(range(9)), token=66)
    state = MatchState.build(spec(), ["a", "b"], [rows, other], new_bytes=bytes)
    result = state.result()
    for value in (rows, result, *result.groups, Withdrawal("a", rows.handles), state):
        shown = repr(value)
        assert " at 0x" not in shown  # an address is different each time, and may look like anything
        for handle_or_token in ("AAAA", "4141", "65 65", "65, 65", "BBBB", "4242", "66 66", "66, 66"):
            assert handle_or_token not in shown
    assert repr(state) == "MatchState(2 subjects, 1 pairs)"


def test_folding_now_and_then_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    parties = overlapping_parties(np.random.default_rng(8), [120, 130], people=60)
    # Every subject twice, so that there is something to fold.
    parties = [rows.followed_by(rows) for rows in parties]
    whole = MatchState.build(one_projection(0.5), ["a", "b"], parties)
    monkeypatch.setattr("broker.matching.sink.FOLD_EVERY", 10)
    control = RunControl(block_rows=20)
    often = MatchState.build(one_projection(0.5), ["a", "b"], parties, control=control)
    assert often.pair_count() == whole.pair_count() > 100
    assert links(often.result().groups) == links(whole.result().groups)
