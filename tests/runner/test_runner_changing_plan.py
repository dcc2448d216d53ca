"""A session whose plan changes under it, and the resume that goes on with the changed plan."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import yaml
from runner_case import RunnerCase

from pdconsole.journal import read_events
from pdconsole.model import events as ev
from pdconsole.model.request import PlacedLayout, Reply, RunRequest
from pdconsole.model.state import State, fold
from pdconsole.runner.session_checks import SessionChecks

pytestmark = pytest.mark.slow


def quick(*layouts: str, **rest: Any) -> RunRequest:
    placed = tuple(PlacedLayout(layout=layout) for layout in layouts)
    levels: dict[str, Any] = {"concurrency": (2,), "min_window_s": 1.0, **rest}
    return RunRequest(experiment="pd-ratio-sweep", placed=placed, **levels)


def state_of(case: RunnerCase) -> State:
    return fold(read_events(case.session() / "events.jsonl"))


def order(state: State) -> list[tuple[str, str]]:
    return [(run.id, run.plan.layout) for run in state.runs]


def run_state(run: str, status: str) -> Any:
    def seen(events: list[ev.Event]) -> bool:
        return any(
            isinstance(e, ev.RunState) and (e.run, e.status) == (run, status) for e in events
        )

    return seen


@pytest.fixture(autouse=True)
def small_requests(case: RunnerCase) -> None:
    case.change("workloads", "itl5000-otl250", input_len=500, output_len=25)


async def test_reorder_add_and_skip_while_it_runs(case: RunnerCase) -> None:
    await case.ask("run", run=quick("1xTP1", "1xTP2", "1xTP4"))
    await case.recorded(run_state("1", "launching"))
    await case.ask("reorder", runs=("3", "2"))
    # On the node that nothing of the session used so far.
    far = PlacedLayout(strategy="manual", manual="P1=node2:0 D1=node2:1")
    await case.ask("add", placed=(far,))
    await case.ask("skip", scope="layout", runs=("2",))

    assert "has begun" in await case.refused("reorder", runs=("1", "3"))
    assert "no run 9" in await case.refused("skip", scope="layout", runs=("9",))
    assert "TP3x" in await case.refused("add", placed=(PlacedLayout(layout="1P-TP3x"),))
    across = PlacedLayout(layout="1P-TP2+1D-TP2", strategy="spread")
    assert "cuda-ipc" in await case.refused("add", placed=(across,))

    def of_far(reply: Reply) -> bool:
        assert reply.survey is not None
        return reply.survey.nodes[1].gpus[0].holder.startswith("P1 of ")

    before = (await case.ask("survey", cluster="embedded")).survey
    assert before is not None
    assert before.nodes[1].link == "closed"
    assert before.nodes[0].gpus[0].owner == "ours"
    await case.until(of_far, "survey", cluster="embedded", timeout_s=120.0)

    assert await case.ended() == "finished"
    state = state_of(case)
    assert order(state) == [("1", "1xtp1"), ("3", "1xtp4"), ("2", "1xtp2"), ("4", "p1xtp1-d1xtp1")]
    assert {run.id: run.status for run in state.runs} == {
        "1": "done",
        "2": "skipped",
        "3": "done",
        "4": "done",
    }
    launched = [
        e.run for e in case.events() if isinstance(e, ev.RunState) and e.status == "launching"
    ]
    assert launched == ["1", "3", "4"]
    checked = {(e.node, e.check) for e in case.events() if isinstance(e, ev.CheckResult)}
    assert ("node2", "gpus-free") in checked
    assert {"node1", "node2"} == set(case.meta()["nodes"])
    assert "nothing is running" in await case.refused("add", placed=(far,))


async def test_a_layout_skipped_in_a_pause_goes_down_and_the_pause_stays(case: RunnerCase) -> None:
    def paused(message: str) -> Any:
        def seen(events: list[ev.Event]) -> bool:
            return any(
                isinstance(e, ev.SessionState) and (e.status, e.message) == ("paused", message)
                for e in events
            )

        return seen

    await case.ask("run", run=quick("1xTP1", "1xTP2", concurrency=(2, 3)))
    assert "no layout is under way" in await case.refused("skip", scope="layout")
    await case.recorded(run_state("1", "measuring"))
    await case.ask("pause")
    await case.recorded(paused("between points"))
    await case.ask("skip", scope="layout")
    await case.recorded(paused("between layouts"))
    state = state_of(case)
    assert [run.status for run in state.runs] == ["skipped", "pending"]
    assert {view.state.status for view in state.processes.values()} == {"stopped"}
    assert "no layout is under way" in await case.refused("skip", scope="layout")
    await case.ask("unpause")
    assert await case.ended() == "finished"
    assert [run.status for run in state_of(case).runs] == ["skipped", "done"]


async def test_an_added_layout_can_be_skipped_while_its_nodes_are_looked_at(
    case: RunnerCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    looking, go_on = asyncio.Event(), asyncio.Event()

    async def slow(*_: object) -> None:
        looking.set()
        await go_on.wait()

    monkeypatch.setattr(SessionChecks, "look_anew", slow)
    await case.ask("run", run=quick("1xTP1"))
    await case.ask("add", placed=(PlacedLayout(layout="1xTP2"),))
    await looking.wait()
    await case.ask("skip", scope="layout", runs=("2",))
    go_on.set()
    assert await case.ended() == "finished"
    assert [run.status for run in state_of(case).runs] == ["done", "skipped"]


async def test_a_resume_carries_out_the_changed_plan(case: RunnerCase) -> None:
    await case.ask("run", run=quick("1xTP1", "1xTP2"))
    await case.recorded(run_state("1", "launching"))
    await case.ask("add", placed=(PlacedLayout(layout="2xTP1"),))
    await case.ask("reorder", runs=("3", "2"))
    await case.ask("stop")
    assert await case.ended() == "stopped"
    asked = case.meta()
    assert [run["id"] for run in asked["plan"]["runs"]] == ["1", "3", "2"]
    assert "--layout=1xTP1@pack" in asked["command"]

    await case.ask("resume", session=case.session().name)
    assert await case.ended() == "finished"
    state = state_of(case)
    assert order(state) == [("1", "1xtp1"), ("3", "2xtp1"), ("2", "1xtp2")]
    assert [run.status for run in state.runs] == ["done"] * 3


async def test_a_change_that_only_reached_the_file_is_recorded_by_the_resume(
    case: RunnerCase,
) -> None:
    """As when the runner dies between the two."""
    await case.ask("run", run=quick("1xTP1", "1xTP2"))
    await case.recorded(run_state("1", "launching"))
    await case.ask("reorder", runs=("2",))
    await case.ask("stop", now=True)
    await case.ended()
    path = case.session() / "events.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(line for line in lines if b'"plan.changed"' not in line))
    meta_path = case.session() / "session.yaml"
    swapped = case.meta()
    swapped["plan"]["runs"].reverse()
    meta_path.write_text(yaml.safe_dump(swapped, sort_keys=False))
    await case.ask("resume", session=case.session().name)
    assert await case.ended() == "finished"
    assert [run.id for run in state_of(case).runs] == ["2", "1"]


async def test_checks_again_while_it_runs_are_recorded(case: RunnerCase) -> None:
    await case.ask("run", run=quick("1xTP1"))
    await case.recorded(run_state("1", "launching"))

    def disks() -> int:
        return sum(isinstance(e, ev.CheckResult) and e.check == "disk" for e in case.events())

    assert disks() == 1
    first = await case.ask("check", cluster="embedded", node="node1", check="disk", again=True)
    assert first.checking is not None
    assert first.checking.busy
    assert {r.check for r in first.checking.results} > {"disk", "gpus-free"}
    await case.recorded(lambda _: disks() == 2)
    others = [e for e in case.events() if isinstance(e, ev.CheckResult) and e.check == "python"]
    assert len(others) == 1
    await case.ask("stop")
    await case.ended()
