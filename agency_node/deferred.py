"""Messages that wait aside for another try: no sender takes another's place, and each has its own next try.

They are still unacknowledged at the broker, so nothing is lost when the node ends.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime

from protos.wire.relay import IncomingMessage

#: For all senders together, shared out evenly among the agencies of the registry.
DEFERRED_AT_MOST = 1_000
#: How many are tried again at once, and how soon, in seconds: doubled with every try.
_TRIED_AT_ONCE = 50
_RETRY_FIRST, _RETRY_MOST = 0.5, 60.0


@dataclass(slots=True)
class Deferred:
    """One message that waits: since when, how often it was tried over this connection, and when it is due.

    Only tries that its own patience made due are counted, not those that it was hurried to.
    """

    incoming: IncomingMessage
    since: datetime
    tries: int = 0
    #: On the clock that `DeferredMessages` is given, in seconds.
    due: float = 0.0
    hurried: bool = False


class DeferredMessages:
    """What waits, by sender and message id. Times in seconds are of a clock that never goes back."""

    def __init__(self) -> None:
        self._held: dict[tuple[str, str], Deferred] = {}
        self._by_sender: Counter[str] = Counter()
        #: How often `hurry` was called.
        self.hurries = 0

    def __len__(self) -> int:
        return len(self._held)

    def hold(
        self, incoming: IncomingMessage, now: datetime, seconds: float, share: int, hurries: int
    ) -> Deferred | None:
        """The message after one more try that came too early; None where its sender's `share` is full.

        `hurries`: what it was when that try began.
        """
        key = _key(incoming)
        held = self._held.get(key)
        if held is None:
            if self._by_sender[incoming.sender] >= share or len(self) >= DEFERRED_AT_MOST:
                return None
            held = self._held[key] = Deferred(incoming, now)
            self._by_sender[incoming.sender] += 1
        held.tries += not held.hurried
        held.due = seconds + min(_RETRY_MOST, _RETRY_FIRST * 2.0 ** min(max(held.tries - 1, 0), 10))
        held.hurried = False
        if hurries != self.hurries:
            _hurry(held, seconds)
        return held

    def release(self, incoming: IncomingMessage) -> None:
        """The message waits no more."""
        if self._held.pop(_key(incoming), None) is not None:
            self._by_sender[incoming.sender] -= 1

    def due(self, seconds: float) -> list[IncomingMessage]:
        """Some of the messages to try again now, those first that are due longest."""
        due = sorted((item for item in self._held.values() if item.due <= seconds), key=lambda item: item.due)
        return [item.incoming for item in due[:_TRIED_AT_ONCE]]

    def hurry(self, seconds: float) -> None:
        """What they wait for may have come: all are due now, those first that were not hurried before."""
        self.hurries += 1
        for item in self._held.values():
            _hurry(item, seconds)

    def connection_ended(self) -> None:
        """What a message waits for cannot have come meanwhile: its tries are counted anew."""
        for item in self._held.values():
            item.tries = 0


def _hurry(item: Deferred, seconds: float) -> None:
    if seconds < item.due:
        item.due, item.hurried = seconds, True


def _key(incoming: IncomingMessage) -> tuple[str, str]:
    return incoming.sender, incoming.message_id
