"""The Experiment screen: its tables, every order that can be given, and an experiment chosen."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from console_case import Case, opened_console
from planned_session import Runner, a_plan, held, write_session
from recorded_session import FakeClock, Recording

from pdconsole.model import events as ev
from pdconsole.model.plan import planned_run
from pdconsole.model.request import Call, PlacedLayout, Reply
from pdconsole.model.survey import LaunchPlan, LaunchProcess
from pdconsole.ui import runner_calls
from pdconsole.ui.screens.experiment import ExperimentScreen
from pdconsole.ui.widgets.plan_view import PlanView
from pdconsole.ui.widgets.row_table import RowTable

SIZES = [(80, 24), (120, 40), (200, 60)]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def recording(tmp_path: Path, clock: FakeClock) -> Recording:
    return write_session(tmp_path / "w", clock)


@pytest.fixture
def running(recording: Recording) -> Iterator[Recording]:
    with held(recording.directory):
        yield recording


@pytest.fixture
def runner(monkeypatch: pytest.MonkeyPatch) -> Runner:
    made = Runner()
    for name in ("connect", "connect_or_start"):
        monkeypatch.setattr(runner_calls, name, lambda _workspace: made)
    return made


def on_screen(recording: Recording, clock: FakeClock, **how: object):  # type: ignore[no-untyped-def]
    workspace = recording.directory.path.parent.parent
    return opened_console(
        workspace,
        session=recording.directory.name,
        at=how.pop("at", None),  # type: ignore[arg-type]
        clock=clock,
        **how,  # type: ignore[arg-type]
    )


def layouts(case: Case) -> RowTable:
    return case.app.screen.query_one(PlanView).layouts


def flat(case: Case) -> str:
    return " ".join(case.text.replace("│", " ").split())


# --- what it shows ---


@pytest.mark.parametrize("size", SIZES, ids=lambda s: f"{s[0]}x{s[1]}")
async def test_layouts_by_points_with_state_progress_time_and_flags(
    running: Recording, clock: FakeClock, size: tuple[int, int]
) -> None:
    async with on_screen(running, clock, size=size) as case:
        await case.press("3")
        table = layouts(case)
        assert table.current_key == "2"  # what is under way
        assert "7/24 points" in case.text
        assert "about 3:57 left" in case.text
        assert "points of known load" in case.text
        assert "40%" in case.text
        assert "⚑1" in case.text
        assert "P1=node1:0-1 P2=node1:2-3 D1=node1:4-7" in flat(case)
        row = next(line for line in case.lines if "4xTP2" in line)
        assert "waits" in row
        assert "0/6" in row
        await case.press("k")
        assert "⚑ few-requ" in case.text
        await case.press("enter", "g", "j", "j")
        assert "few-requests: 16 requests" in case.text


async def test_where_the_points_fit_each_has_its_column(
    running: Recording, clock: FakeClock
) -> None:
    async with on_screen(running, clock) as case:
        await case.press("3")
        heading = next(line for line in case.lines if "layout " in line)
        assert heading.split()[3:9] == ["c=4", "c=8", "c=16", "c=32", "c=48", "c=64"]
        await case.pilot.resize_terminal(80, 24)
        await case.settle()
        assert "✓✓✓✓✓–" in case.text


async def test_time_left_goes_on_at_the_live_edge_and_is_unknown_before_anything_was_measured(
    running: Recording, clock: FakeClock
) -> None:
    async with on_screen(running, clock) as case:
        await case.press("3")
        await case.pass_time(3.0)
        points = case.app.screen.query_one(PlanView).points
        assert points.rows[1].cells[3].text == "11 s"
        assert case.app.replay is not None
        case.app.replay.seek(5.0)
        case.app.tick()
        await case.settle()
        assert "time left unknown" in case.text
        assert "no point like it has been measured yet" in flat(case)
        assert "as of 0:00:05" in case.text
        await case.press("e")
        assert "as of" not in case.text


async def test_a_session_that_is_over_promises_nothing(
    recording: Recording, clock: FakeClock, runner: Runner
) -> None:
    async with on_screen(recording, clock, at=float("inf")) as case:
        await case.press("3")
        assert "left" not in case.lines[1]
        assert "cut off" in case.text
        assert "not begun" in case.text
        assert "?" not in " ".join(case.lines[4:20])
        await case.press("p")
        assert "does not run; r resumes it" in case.text
    assert runner.calls == []


async def test_enter_on_a_point_goes_to_where_it_began(
    running: Recording, clock: FakeClock
) -> None:
    async with on_screen(running, clock) as case:
        await case.press("3", "enter", "g", "enter")
        assert case.app.current_mode == "live"
        point = case.app.history.latest().runs[1].points[0]
        assert case.app.t == pytest.approx(point.started_t)
        await case.press("3", "G", "enter")
        assert "it has not begun" in case.text


# --- orders ---


async def test_pause_and_go_on_ask_nothing_and_say_what_stays_up(
    running: Recording, clock: FakeClock, runner: Runner
) -> None:
    async with on_screen(running, clock) as case:
        await case.press("3", "p")
        assert [c.command for c in runner.calls] == ["pause"]
        assert "pauses after c=8" in case.text
        assert "P1 on node1:0-1, P2 on node1:2-3" in flat(case)
        running.add(ev.CommandReceived(command="pause", detail="after this point"))
        running.journal.flush()
        await case.settle()
        assert "● pausing" in case.text
        running.add(ev.SessionState(status="paused", message="between points"))
        running.journal.flush()
        await case.settle()
        assert "● paused" in case.text
        assert "to about" not in case.text
        await case.press("p")
        assert "it is paused; r goes on" in case.text
        await case.press("r")
        assert [c.command for c in runner.calls] == ["pause", "unpause"]


async def test_skip_and_stop_name_workers_nodes_and_gpus_first(
    running: Recording, clock: FakeClock, runner: Runner
) -> None:
    questions = {
        "x": ("Skip c=8 of 2P-TP2 + 1D-TP4?", Call(command="skip", scope="point")),
        "X": ("Skip the rest of layout 2", Call(command="skip", scope="layout")),
        "s": ("Stop", Call(command="stop")),
        "S": ("at once", Call(command="stop", now=True)),
    }
    async with on_screen(running, clock) as case:
        await case.press("3")
        for key, (question, call) in questions.items():
            runner.calls.clear()
            await case.press(key)
            assert question in case.text
            assert "P1 on node1:0-1, P2 on node1:2-3, D1 on node1:4-5" in flat(case)
            await case.press("enter")  # the focus is on No
            assert runner.calls == []
            await case.press(key, "y")
            assert runner.calls == [call]


async def test_a_layout_that_waits_can_be_skipped_and_one_that_is_over_cannot(
    running: Recording, clock: FakeClock, runner: Runner
) -> None:
    async with on_screen(running, clock) as case:
        await case.press("3", "j", "X")
        assert "nothing is ended. It would have taken GPUs 0-7 of node1" in flat(case)
        await case.press("y")
        assert runner.calls == [Call(command="skip", scope="layout", runs=("3",))]
        await case.press("g", "X")
        assert "is done; only a layout that is not over" in flat(case)


async def test_reordering_shows_at_once_what_was_asked_and_then_what_is(
    running: Recording, clock: FakeClock, runner: Runner
) -> None:
    async with on_screen(running, clock) as case:
        await case.press("3", "J")
        assert "only layouts that have not begun" in case.text
        await case.press("j", "J")
        assert [row.key for row in layouts(case).rows] == ["1", "2", "4", "3"]
        assert layouts(case).current_key == "3"
        assert runner.calls == [Call(command="reorder", runs=("4", "3"))]
        assert "asking for this order" in case.text
        await case.press("J")
        assert "it is the last one" in case.text
        plan = a_plan().runs
        fresh = [plan[0], plan[1], plan[3], plan[2]]
        running.add(ev.PlanChanged(runs=tuple(planned_run(r) for r in fresh), reason="reordered"))
        running.journal.flush()
        await case.settle()
        assert [row.key for row in layouts(case).rows] == ["1", "2", "4", "3"]
        assert "asking for" not in case.text


async def test_an_order_that_is_refused_is_shown_as_it_was(
    running: Recording, clock: FakeClock, runner: Runner
) -> None:
    runner.answers["reorder"] = Reply(error="layout 4 has begun meanwhile")
    async with on_screen(running, clock) as case:
        await case.press("3", "G", "shift+up")
        assert [row.key for row in layouts(case).rows] == ["1", "2", "3", "4"]
        assert "layout 4 has begun meanwhile" in case.text


async def test_a_layout_is_added_once_the_runner_has_found_room(
    running: Recording, clock: FakeClock, runner: Runner
) -> None:
    runner.answers["plan"] = Reply(plan=a_plan(("3P-TP2+1D-TP2",)))
    async with on_screen(running, clock) as case:
        await case.press("3", "a", *"3p", "enter")
        assert "✗" in case.text
        assert runner.calls == []
        await case.press(*"tp2-1dtp2")
        assert "takes GPUs 0-7 of node1" in flat(case)
        asked = runner.of("plan")[-1].run
        assert asked is not None
        assert asked.placed == (PlacedLayout(layout="p3xtp2-d1xtp2"),)
        assert asked.experiment == "pd-ratio-sweep"
        await case.press("enter")
        assert runner.of("add") == [
            Call(command="add", placed=(PlacedLayout(layout="p3xtp2-d1xtp2"),))
        ]
        more = [*a_plan().runs, *a_plan(("3P-TP2+1D-TP2",), first=5).runs]
        running.add(ev.PlanChanged(runs=tuple(map(planned_run, more))))
        running.journal.flush()
        await case.settle()
        assert len(layouts(case).rows) == 5


async def test_no_room_is_said_where_the_layout_is_written(
    running: Recording, clock: FakeClock, runner: Runner
) -> None:
    runner.answers["plan"] = Reply(error="8xTP4 needs 32 slots and 16 are free")
    async with on_screen(running, clock) as case:
        await case.press("3", "a", *"8xtp4", "enter")
        assert "✗ 8xTP4 needs 32 slots" in case.text
        await case.press("tab", *"spread")
        placed = runner.of("plan")[-1].run.placed  # type: ignore[union-attr]
        assert placed == (PlacedLayout(layout="8xtp4", strategy="spread"),)
        await case.press("escape")
        assert runner.of("add") == []


async def test_a_session_that_ended_is_resumed_with_what_it_will_take_named(
    recording: Recording, clock: FakeClock, runner: Runner
) -> None:
    recording.add(ev.SessionState(status="stopped", message="stopped by an operator"))
    recording.journal.close()
    async with on_screen(recording, clock, at=float("inf")) as case:
        await case.press("3", "r")
        assert "17 points of 3 layouts are measured on cluster embedded" in flat(case)
        assert "GPUs 0-7 of node1" in flat(case)
        await case.press("y")
        name = recording.directory.name
        assert runner.calls == [Call(command="resume", session=name)]


async def test_a_runner_that_refuses_says_why(
    running: Recording, clock: FakeClock, runner: Runner
) -> None:
    runner.answers["skip"] = Reply(error="no point is being measured now")
    async with on_screen(running, clock) as case:
        await case.press("3", "x", "y")
        assert "✗ no point is being measured now" in case.text


# --- an experiment that nobody has started ---


async def test_an_experiment_is_chosen_planned_and_started(
    tmp_path: Path, clock: FakeClock, runner: Runner
) -> None:
    runner.answers["plan"] = Reply(plan=a_plan())
    async with opened_console(tmp_path, clock=clock) as case:
        await case.press("3")
        await case.press("slash", *"pd-ratio", "enter")
        assert "which ratio wins in which" in flat(case)
        await case.press("enter")
        assert "not started" in case.text
        assert runner.of("plan")[-1].run.experiment == "pd-ratio-sweep"  # type: ignore[union-attr]
        assert [row.key for row in layouts(case).rows] == ["1", "2", "3", "4"]
        await case.press("f")
        assert "short form" in case.lines[1]
        await case.press("y")
        assert case.app.clipboard == "pdconsole run pd-ratio-sweep --quick"
        await case.press("c", "enter")
        assert runner.of("plan")[-1].run.cluster is None  # type: ignore[union-attr]
        await case.press("L")
        assert "4 layouts, 24 points" in case.text
        assert "It takes GPUs 0-7 of node1" in flat(case)
        await case.press("n")
        assert runner.of("run") == []
        begun = write_session(tmp_path, clock)
        runner.answers["run"] = Reply(session=begun.directory.name)
        with held(begun.directory):
            await case.press("L", "y")
            (call,) = runner.of("run")
            assert call.run is not None
            assert (call.run.quick, call.run.command) == (True, case.app.clipboard)
            assert isinstance(case.app.screen, ExperimentScreen)
            assert "7/24 points" in case.text


async def test_what_cannot_be_started_is_marked_and_all_of_it_is_not_started(
    tmp_path: Path, clock: FakeClock, runner: Runner
) -> None:
    refused = "vLLM 0.11 cannot do that"
    runner.answers["plan"] = Reply(plan=a_plan(), launches=(LaunchPlan(run="2", refused=refused),))
    async with opened_console(tmp_path, clock=clock) as case:
        await case.press("3", "slash", *"pd-ratio", "enter", "enter")
        assert "1 refused" in case.text
        assert "✗ refused" in case.text
        await case.press("j")
        assert f"cannot be started: {refused}" in flat(case)
        await case.press("L")
        assert "1 layout cannot be started and will fail" in flat(case)
        await case.press("n")
        every = tuple(LaunchPlan(run=str(i), refused=refused) for i in range(1, 5))
        runner.answers["plan"] = Reply(plan=a_plan(), launches=every)
        await case.press("o", "L")
        assert f"no layout of pd-ratio-sweep can be started: {refused}" in flat(case)
        assert runner.of("run") == []


async def test_commands_can_be_read_before_and_a_plan_that_cannot_be_says_why(
    tmp_path: Path, clock: FakeClock, runner: Runner
) -> None:
    process = LaunchProcess(name="P1", role="prefill", node="node1", argv=("vllm", "serve", "m"))
    launch = LaunchPlan(run="1", processes=(process,))
    runner.answers["plan"] = Reply(plan=a_plan(), launches=(launch,))
    async with opened_console(tmp_path, clock=clock) as case:
        await case.press("3", "slash", *"pd-ratio", "enter", "enter", "v")
        assert "vllm serve m" in flat(case)
        await case.press("escape")
        runner.answers["plan"] = Reply(error="No cluster named 'x'")
        await case.press("f", "L")
        assert case.text.count("No cluster named 'x'") == 2
        await case.press("escape", "escape")
        assert "experiments of this workspace" in case.text


async def test_keys_that_need_another_view_say_so(
    tmp_path: Path, clock: FakeClock, runner: Runner
) -> None:
    async with opened_console(tmp_path, clock=clock) as case:
        await case.press("3")
        for key in "Lfocv":
            await case.press(key)
            assert "choose an experiment first" in case.text
        for key in ("p", "x", "X", "s", "S", "a", "J", "K"):
            await case.press(key)
            assert "no session is open" in case.text
    assert runner.calls == []


async def test_from_a_session_to_the_experiments_and_back(
    running: Recording, clock: FakeClock, runner: Runner
) -> None:
    runner.answers["plan"] = Reply(plan=a_plan())
    async with on_screen(running, clock) as case:
        await case.press("3", "n")
        assert "experiments of this workspace" in case.text
        await case.press("enter")
        assert "not started" in case.text or "cannot be started here" in case.text
        await case.press("escape", "escape", "escape")
        assert "● running" in case.lines[1]
