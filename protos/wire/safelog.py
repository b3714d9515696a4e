"""Structured logs that cannot carry personal data by accident.

Every event is a fixed word with named values. Values are ids, codes, counts and times; exceptions are
logged as their type and the places in the code they passed, because a message or a local variable may
hold a name or an address.
"""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Mapping, MutableMapping
from typing import Any

import structlog

#: Names that must never be keys of a log event, whoever writes it. Their values are replaced.
FORBIDDEN_KEYS = frozenset(
    {
        "name",
        "given_names",
        "family_name",
        "date_of_birth",
        "dob",
        "address",
        "house",
        "street",
        "town",
        "postcode",
        "nhs_number",
        "upn",
        "phone",
        "email",
        "uprn",
        "fields",
        "record",
        "subject",
        "subject_id",
        "payload",
        "passphrase",
        "secret",
        "key",
        "token",
        "necessity",
    }
)


def places_of(error: BaseException) -> list[str]:
    """Where an exception came through, as `file:line function`, innermost last; no values."""
    return [
        f"{frame.filename.rsplit('/', 1)[-1]}:{frame.lineno} {frame.name}"
        for frame in traceback.extract_tb(error.__traceback__)[-12:]
    ]


def redact(_logger: object, _method: str, event: MutableMapping[str, Any]) -> Mapping[str, Any]:
    """A structlog processor: replaces what must not be logged, and exceptions by type and places."""
    for name in event.keys() & FORBIDDEN_KEYS:
        event[name] = "[redacted]"
    failure = event.pop("exc_info", None)
    if failure is True:
        failure = sys.exc_info()[1]
    if isinstance(failure, BaseException):
        event["error"] = type(failure).__name__
        event["places"] = places_of(failure)
    return event


def configure_logging(*, level: str = "info", json_lines: bool = True) -> None:
    """Logs to standard error, one JSON object a line, or in columns for a person."""
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer(sort_keys=True)
        if json_lines
        else structlog.dev.ConsoleRenderer(colors=False)
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            redact,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=False,
    )
