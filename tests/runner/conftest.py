from __future__ import annotations

import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from runner_case import RunnerCase

from pdconsole.profiles import Profiles
from pdconsole.sim.embedded import stop_embedded


@pytest_asyncio.fixture
async def case(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[RunnerCase]:
    # A short path: UNIX sockets hold 108 bytes.
    root = Path(tempfile.mkdtemp(prefix="pdr-"))
    for name in ("w", "r"):
        (root / name).mkdir(mode=0o700)
    monkeypatch.setenv("PDCONSOLE_RUNTIME_DIR", str(root / "r"))
    made = RunnerCase(root / "w")
    try:
        yield made
    finally:
        await made.runner.wind_up()
        await stop_embedded(Profiles.open(root / "w").cluster("embedded"))
        shutil.rmtree(root, ignore_errors=True)


@pytest.fixture
def heard_signals() -> Iterator[None]:
    """TERM and HUP as they are by default, also where the tests run under nohup."""
    numbers = (signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, signal.SIG_DFL) for number in numbers}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
