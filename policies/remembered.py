"""What follows from bytes alone, remembered for bytes that come again, up to so many bytes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from threading import Lock
from typing import Generic, TypeVar

V = TypeVar("V")


class Remembered(Generic[V]):
    """Values by the bytes that they follow from; those used longest ago are forgotten first.

    `most_bytes`: of all keys together. One longer than an eighth of that is not remembered.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most = most_bytes
        self._held: OrderedDict[tuple[type, bytes], V] = OrderedDict()
        self._bytes = 0
        self._lock = Lock()

    def of(self, kind: type, data: bytes, make: Callable[[], V]) -> V:
        """The value for `data` as a `kind`: what `make` gives, now or earlier. Its errors are not kept."""
        key = (kind, data)
        with self._lock:
            if key in self._held:
                self._held.move_to_end(key)
                return self._held[key]
        value = make()
        if len(data) <= self._most // 8:
            with self._lock:
                if key not in self._held:
                    self._held[key] = value
                    self._bytes += len(data)
                while self._bytes > self._most:
                    (_, oldest), _ = self._held.popitem(last=False)
                    self._bytes -= len(oldest)
        return value

    @property
    def held_bytes(self) -> int:
        """How many bytes the keys take now."""
        return self._bytes
