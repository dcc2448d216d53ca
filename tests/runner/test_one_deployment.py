"""A layout that is deployed for one command."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Any

import pytest

import pdconsole.runner.one_deployment as one
from pdconsole.profiles import Profiles, shipped_profiles
from pdconsole.remote.errors import RemoteError
from pdconsole.runner.one_deployment import deployed, to_the_end, wanted
from pdconsole.runner.validate import WORKLOAD
from pdconsole.serving.errors import DeploymentError


class LostNodes:
    """They answer at first, and cannot be ended."""

    def __init__(self, *_: Any, **__: Any) -> None:
        self.clients: dict[str, Any] = {}

    async def open(self) -> dict[str, Any]:
        return {}

    async def end(self) -> list[RemoteError]:
        return [RemoteError("local", "unreachable", "it does not come back")]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
@pytest.mark.usefixtures("heard_signals")
def test_a_command_that_is_told_to_end_takes_down_what_it_deployed(number: int) -> None:
    undone = []

    async def work() -> None:
        try:
            os.kill(os.getpid(), number)
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.01)
            undone.append(number)

    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt):
        to_the_end(work())
    assert undone == [number]
    assert signal.getsignal(number) is before


async def nothing(*_: Any, **__: Any) -> None:
    return


async def not_stopped(*_: Any, **__: Any) -> None:
    raise DeploymentError("Run validate could not be stopped everywhere.", node="local")


async def test_what_is_left_on_nodes_does_not_hide_the_cause(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said: list[str] = []
    monkeypatch.setattr(one, "SessionNodes", LostNodes)
    monkeypatch.setattr(one.deployment, "start", nothing)
    monkeypatch.setattr(one.deployment, "stop", not_stopped)
    asked = wanted(
        Profiles.open(shipped_profiles().parent),
        "validate",
        layout="1P-TP1+1D-TP1",
        cluster="local-cpu",
        model="tiny",
        network="shm",
        placement="pack",
        ignore_checks=True,
        workload=WORKLOAD,
        say=said.append,
    )
    with pytest.raises(DeploymentError, match="P1 ran out of memory"):
        async with deployed(asked):
            raise DeploymentError("P1 ran out of memory", node="local")
    assert "Run validate could not be stopped everywhere." in said
    assert any("it does not come back" in line for line in said)
    with pytest.raises(DeploymentError, match="could not be stopped"):
        async with deployed(asked):
            pass
