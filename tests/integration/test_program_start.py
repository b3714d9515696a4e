"""The program as a process: officers' commands start without databases and compilers; logs are for people."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tallystick.cli import COMMANDS

_HEAVY = ("alembic", "anonlink", "numba", "numpy", "scipy", "sqlalchemy", "structlog")
_QUIET = sorted(name for name, command in COMMANDS.items() if not command.logs)


@pytest.mark.parametrize("name", _QUIET)
def test_what_officers_use_starts_light(name: str) -> None:
    script = (
        "import sys; sys.argv[1:] = [sys.argv[1], 'no-such-command']\n"
        "from tallystick.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        f"print([module for module in {_HEAVY} if module in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, name], capture_output=True, text=True, check=True, timeout=60
    )
    assert "no-such-command" in done.stderr
    assert done.stdout.strip() == "[]"


def test_officers_have_light_commands() -> None:
    assert {"approve", "audit", "officer", "policy", "request", "supervise"} <= set(_QUIET)


def test_a_command_logs_warnings_to_standard_error_and_nothing_else() -> None:
    script = (
        "import sys; sys.argv[1:] = ['node', 'no-such-command']\n"
        "from tallystick.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "import structlog\n"
        "structlog.get_logger().info('unasked')\n"
        "structlog.get_logger().warning('heeded', name='SUSAN')"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == ""
    assert "heeded" in done.stderr
    assert "unasked" not in done.stderr and "SUSAN" not in done.stderr
