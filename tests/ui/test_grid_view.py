"""What the grid's cells show: a survey, an open session, or both."""

from __future__ import annotations

from gpu_grid_case import a_survey, opened_grid

from pdconsole.model import events as ev
from pdconsole.model.grid import Slot
from pdconsole.model.state import State, fold
from pdconsole.ui.grid_view import grid_of, grid_view
from pdconsole.ui.placing import Placing


def a_state(status: ev.ProcessStatus = "ready") -> State:
    """P1 on node1:0-1, sampled."""
    plan = ev.PlannedRun(
        run="1", layout="p1xtp2-d1xtp2", strategy="pack", network="cuda-ipc", workload="w",
        input_len=1, output_len=1, mode="mixed", gpus=4, points=(), result_dir="r",
    )  # fmt: skip
    gpus = tuple(ev.GpuInfo(index=i, name="NVIDIA H100", memory_mib=81920) for i in range(8))
    return fold(
        (
            ev.SessionOpened(
                session="s", experiment="e", cluster="c", model="m", simulated=True, runs=(plan,)
            ),
            ev.NodeLink(node="node1", status="up"),
            ev.NodeInventory(node="node1", hostname="h", gpus=gpus, versions={"vllm": "0.11.0"}),
            ev.RunState(run="1", status="launching"),
            ev.ProcessState(
                run="1", process="P1", node="node1", status=status, role="prefill", tp=2,
                slots=(0, 1),
            ),
            ev.ProcessState(
                run="1", process="router", node="node1", status="ready", role="router"
            ),
            ev.GpusSampled(
                node="node1", node_t=1.0,
                gpus=(ev.GpuSample(index=0, util_pct=88.0, power_w=640.0),),
            ),
        )
    )  # fmt: skip


def test_a_survey_alone_makes_grid_and_cells() -> None:
    survey = a_survey(others=(Slot("node2", 7),))
    grid = grid_of(survey)
    assert grid.taken == {Slot("node2", 7)}
    assert [node.slots for node in grid.nodes] == [8, 8]
    view = grid_view(survey)
    assert view.gpus == 16
    assert (view.nodes[1].cells[7].owner, view.nodes[1].cells[7].holder) == (
        "others",
        "pid 77 of alice",
    )


def test_what_runs_is_ours_and_its_samples_are_the_newer_ones() -> None:
    view = grid_view(a_survey(), a_state())
    first, second, third = view.nodes[0].cells[:3]
    assert (first.process, first.role, first.owner) == ("P1", "prefill", "ours")
    assert (first.util_pct, first.power_w) == (88.0, 640.0)
    # Not sampled by the session: the survey's value.
    assert (second.process, second.util_pct) == ("P1", 10.0)
    assert (third.process, third.owner) == ("", "free")
    assert grid_view(a_survey(), a_state("stopped")).nodes[0].cells[0].process == ""


def test_a_replay_needs_no_survey() -> None:
    view = grid_view(None, a_state())
    assert view.simulated
    (node,) = view.nodes
    assert (node.link, len(node.cells), node.gpu_model) == ("up", 8, "NVIDIA H100")
    assert grid_view(None).nodes == ()


async def test_what_runs_is_drawn_and_what_is_placed_is_drawn_over_it() -> None:
    async with opened_grid() as case:
        case.grid.show(grid_view(a_survey(), a_state()))
        await case.pilot.pause()
        assert "╭P1 prefill ● ─" in case.text
        await case.press("right right d")
        assert "╭P1 prefill ● ─" in case.text
        assert "╭D1" in case.text
        assert "P1 runs" not in case.lines[-1]
        await case.press("home")
        assert "P1 runs" in case.lines[-1]
        # The very replica that runs, placed where it stands.
        await case.press("X 2 p")
        assert "P1 prefill TP2 ●" in case.text
        survey = a_survey()
        case.grid.show(grid_view(survey), Placing.on(grid_of(survey)))
        await case.pilot.pause()
        assert "╭P1" not in case.text
