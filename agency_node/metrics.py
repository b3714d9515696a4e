"""What a node shows to those who watch over it."""

from __future__ import annotations

from agency_node.sources import ProblemLog
from agency_node.sources.problems import SOURCE_LOSSES
from protos.wire.metrics import CallMetrics


class Metrics(CallMetrics):
    """Counts the control service's calls and shows the node's state."""

    def __init__(self) -> None:
        super().__init__("node")
        self.connected = self.gauge("broker_connected", "1 while the broker can be reached.")
        self.waiting = self.gauge("outbox_messages", "Sealed messages that wait to be sent.")
        self.trust_expires = self.gauge("registry_expires_seconds", "When the registry expires, since 1970.")
        self.uploads = self.counter(
            "uploads", "Uploads that nobody asked for, by outcome.", labels=("linkage", "outcome")
        )
        self._rows_lost = self.gauge(
            "source_rows_lost", "Rows that the last reading left out.", labels=("linkage", "reason")
        )
        self.subjects_kept = self.gauge(
            "subjects_kept",
            "Subjects that the last reading lacked and that were not withdrawn.",
            labels=("linkage",),
        )

    def observe_reading(self, linkage: str, problems: ProblemLog) -> None:
        """What the reading for a linkage had to leave out."""
        lost = problems.lost_by_reason()
        for fault in SOURCE_LOSSES:
            self._rows_lost.labels(linkage, str(fault)).set(lost[fault])
