"""The console in a world of its own: no settings of whoever runs the tests, one time zone."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pdconsole.runner.client import RunnerError
from pdconsole.ui import runner_calls


@pytest.fixture(autouse=True)
def own_world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("CONFIG", "STATE"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(tmp_path / "xdg" / name.lower()))
    for name in ("NO_COLOR", "LC_ALL", "LC_CTYPE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LANG", "C.UTF-8")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    for name in ("connect", "connect_or_start"):
        monkeypatch.setattr(runner_calls, name, _no_runner)
    yield
    monkeypatch.undo()
    time.tzset()


def _no_runner(_workspace: Path) -> None:
    """Screens that ask the runner by themselves must start none here."""
    raise RunnerError("there is no runner in this test")
