"""Wakes streams when something happened for them, without asking the database again and again."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable

from protos.wire.errors import UnavailableError


class Bell:
    """One bell for each key. Listen first, then look, then wait: nothing is missed in between."""

    def __init__(self) -> None:
        self._events: dict[Hashable, asyncio.Event] = {}
        self._closed = False

    def listen(self, key: Hashable) -> asyncio.Event:
        """What the next ring of this key sets."""
        if self._closed:
            raise UnavailableError("the broker is shutting down; connect again")
        return self._events.setdefault(key, asyncio.Event())

    def ring(self, key: Hashable) -> None:
        """Wakes all who listen to a key."""
        event = self._events.pop(key, None)
        if event is not None:
            event.set()

    def close(self) -> None:
        """Wakes everybody; who listens again is refused, so that streams end before the server does."""
        self._closed = True
        for key in list(self._events):
            self.ring(key)
