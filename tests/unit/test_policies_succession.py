"""Which versions of a policy a newer one has ended, and who could end what."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from policies.codec import document_hash
from policies.ids import Hash256, PolicyId
from policies.lifecycle import PolicyState, Stage
from policies.parties import Party
from policies.sharing import SharingPolicy
from policies.succession import is_superseded, stage_among, succeeds
from policies.vocabulary import Capacity
from tests.simulator.policies import CARE, NHS, NOW, POLICE, REFUGE, party, sample_policy

DAY = timedelta(days=1)
FIRST = sample_policy()
OTHER_HASH = Hash256("0" * 64)


def version(number: int, begins: datetime = NOW, **changes: object) -> SharingPolicy:
    """A later version of the sample policy."""
    values = {"supersedes": OTHER_HASH, "version": number, "not_before": begins}
    return sample_policy(**values | changes)


def among(*parties: Party) -> SharingPolicy:
    """The second version, with the same clauses among other parties."""
    providers = tuple(item.agency for item in parties if item.provides)
    recipients = tuple(item.agency for item in parties if item.receives)
    return version(
        2,
        parties=parties,
        clauses=tuple(replace(item, providers=providers, recipients=recipients) for item in FIRST.clauses),
        governance=replace(FIRST.governance, dpo_advice=()),
    )


OVER = version(2, NOW - 300 * DAY, not_after=NOW - DAY, review_by=NOW - 9 * DAY)
ANOTHER = version(2, id=PolicyId("another"), supersedes=Hash256(document_hash(FIRST)))
POLICE_ASK, REFUGE_ASKS = party(POLICE, Capacity.RECIPIENT), party(REFUGE, Capacity.RECIPIENT)
CARE_GIVES, NHS_GIVES = party(CARE, Capacity.PROVIDER), party(NHS, Capacity.PROVIDER)
CASES = [
    ("its own version ends nothing", FIRST, False),
    ("the next version, once its time has come", version(2), True),
    ("not a second sooner", version(2, NOW + timedelta(seconds=1)), False),
    ("for ever: the newer one has expired", OVER, True),
    ("a later version, though one between was never seen", version(7), True),
    ("another policy that names its hash", ANOTHER, False),
    ("without one of its providers", among(POLICE_ASK, CARE_GIVES), False),
    ("none of its parties", among(REFUGE_ASKS, party(POLICE, Capacity.PROVIDER)), False),
    ("a provider only receives now, but has signed",
     among(POLICE_ASK, CARE_GIVES, party(NHS, Capacity.RECIPIENT)), True),
    ("another recipient", among(REFUGE_ASKS, CARE_GIVES, NHS_GIVES), True),
    ("one provider more",
     among(POLICE_ASK, CARE_GIVES, NHS_GIVES, party(REFUGE, Capacity.PROVIDER)), True),
]  # fmt: skip


@pytest.mark.parametrize(("newer", "ended"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_what_a_version_ends(newer: SharingPolicy, ended: bool) -> None:
    assert is_superseded(FIRST, [FIRST, newer], NOW) is ended


def test_no_version_ends_a_later_one() -> None:
    assert not succeeds(FIRST, version(2))
    assert not is_superseded(version(2), [FIRST], NOW)


def test_nothing_that_was_accepted_ends_nothing() -> None:
    assert not is_superseded(FIRST, [], NOW + 10 * DAY)


@pytest.mark.parametrize(
    ("stage", "shown"),
    [
        (Stage.SIGNED, Stage.SUPERSEDED),
        (Stage.SUSPENDED, Stage.SUPERSEDED),
        (Stage.REVOKED, Stage.REVOKED),
    ],
)
def test_superseded_is_what_would_be_in_life(stage: Stage, shown: Stage) -> None:
    state = PolicyState(Hash256(document_hash(FIRST)), stage, 1, NOW)
    assert stage_among(state, FIRST, [FIRST, version(2)], NOW) is shown
    assert stage_among(state, FIRST, [FIRST], NOW + 400 * DAY) in {Stage.EXPIRED, Stage.REVOKED}
