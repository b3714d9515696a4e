"""Versions in any order and at any time: what is over stays over, and the newest that began is left."""

from __future__ import annotations

from datetime import datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from policies.ids import Hash256, PolicyId
from policies.sharing import SharingPolicy
from policies.succession import is_superseded
from tests.simulator.policies import NOW, sample_policy

DAY = timedelta(days=1)


def _version(number: int, begins: int, name: str) -> SharingPolicy:
    return sample_policy(
        id=PolicyId(name),
        version=number,
        supersedes=Hash256("0" * 64) if number > 1 else None,
        not_before=NOW + begins * DAY,
        not_after=NOW + (begins + 200) * DAY,
        review_by=NOW + (begins + 100) * DAY,
    )


versions = st.lists(
    st.builds(_version, st.integers(1, 5), st.integers(-9, 9), st.sampled_from(["one-policy", "another"])),
    min_size=1,
    max_size=7,
    unique_by=lambda item: (item.id, item.version),
)
days = st.integers(-10, 400).map(lambda count: NOW + count * DAY)


@given(versions, days, st.integers(0, 400))
def test_what_is_over_stays_over(held: list[SharingPolicy], now: datetime, later: int) -> None:
    for policy in held:
        if is_superseded(policy, held, now):
            assert is_superseded(policy, held, now + later * DAY)


@given(versions, days, st.data())
def test_no_document_that_comes_brings_one_back(
    held: list[SharingPolicy], now: datetime, data: st.DataObject
) -> None:
    some = data.draw(st.lists(st.sampled_from(held), unique_by=id))
    for policy in held:
        if is_superseded(policy, some, now):
            assert is_superseded(policy, held, now)


@given(versions, days)
def test_of_those_that_began_the_newest_of_each_policy_is_left(
    held: list[SharingPolicy], now: datetime
) -> None:
    begun = [item for item in held if item.not_before <= now]
    left = [item for item in begun if not is_superseded(item, held, now)]
    newest = {name: max(item.version for item in begun if item.id == name) for name in {i.id for i in begun}}
    assert {item.id: item.version for item in left} == newest
