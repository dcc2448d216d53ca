"""Opens the console under Textual's pilot on a made-up workspace, with a clock that tests move."""

from __future__ import annotations

import json
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from recorded_session import FakeClock, Recording
from textual.pilot import Pilot

from pdconsole.model import events as ev
from pdconsole.ui.app import ConsoleApp
from pdconsole.ui.runner_calls import Connect, connect_runner

END = math.inf
EVIL = "\x1b[31mred\x1b[0m [bold]not bold[/bold] \x07\u202eabc [@click=app.quit]q[/]"


class Case:
    """The app, its pilot, and what is on the screen."""

    def __init__(self, app: ConsoleApp, pilot: Pilot[None], clock: FakeClock) -> None:
        self.app = app
        self.pilot = pilot
        self.clock = clock

    async def settle(self) -> None:
        """Until nothing is under way, and what came of it is shown."""
        for _ in range(3):
            await self.pilot.pause()
            await self.app.workers.wait_for_complete()
        await self.pilot.pause()
        self.app.tick()
        await self.pilot.pause()
        while self.app.going_on:
            await self.pilot.pause()

    async def press(self, *keys: str) -> None:
        await self.pilot.press(*keys)
        await self.settle()

    async def pass_time(self, seconds: float) -> None:
        self.clock.tick(seconds)
        await self.settle()

    @property
    def lines(self) -> list[str]:
        return [s.text.rstrip() for s in self.app.screen._compositor.render_strips()]

    @property
    def text(self) -> str:
        return "\n".join(self.lines)


@asynccontextmanager
async def opened_console(
    workspace: Path,
    *,
    session: str | None = None,
    at: float | None = END,
    size: tuple[int, int] = (120, 40),
    clock: FakeClock | None = None,
    connect: Connect = connect_runner,
) -> AsyncIterator[Case]:
    clock = clock or FakeClock()
    app = ConsoleApp(
        workspace, open_session=session, at=at, clock=clock, ticks=False, connect=connect
    )
    async with app.run_test(size=size) as pilot:
        case = Case(app, pilot, clock)
        await case.settle()
        yield case


def a_workspace(root: Path) -> Path:
    """Two recorded sessions, one of them with checks and logs, and results of two layouts."""
    root.mkdir(exist_ok=True)
    clock = FakeClock()
    first = Recording(root, clock)
    first.open()
    first.add(*CHECKS)
    write_logs(first.directory.path / "logs" / "node1")
    first.launch("1", ("P1", "D1", "D2"))
    first.point("1", "conc4")
    first.end_run("1")
    first.add(ev.SessionState(status="finished"))
    first.journal.close()
    first.directory.write_meta({"status": "finished", "command": "pdconsole run pd-ratio-sweep"})
    clock.tick(3600.0)
    second = Recording(root, clock)
    second.open()
    second.add(ev.SessionState(status="failed", message="D1 did not start"))
    second.journal.close()
    second.directory.write_meta({"status": "failed", "message": "D1 did not start"})
    write_results(root / "bm_results")
    return root


CHECKS = (
    ev.CheckResult(node="node1", check="reachable", verdict="ok", value="vm", hard=True),
    ev.CheckResult(
        node="node1", check="clock", verdict="warn", value="9 ms [red]off[/red]", threshold="5 ms",
        advice="start chrony",
    ),
    ev.CheckResult(
        node="node2", check="gpus-free", verdict="fail", value="GPU 3 is used by pid 77",
        threshold="free", advice="end it", hard=True,
    ),
    ev.CheckResult(node="node2", check="disk", verdict="ok", value="80 GiB free"),
)  # fmt: skip


def write_logs(directory: Path) -> None:
    """FakeClock begins at 2027-01-15 08:00:00 UTC; node clocks are an hour ahead of it."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "1-P1.log").write_text(
        "(APIServer pid=7) INFO 01-15 09:00:01 [api_server.py] P1 starts\n"
        "(APIServer pid=7) WARNING 01-15 09:00:04 [worker.py] P1 is slow\n"
        "(APIServer pid=7) ERROR 01-15 09:00:06 [core.py] P1 failed\n"
        "Traceback (most recent call last):\n"
        '  File "core.py", line 1\n'
        "(APIServer pid=7) INFO 01-15 09:00:08 [core.py] P1 goes on\n"
    )
    (directory / "1-D1.log").write_text(
        "(APIServer pid=8) INFO 01-15 09:00:02 [api_server.py] D1 starts\n"
        f"(APIServer pid=8) INFO 01-15 09:00:05 [worker.py] {EVIL}\n"
        "(APIServer pid=8) INFO 01-15 09:00:09 [launcher.py] D1 is up\n"
    )


def write_results(directory: Path) -> None:
    for slug, factor in (("p1xtp2-d2xtp2", 1.0), ("4xtp2", 1.5)):
        run = directory / f"gptoss_itl5000_otl250_mixed_pack-cuda-ipc_{slug}"
        run.mkdir(parents=True)
        for load in (4, 8):
            document = {
                "duration": 200 / factor / load, "completed": 100, "failed": 0,
                "max_concurrency": load,
                "request_throughput": factor * load / 2, "output_throughput": factor * load * 125,
                "total_token_throughput": factor * load * 2625,
                "total_input_tokens": 500000, "total_output_tokens": 25000,
                "median_ttft_ms": 100.0 * load / factor, "p99_ttft_ms": 200.0 * load / factor,
                "median_tpot_ms": 5.0 + load / factor, "p99_tpot_ms": 6.0 + load / factor,
                "median_e2el_ms": 1500.0 + load, "model_id": "openai/gpt-oss-120b",
            }  # fmt: skip
            (run / f"conc{load}.json").write_text(json.dumps(document))
