"""What a node shows to those who watch over it."""

from __future__ import annotations

from protos.wire.metrics import CallMetrics


class Metrics(CallMetrics):
    """Counts the control service's calls and shows the node's state."""

    def __init__(self) -> None:
        super().__init__("node")
        self.connected = self.gauge("broker_connected", "1 while the broker can be reached.")
        self.waiting = self.gauge("outbox_messages", "Sealed messages that wait to be sent.")
        self.trust_expires = self.gauge("registry_expires_seconds", "When the registry expires, since 1970.")
