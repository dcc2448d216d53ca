"""When a runner ends by itself, and what it takes on while it does."""

from __future__ import annotations

from pathlib import Path

import pytest

from pdconsole.model.request import Call, RunRequest
from pdconsole.runner import daemon
from pdconsole.runner.daemon import Runner


async def test_a_runner_that_is_asked_again_and_again_is_not_idle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr(daemon.time, "monotonic", lambda: now)
    runner = Runner(tmp_path, idle_s=60.0)
    for _ in range(3):  # as a console asks, with a connection for each call
        now += 50.0
        await runner.handle(Call(command="hello"))
        assert not runner._idle_for_long()
    now += 61.0
    assert runner._idle_for_long()


async def test_a_runner_that_ends_begins_no_session(tmp_path: Path) -> None:
    runner = Runner(tmp_path)
    await runner.wind_up()
    reply = await runner.handle(Call(command="run", run=RunRequest(experiment="pd-ratio-sweep")))
    assert "the runner is ending" in reply.error
    assert not (tmp_path / "sessions").exists()
