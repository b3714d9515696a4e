"""A relay in memory that can lose connections, deliver twice, and alter what it carries."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field

from protos.wire.errors import ErrorCode, RefusedError, UnavailableError
from protos.wire.relay import IncomingMessage, OutgoingMessage, ToAgency


@dataclass
class RelayHub:
    """Mailboxes by agency; unacknowledged messages come again with every connection."""

    waiting: dict[str, list[IncomingMessage]] = field(default_factory=dict)
    reachable: bool = True
    refuses: ErrorCode | None = None

    def port(self, agency: str) -> RelayPort:
        """The relay as one agency sees it."""
        return RelayPort(self, agency)


@dataclass
class RelayPort:
    hub: RelayHub
    agency: str
    acknowledged: list[str] = field(default_factory=list)

    async def send(self, message: OutgoingMessage) -> bool:
        if not self.hub.reachable:
            raise UnavailableError("the relay is out of reach")
        if self.hub.refuses is not None:
            raise RefusedError(self.hub.refuses, "refused by the test")
        assert isinstance(message.address, ToAgency)
        box = self.hub.waiting.setdefault(message.address.agency, [])
        if any(item.message_id == message.message_id for item in box):
            return True
        box.append(IncomingMessage(message.message_id, self.agency, message.purpose, message.sealed, None))
        return False

    async def receive(self) -> AsyncGenerator[IncomingMessage, None]:
        if not self.hub.reachable:
            raise UnavailableError("the relay is out of reach")
        for item in list(self.hub.waiting.get(self.agency, ())):
            yield item

    async def acknowledge(self, message_ids: Sequence[str]) -> None:
        if not self.hub.reachable:
            raise UnavailableError("the relay is out of reach")
        self.acknowledged += message_ids
        box = self.hub.waiting.get(self.agency, [])
        box[:] = [item for item in box if item.message_id not in message_ids]
