"""The relay between the simulated nodes of disclosure, out of reach at times, or losing acknowledgements."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field

from protos.wire.errors import UnavailableError
from protos.wire.relay import IncomingMessage, OutgoingMessage
from tests.simulator.disclosure_nodes import SimNode, World


@dataclass
class WaitingRelay:
    """One sender's relay: it keeps what it accepts until the test lets the recipient have it."""

    world: World
    sender: SimNode
    reachable: bool = True
    loses_acknowledgements: bool = False
    #: Every message that was ever accepted, by its id.
    accepted: dict[str, OutgoingMessage] = field(default_factory=dict)
    waiting: list[OutgoingMessage] = field(default_factory=list)

    async def send(self, message: OutgoingMessage) -> bool:
        if not self.reachable:
            raise UnavailableError("the relay is out of reach")
        known = message.message_id in self.accepted
        if not known:
            self.accepted[message.message_id] = message
            self.waiting.append(message)
        if self.loses_acknowledgements:
            raise UnavailableError("the connection was lost")
        return known

    def receive(self) -> AsyncGenerator[IncomingMessage, None]:
        raise AssertionError("messages are handed over")

    async def acknowledge(self, message_ids: Sequence[str]) -> None:
        if not self.reachable:
            raise UnavailableError("the relay is out of reach")

    async def deliver(self) -> int:
        """Sends what is due, and lets the recipient have it; returns how many messages it took."""
        await self.sender.mailbox.send_due(self)
        return await self.hand_over()

    async def hand_over(self) -> int:
        """Lets the recipient have what was accepted."""
        messages, self.waiting = self.waiting, []
        return sum([await self.world.hand_over(self.sender, message) for message in messages])

    @property
    def purposes(self) -> list[str]:
        """Of every message that was accepted, in order."""
        return [message.purpose for message in self.accepted.values()]
