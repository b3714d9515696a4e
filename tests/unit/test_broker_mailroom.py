"""Who may still put how much into a mailbox."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agency_node.mailbox import PURPOSES
from broker.mailroom import has_room
from broker.store.model import MailboxLoad
from protos.wire.limits import LIMITS
from protos.wire.relay import URGENT_PURPOSES

FEW = replace(
    LIMITS,
    waiting_messages=1000,
    waiting_bytes=100_000,
    one_sender_in=10,
    sender_messages=20,
    sender_bytes=500,
    urgent_one_in=10,
)


@pytest.mark.parametrize(
    ("waiting", "own", "ordinary", "urgent"),
    [
        (0, 0, True, True),
        (99, 99, True, True),
        (100, 100, False, True),  # its share is used up; a little more is urgent
        (110, 110, False, False),
        (899, 0, True, True),
        (900, 0, False, True),  # what is left is kept for what is urgent
        (999, 9, False, True),
        (1000, 0, False, False),
    ],
)
def test_messages(waiting: int, own: int, ordinary: bool, urgent: bool) -> None:
    everything, mine = MailboxLoad(waiting, 0), MailboxLoad(own, 0)
    assert has_room(everything, mine, 1, urgent=False, limits=FEW) is ordinary
    assert has_room(everything, mine, 1, urgent=True, limits=FEW) is urgent


@pytest.mark.parametrize(
    ("waiting", "own", "size", "ordinary", "urgent"),
    [
        (0, 0, 10_000, True, True),
        (0, 0, 10_001, False, True),
        (0, 10_000, 1_000, False, True),
        (0, 10_999, 2, False, False),
        (89_990, 0, 10, True, True),
        (89_991, 0, 10, False, True),
        (99_991, 0, 10, False, False),
    ],
)
def test_bytes(waiting: int, own: int, size: int, ordinary: bool, urgent: bool) -> None:
    everything, mine = MailboxLoad(1, waiting), MailboxLoad(1, own)
    assert has_room(everything, mine, size, urgent=False, limits=FEW) is ordinary
    assert has_room(everything, mine, size, urgent=True, limits=FEW) is urgent


def test_a_small_mailbox_is_shared_by_the_floor() -> None:
    tiny = replace(FEW, waiting_messages=30)
    assert has_room(MailboxLoad(19, 0), MailboxLoad(19, 0), 1, urgent=False, limits=tiny)
    assert not has_room(MailboxLoad(20, 0), MailboxLoad(20, 0), 1, urgent=False, limits=tiny)


def test_the_largest_message_fits_into_every_share() -> None:
    none = MailboxLoad(0, 0)
    for urgent in (False, True):
        assert has_room(none, none, LIMITS.sealed_bytes, urgent=urgent, limits=LIMITS)
    assert LIMITS.waiting_bytes // LIMITS.urgent_one_in // LIMITS.one_sender_in >= LIMITS.sealed_bytes


def test_what_is_urgent_is_a_purpose_of_nodes() -> None:
    assert URGENT_PURPOSES < PURPOSES
