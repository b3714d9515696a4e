"""From what is told to what may be told: unchanged links keep their tokens, and nothing else is out."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from broker.store.model import Subject, TokenRecord
from broker.telling import LEASE_STEP, Existence, Told, lease_end, lease_number, reconcile
from protos.wire.linkage import LinkEventKind, Strength

UNTIL = datetime(2027, 1, 1, tzinfo=UTC)


@st.composite
def links(draw: st.DrawFn) -> Told:
    """One of a few links, so that two drawings overlap."""
    recipient, counterpart = draw(st.permutations(["care", "nhs", "police"]))[:2]
    return Told(
        Subject(recipient, bytes([draw(st.integers(0, 1))]) * 16),
        Subject(counterpart, bytes([draw(st.integers(0, 1))]) * 16),
        draw(st.sampled_from(Strength)),
        Existence(
            draw(st.sampled_from("ab")) * 64,
            UNTIL + timedelta(days=draw(st.integers(0, 1))),
            UNTIL - timedelta(days=draw(st.integers(0, 1))),
            draw(st.booleans()),
        ),
    )


told_sets = st.lists(links(), unique_by=lambda item: item.key)


def applied(told: list[Told], held: list[TokenRecord], epoch: int) -> list[TokenRecord]:
    """The tokens that are out afterwards, having checked the change."""
    change = reconcile("line", epoch, told, held, secrets.token_bytes)
    after = {item.token: item for item in held}
    for item in change.gone:
        del after[item.token]
    after |= {item.token: item for item in change.put}
    kinds = {event.link.token: event.kind for event in change.events}
    assert len(kinds) == len(change.events) == len(change.put) + len(change.gone)
    assert list(kinds) == sorted(kinds)
    before = {item.token for item in held}
    for item in change.put:
        expected = LinkEventKind.CHANGED if item.token in before else LinkEventKind.TOLD
        assert kinds[item.token] is expected
    assert all(kinds[item.token] is LinkEventKind.RECALLED for item in change.gone)
    return list(after.values())


def key_of(item: TokenRecord) -> tuple[str, Subject, Subject]:
    return (item.policy_hash, item.recipient, item.counterpart)


@given(told_sets, told_sets)
def test_what_is_out_is_what_may_be_told(first: list[Told], second: list[Told]) -> None:
    held = applied(first, [], 1)
    after = applied(second, held, 2)
    assert {key_of(item) for item in after} == {item.key for item in second}
    earlier = {key_of(item): item.token for item in held}
    for item in after:
        if key_of(item) in earlier:
            assert item.token == earlier[key_of(item)]
    wanted = {item.key: item for item in second}
    for item in after:
        told = wanted[key_of(item)]
        assert (item.strength, item.expires, item.told_until, item.named) == (
            told.strength,
            told.existence.expires,
            told.existence.told_until,
            told.existence.named,
        )
    assert not reconcile("line", 2, second, after, secrets.token_bytes).events


@given(told_sets)
def test_a_withheld_name_is_in_nothing_that_is_told(told: list[Told]) -> None:
    for item in applied(told, [], 1):
        link = item.link()
        assert link.expires == item.told_until
        if item.named:
            assert (link.counterpart, link.policy_hash) == (item.counterpart.agency, item.policy_hash)
        else:
            assert (link.counterpart, link.policy_hash) == (None, "")


moments = st.datetimes(datetime(2026, 1, 1), datetime(2028, 1, 1), timezones=st.just(UTC))


@given(moments, moments, moments)
def test_a_lease_says_nothing_of_which_policy_it_is(now: datetime, one: datetime, other: datetime) -> None:
    for end in (one, other):
        assert lease_end(now, end) <= end
    if min(one, other) > now + 2 * LEASE_STEP + timedelta(days=1):
        assert lease_end(now, one) == lease_end(now, other)
        assert now + LEASE_STEP < lease_end(now, one) <= now + 2 * LEASE_STEP
    later = now + LEASE_STEP
    assert lease_number(later) == lease_number(now) + 1
    assert lease_end(later, one) >= lease_end(now, one)
