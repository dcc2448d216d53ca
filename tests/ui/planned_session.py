"""A session in the middle of its plan, held by a runner, for tests of what steers it."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
from recorded_session import FakeClock, Recording

from pdconsole.journal import SessionDir
from pdconsole.model import events as ev
from pdconsole.model.grid import Grid, GridNode
from pdconsole.model.layout import parse_layout
from pdconsole.model.placement import place
from pdconsole.model.plan import ExperimentPlan, RunPlan, planned_run
from pdconsole.model.request import Call, Reply, RunRequest
from pdconsole.model.workload import MeasurePolicy, Point, Workload

LAYOUTS = ("1P-TP2+2D-TP2", "2P-TP2+1D-TP4", "4xTP2", "8xTP1")
LEVELS = (4, 8, 16, 32, 48, 64)
GRID = Grid((GridNode(name="node1", slots=8), GridNode(name="node2", slots=8)))


def a_plan(layouts: tuple[str, ...] = LAYOUTS, first: int = 1) -> ExperimentPlan:
    workload = Workload(name="itl5000-otl250", input_len=5000, output_len=250)
    runs = []
    for i, text in enumerate(layouts, first):
        layout = parse_layout(text)
        runs.append(
            RunPlan(
                id=str(i),
                placement=place(layout, GRID, "pack"),
                network="cuda-ipc",
                workload=workload,
                points=tuple(Point("concurrency", float(n)) for n in LEVELS),
                result_dir=f"gptoss_itl5000_otl250_mixed_pack-cuda-ipc_{layout.slug}",
            )
        )
    return ExperimentPlan(
        experiment="pd-ratio-sweep",
        question="which ratio wins?",
        cluster="embedded",
        model="gpt-oss-120b",
        simulated=True,
        policy=MeasurePolicy(),
        runs=tuple(runs),
    )


def opened(plan: ExperimentPlan) -> ev.SessionOpened:
    return ev.SessionOpened(
        session="s",
        experiment=plan.experiment,
        question=plan.question,
        cluster=plan.cluster,
        model=plan.model,
        simulated=True,
        runs=tuple(planned_run(run) for run in plan.runs),
    )


def write_session(root: Path, clock: FakeClock) -> Recording:
    """One layout done with a flag and a skipped point, the second in the window of its second
    point, two that wait."""
    root.mkdir(exist_ok=True)
    recording = Recording(root, clock)
    plan = a_plan()
    recording.directory.write_meta(
        {
            "status": "running",
            "plan": msgspec.to_builtins(plan),
            "request": msgspec.to_builtins(
                RunRequest(experiment="pd-ratio-sweep", command="pdconsole run pd-ratio-sweep")
            ),
        }
    )
    recording.add(
        opened(plan),
        ev.EpochOpened(epoch=1, pid=1),
        ev.SessionState(status="running"),
        ev.NodeLink(node="node1", status="up"),
    )
    recording.launch("1", ("P1", "D1", "D2"))
    for level in LEVELS[:5]:
        flags = ("few-requests: 16 requests",) if level == 16 else ()
        recording.point("1", f"conc{level}", flags=flags, window_s=10)
    recording.add(
        ev.PointState(run="1", point="conc64", status="skipped", message="skipped by an operator")
    )
    recording.end_run("1")
    recording.launch("2", ("P1", "P2", "D1"))
    recording.point("2", "conc4", window_s=10)
    recording.begin_point("2", "conc8")
    for _ in range(4):
        recording.second("2", "conc8", "warmup")
    recording.add(ev.PointState(run="2", point="conc8", status="window", target_s=10.0))
    for _ in range(4):
        recording.second("2", "conc8", "window")
    recording.journal.flush()
    return recording


@contextmanager
def held(directory: SessionDir) -> Iterator[None]:
    """As a runner holds a session that it carries out."""
    fd = os.open(directory.path / ".runner.lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(fd, fcntl.LOCK_EX)
    try:
        yield
    finally:
        os.close(fd)


class Runner:
    """Stands for the runner: remembers calls, answers each command with what `answers` holds."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.answers: dict[str, Reply] = {}

    def call(self, call: Call) -> Reply:
        from pdconsole.runner.client import RunnerError

        self.calls.append(call)
        reply = self.answers.get(call.command, Reply(session="s"))
        if reply.error:
            raise RunnerError(reply.error)
        return reply

    def close(self) -> None:
        return None

    def of(self, command: str) -> list[Call]:
        return [call for call in self.calls if call.command == command]
