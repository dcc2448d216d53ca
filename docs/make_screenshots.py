"""Makes the pictures of the README: a real session on the embedded cluster, seen by the console.

    python docs/make_screenshots.py [DIRECTORY]

Takes about five minutes on two idle cores. The workspace, the runner and the simulated nodes are
its own and are gone afterwards. The pictures are the console's own screenshots, as ctrl+s writes
them.
"""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from textual.pilot import Pilot

from pdconsole.ui.app import ConsoleApp

HERE = Path(__file__).parent
SIZE = (120, 40)
LAYOUTS = ("1P-TP2+3D-TP2", "2P-TP2+1D-TP4", "4xTP2")
LEVELS = (4, 8, 16, 32)
STEP_S = 0.5


class Photographer:
    """Opens screens of a running console and writes what they show."""

    def __init__(self, app: ConsoleApp, pilot: Pilot[None], directory: Path) -> None:
        self._app = app
        self._pilot = pilot
        self._directory = directory

    async def take(self, name: str, screen: str, *keys: str) -> None:
        self._app.action_show(screen)
        await self._settle()
        await self._pilot.press(*keys)
        await self._settle()
        self._app.action_dismiss()
        await self._pilot.pause()
        path = self._directory / f"{name}.svg"
        path.write_text(smaller(self._app.export_screenshot(title="pdconsole")), "utf-8")
        print(f"{path}  {path.stat().st_size / 1e3:.0f} kB", file=sys.stderr)

    async def wait_for(self, what: str, there: Callable[[], bool]) -> None:
        print(f"waiting until {what}", file=sys.stderr)
        while not there():
            await self._pilot.pause(STEP_S)

    async def _settle(self) -> None:
        # Surveys, files and lists are read beside the screen.
        for _ in range(6):
            await self._pilot.pause(STEP_S)


async def take_all(workspace: Path, directory: Path) -> None:
    placing = ConsoleApp(workspace)
    async with placing.run_test(size=SIZE) as pilot:
        photographer = Photographer(placing, pilot, directory)
        await photographer.take("placing", "grid", *"2pp4d")
    session = run(workspace)
    console = ConsoleApp(workspace, open_session=session)
    async with console.run_test(size=SIZE) as pilot:
        photographer = Photographer(console, pilot, directory)

        def second_layout_is_loaded() -> bool:
            points = console.state.runs[1].points if len(console.state.runs) > 1 else ()
            return any(p.id == "conc16" and p.status == "window" for p in points)

        await photographer.wait_for("the second layout is loaded", second_layout_is_loaded)
        await photographer.take("live", "live")
        await photographer.take("experiment", "experiment")
        await photographer.take("grid", "grid")
        await photographer.wait_for("it has finished", lambda: console.state.status == "finished")
        await photographer.take("compare", "compare")


def smaller(svg: str) -> str:
    """The same picture in half the bytes: short ids, and spaces as themselves."""
    return re.sub(r"terminal-\d+", "t", svg).replace("&#160;", "\xa0")


def run(workspace: Path) -> str:
    """Begin the session; its name."""
    words = ["run", "pd-ratio-sweep", "--quick", "--detach", "--min-window=10"]
    words += [f"--layout={layout}" for layout in LAYOUTS]
    words += [f"--concurrency={level}" for level in LEVELS]
    pdconsole(workspace, *words)
    return max(path.name for path in (workspace / "sessions").iterdir())


def pdconsole(workspace: Path, *words: str) -> None:
    command = [sys.executable, "-m", "pdconsole", "-w", str(workspace), *words]
    subprocess.run(command, check=True, stdout=sys.stderr)


def main() -> None:
    directory = Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "screenshots"
    directory.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="pdshots-") as root:
        home, workspace = Path(root), Path(root) / "pd"
        for name in ("XDG_CONFIG_HOME", "XDG_STATE_HOME", "PDCONSOLE_RUNTIME_DIR"):
            path = home / name.lower()
            path.mkdir(mode=0o700)
            os.environ[name] = str(path)
        os.environ.update(PDCONSOLE_RUNNER_IDLE_S="5", LANG="C.UTF-8", TZ="UTC")
        os.environ.pop("NO_COLOR", None)
        time.tzset()
        workspace.mkdir()
        pdconsole(workspace, "init", str(workspace))
        try:
            asyncio.run(take_all(workspace, directory))
        finally:
            subprocess.run(
                [sys.executable, "-m", "pdconsole", "-w", str(workspace), "stop", "--now"],
                check=False,
                capture_output=True,
            )
            time.sleep(10.0)  # the runner and its nodes leave by themselves


if __name__ == "__main__":
    main()
