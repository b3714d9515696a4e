"""The program does not start on a cryptography library with known holes."""

from __future__ import annotations

import importlib
import importlib.metadata

import pytest

import crypto


@pytest.mark.parametrize("installed", ["40.0.2", "46.9"])
def test_an_old_library_is_refused(installed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.metadata, "version", lambda _: installed)
    with pytest.raises(ImportError, match="too old"):
        importlib.reload(crypto)
    monkeypatch.undo()
    importlib.reload(crypto)
