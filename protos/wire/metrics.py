"""Prometheus metrics on a port of their own, off unless configured. Methods, counts, times and codes only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from threading import Thread
from wsgiref.simple_server import WSGIServer

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server


class CallMetrics:
    """Counts a service's calls and shows its state; every name begins with `tallystick_<service>_`."""

    def __init__(self, service: str) -> None:
        self.registry = CollectorRegistry()
        self._prefix = f"tallystick_{service}"
        self._calls = self.counter("calls", "Calls by method and outcome.", labels=("method", "outcome"))
        self._seconds = Histogram(
            f"{self._prefix}_call_seconds", "Time taken by a call.", ("method",), registry=self.registry
        )
        self._server: tuple[WSGIServer, Thread] | None = None

    def observe(self, method: str, outcome: str, seconds: float) -> None:
        """One call that ended: `outcome` is OK or an error code."""
        self._calls.labels(method, outcome).inc()
        self._seconds.labels(method).observe(seconds)

    def gauge(
        self,
        name: str,
        text: str,
        read: Callable[[], float] | None = None,
        *,
        labels: Sequence[str] = (),
    ) -> Gauge:
        """A value that the caller sets, or that is read whenever somebody asks."""
        gauge = Gauge(f"{self._prefix}_{name}", text, labels, registry=self.registry)
        if read is not None:
            gauge.set_function(read)
        return gauge

    def counter(self, name: str, text: str, *, labels: Sequence[str]) -> Counter:
        """What the caller counts; Prometheus sees it as `<name>_total`."""
        return Counter(f"{self._prefix}_{name}", text, labels, registry=self.registry)

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
