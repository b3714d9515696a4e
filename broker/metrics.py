"""Prometheus metrics on a loopback port of their own, off unless configured. Methods and codes only."""

from __future__ import annotations

from collections.abc import Callable
from threading import Thread
from wsgiref.simple_server import WSGIServer

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server


class Metrics:
    """Counts calls and shows what waits."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._calls = Counter(
            "tallystick_broker_calls",
            "Calls by method and outcome.",
            ("method", "outcome"),
            registry=self.registry,
        )
        self._seconds = Histogram(
            "tallystick_broker_call_seconds", "Time taken by a call.", ("method",), registry=self.registry
        )
        self._server: tuple[WSGIServer, Thread] | None = None

    def observe(self, method: str, outcome: str, seconds: float) -> None:
        """One call that ended: `outcome` is OK or an error code."""
        self._calls.labels(method, outcome).inc()
        self._seconds.labels(method).observe(seconds)

    def gauge(self, name: str, text: str, read: Callable[[], float]) -> None:
        """A value that is read whenever somebody asks."""
        Gauge(f"tallystick_broker_{name}", text, registry=self.registry).set_function(read)

    def serve(self, address: str) -> int:
        """Serves on `host:port`; returns the port, which the system chooses for 0."""
        host, _, port = address.rpartition(":")
        self._server = start_http_server(int(port), host, self.registry)
        return int(self._server[0].server_port)

    def close(self) -> None:
        """Stops serving."""
        if self._server is not None:
            server, thread = self._server
            server.shutdown()
            server.server_close()
            thread.join()
            self._server = None
