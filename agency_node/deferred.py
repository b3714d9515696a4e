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
    """One message that waits: since when, how often it was tried over this connection, and when it is due."""

    incoming: IncomingMessage
    since: datetime
    tries: int = 0
    #: On the clock that `DeferredMessages` is given, in seconds.
    due: float = 0.0


class DeferredMessages:
    """What waits, by sender and message id. Times in seconds are of a clock that never goes back."""

    def __init__(self) -> None:
        self._held: dict[tuple[str, str], Deferred] = {}
        self._by_sender: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._held)

    def hold(self, incoming: IncomingMessage, now: datetime, seconds: float, share: int) -> Deferred | None:
        """The message after one more try that came too early; None where its sender's `share` is full."""
        key = _key(incoming)
        held = self._held.get(key)
        if held is None:
            if self._by_sender[incoming.sender] >= share or len(self) >= DEFERRED_AT_MOST:
                return None
            held = self._held[key] = Deferred(incoming, now)
            self._by_sender[incoming.sender] += 1
        held.due = seconds + min(_RETRY_MOST, _RETRY_FIRST * 2.0 ** min(held.tries, 10))
        held.tries += 1
        return held

    def release(self, incoming: IncomingMessage) -> None:
        """The message waits no more."""
        if self._held.pop(_key(incoming), None) is not None:
            self._by_sender[incoming.sender] -= 1

    def due(self, seconds: float) -> list[IncomingMessage]:
        """Some of the messages to try again now, those first that are due longest."""
        due = sorted((item for item in self._held.values() if item.due <= seconds), key=lambda item: item.due)
        return [item.incoming for item in due[:_TRIED_AT_ONCE]]

    def hurry(self) -> None:
        """What they wait for may have come: all are due now."""
        for item in self._held.values():
            item.due = 0.0

    def connection_ended(self) -> None:
        """What a message waits for cannot have come meanwhile: its tries are counted anew."""
        for item in self._held.values():
            item.tries = 0


def _key(incoming: IncomingMessage) -> tuple[str, str]:
    return incoming.sender, incoming.message_id
