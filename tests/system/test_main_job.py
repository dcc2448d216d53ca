"""The main job as its users do it: the command, real ssh, the embedded cluster, files."""

from __future__ import annotations

import json
import os
import signal

import pytest
from console import Console

from pdconsole.model import events as ev
from pdconsole.model.stages import CLIENT, ROUTER, STAGES, TOLD, path_of, window_means
from pdconsole.model.state import State, reduce

pytestmark = pytest.mark.slow

SMALL = (
    "pd-ratio-sweep",
    "--quick",
    "--layout=1P-TP2+2D-TP2",
    "--layout=2xTP2",
    "--concurrency=2",
    "--concurrency=4",
    "--min-window=2",
)


def window_open(point: str, run: str = "1"):  # type: ignore[no-untyped-def]
    def seen(events: list[ev.Event]) -> bool:
        return any(
            isinstance(e, ev.PointState) and (e.run, e.point, e.status) == (run, point, "window")
            for e in events
        )

    return seen


def pids_of(console: Console, run: str) -> dict[str, int]:
    return {
        token.split("/")[2]: pid
        for pid, token in console.ours().items()
        if token.split("/")[1] == run and not token.split("/")[2].startswith("driver")
    }


def stages_are_told(events: list[ev.Event]) -> None:
    """Of each request what its server knows; of the window what all replicas know together."""
    state = State()
    divided = 0
    for event in events:
        state = reduce(state, event)
        if isinstance(event, ev.RequestFinished) and not event.error:
            assert set(event.stages_ms) == set(TOLD)
            told = sum(event.stages_ms.values())
            assert event.ttft_ms is not None
            assert told < event.ttft_ms
        if isinstance(event, ev.PointResult):
            run = state.run(event.run)
            assert run is not None
            path = path_of(run.plan)
            means = window_means(state, event.run, event.point, path)
            assert set(STAGES[path]) - set(means.ms) == {CLIENT, ROUTER}
            # What is left for client, router and the way is a smaller part of the whole.
            assert means.ttft_ms is not None
            assert 0 < sum(means.ms.values()) < 1.2 * means.ttft_ms
            divided += 1
    assert divided == 4


def test_two_layouts_by_two_points(console: Console) -> None:
    running = console.start("run", *SMALL, "--json")
    console.wait_for(window_open("conc2"))
    watcher = console.start("watch", "--plain")
    out, err = running.communicate(timeout=240)
    assert running.returncode == 0, err
    watched, _ = watcher.communicate(timeout=30)
    assert watcher.returncode == 0
    assert "c=4 done" in watched
    assert "(simulated)" in watched

    summary = json.loads(out)
    assert summary["status"] == "finished"
    assert summary["simulated"] is True
    results = console.workspace / "bm_results"
    for run in summary["runs"]:
        assert [p["status"] for p in run["points"]] == ["done", "done"]
        directory = results / run["result_dir"]
        for point in ("conc2", "conc4"):
            document = json.loads((directory / f"{point}.json").read_text())
            assert document["completed"] == run["points"][point == "conc4"]["result"]["completed"]
            assert document["median_ttft_ms"] > 0
            assert document["pdconsole"]["simulated"] is True
            assert (directory / "requests" / f"{point}.parquet").stat().st_size > 0
    assert console.ours() == {}
    stages_are_told(console.events())

    listed = json.loads(console.run("sessions", "--json").stdout)
    assert [s["status"] for s in listed] == ["finished"]
    compared = console.run("compare", str(results))
    assert compared.returncode == 0
    assert "p1xtp2-d2xtp2" in compared.stdout
    again = console.run("watch", "--plain")
    assert again.returncode == 0
    assert "session finished" in again.stdout


def test_a_killed_runner_loses_its_workers_by_lease_and_resume_finishes(console: Console) -> None:
    console.small_requests()
    console.change("clusters", "embedded", lease_s=6.0)
    assert console.run("run", *SMALL, "--detach").returncode == 0
    console.wait_for(window_open("conc4"))
    assert console.ours()
    os.kill(console.runner_pid(), signal.SIGKILL)

    broken = console.run("watch", "--plain")
    assert broken.returncode == 5
    assert "--resume" in broken.stdout
    deadline = 200
    while console.ours() and deadline:
        deadline -= 1
        signal.sigtimedwait([], 0.1)
    assert console.ours() == {}, "the lease did not end them"

    resumed = console.run("run", "--resume", console.session().name, "--json")
    assert resumed.returncode == 0, resumed.stderr
    summary = json.loads(resumed.stdout)
    assert [p["status"] for r in summary["runs"] for p in r["points"]] == ["done"] * 4
    # The point that was whole before the kill was not measured again.
    whole = [e for e in console.events() if isinstance(e, ev.PointResult) and e.point == "conc2"]
    assert len([e for e in whole if e.run == "1"]) == 1
    assert len(list((console.workspace / "bm_results").iterdir())) == 2
    assert console.ours() == {}


def test_a_resume_within_the_lease_takes_the_workers_over(console: Console) -> None:
    console.small_requests()
    assert console.run("run", *SMALL, "--detach").returncode == 0
    console.wait_for(window_open("conc2"))
    before = pids_of(console, "1")
    assert {"P1", "D1", "D2", "router"} <= set(before)
    os.kill(console.runner_pid(), signal.SIGKILL)
    assert console.run("run", "--resume", console.session().name, "--detach").returncode == 0
    console.wait_for(window_open("conc4"))
    assert pids_of(console, "1") == before
    stopped = console.run("stop")
    assert stopped.returncode == 0
    assert console.run("watch", "--plain").returncode == 4
    assert console.ours() == {}


@pytest.mark.parametrize("presses", [1, 2])
def test_ctrl_c_leaves_nothing_running(console: Console, presses: int) -> None:
    console.small_requests()
    running = console.start("run", *SMALL)
    console.wait_for(window_open("conc2"))
    for _ in range(presses):
        running.send_signal(signal.SIGINT)
    out, _ = running.communicate(timeout=60)
    assert running.returncode == 4, out
    assert console.ours() == {}
    listed = json.loads(console.run("sessions", "--json").stdout)
    assert [s["status"] for s in listed] == ["stopped"]


def test_pause_skip_and_one_session_at_a_time(console: Console) -> None:
    console.small_requests()
    assert console.run("run", *SMALL, "--detach").returncode == 0
    console.wait_for(window_open("conc2"))
    second = console.run("run", *SMALL)
    assert second.returncode == 1
    assert "is running in this workspace" in second.stderr
    assert console.run("pause").returncode == 0
    console.wait_for(
        lambda events: any(isinstance(e, ev.SessionState) and e.status == "paused" for e in events)
    )
    assert console.run("skip", "--layout").returncode == 0
    assert console.run("resume").returncode == 0
    followed = console.run("watch", "--plain", "--from-start")
    assert followed.returncode == 0, followed.stdout
    points = {(e.run, e.point): e.status for e in console.events() if isinstance(e, ev.PointState)}
    assert points == {
        ("1", "conc2"): "done",
        ("1", "conc4"): "skipped",
        ("2", "conc2"): "done",
        ("2", "conc4"): "done",
    }
