"""Prometheus metrics, off unless configured. Counts, times and codes only."""

from __future__ import annotations

from threading import Thread
from wsgiref.simple_server import WSGIServer

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server


class Metrics:
    """Counts the control service's calls and shows the node's state."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._calls = Counter(
            "tallystick_node_calls",
            "Calls on the control socket by method and outcome.",
            ("method", "outcome"),
            registry=self.registry,
        )
        self._seconds = Histogram(
            "tallystick_node_call_seconds", "Time taken by a call.", ("method",), registry=self.registry
        )
        self.connected = self._gauge("broker_connected", "1 while the broker can be reached.")
        self.waiting = self._gauge("outbox_messages", "Sealed messages that wait to be sent.")
        self.trust_expires = self._gauge("registry_expires_seconds", "When the registry expires, since 1970.")
        self._server: tuple[WSGIServer, Thread] | None = None

    def observe(self, method: str, outcome: str, seconds: float) -> None:
        """One call that ended: `outcome` is OK or an error code."""
        self._calls.labels(method, outcome).inc()
        self._seconds.labels(method).observe(seconds)

    def serve(self, host: str, port: int) -> int:
        """Serves on an address; returns the port, which the system chooses for 0. OSError if it is taken."""
        self._server = start_http_server(port, host, self.registry)
        return int(self._server[0].server_port)

    def close(self) -> None:
        """Stops serving."""
        if self._server is not None:
            server, thread = self._server
            server.shutdown()
            server.server_close()
            thread.join()
            self._server = None

    def _gauge(self, name: str, text: str) -> Gauge:
        return Gauge(f"tallystick_node_{name}", text, registry=self.registry)
