"""Whether a mailbox has room for one more message: pure rules over how full it is.

No sender fills another agency's mailbox: each has a share. A part is kept for what must arrive whatever else
waits, and no sender fills that part either, for a purpose is the sender's word only.
"""

from __future__ import annotations

from broker.store.model import MailboxLoad
from protos.wire.limits import Limits


def has_room(everything: MailboxLoad, own: MailboxLoad, size: int, *, urgent: bool, limits: Limits) -> bool:
    """Whether `size` more sealed bytes of one sender fit.

    `everything` is what waits in the mailbox, `own` the sender's part of it.
    """
    return _fits(
        everything.messages, own.messages, 1, limits.waiting_messages, limits.sender_messages, urgent, limits
    ) and _fits(
        everything.sealed_bytes,
        own.sealed_bytes,
        size,
        limits.waiting_bytes,
        limits.sender_bytes,
        urgent,
        limits,
    )


def _fits(everything: int, own: int, more: int, whole: int, floor: int, urgent: bool, limits: Limits) -> bool:
    kept = whole // limits.urgent_one_in
    open_to_all, share = whole - kept, max(whole // limits.one_sender_in, floor)
    if urgent:
        open_to_all, share = whole, share + max(kept // limits.one_sender_in, more)
    return everything + more <= open_to_all and own + more <= share
