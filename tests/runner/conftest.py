from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator
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
