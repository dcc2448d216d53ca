"""The Grid screen: every way to a placement, its mistakes, the launch plan and the launch."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
from console_case import Case, a_workspace
from fake_runner import FakeRunner
from recorded_session import FakeClock, Recording

from pdconsole.model import events as ev
from pdconsole.model.survey import Owner
from pdconsole.profiles import shipped_profiles
from pdconsole.ui.app import ConsoleApp
from pdconsole.ui.screens.grid import GridScreen


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    return a_workspace(tmp_path / "w")


@pytest.fixture
def runner(workspace: Path) -> FakeRunner:
    return FakeRunner(workspace)


@asynccontextmanager
async def grid(
    runner: FakeRunner, *, size: tuple[int, int] = (120, 40), clock: FakeClock | None = None,
    session: str | None = None,
) -> AsyncIterator[Case]:  # fmt: skip
    clock = clock or FakeClock()
    app = ConsoleApp(
        runner.workspace, clock=clock, ticks=False, connect=lambda _w, _start: runner,
        open_session=session,
    )  # fmt: skip
    async with app.run_test(size=size) as pilot:
        case = Case(app, pilot, clock)
        await case.settle()
        await case.press("f3")
        await case.pass_time(3.0)
        yield case


def screen_of(case: Case) -> GridScreen:
    assert isinstance(case.app.screen, GridScreen)
    return case.app.screen


def placed(case: Case) -> str:
    return " ".join(
        f"{a.replica}={a.node}:{','.join(str(s.index) for s in a.slots)}"
        for a in screen_of(case).draft.placing.assignments
    )


def said(case: Case) -> str:
    """What is said of the layout, and in notices and questions."""
    words = [case.app.notice]
    for box in case.app.screen.query("#verdict, #confirm-about, ProfileChoice Static"):
        words.append(str(box.render()))
    return " ".join(" ".join(words).split())


async def type_layout(case: Case, text: str) -> None:
    await case.press("i", *text, "enter")


def held(runner: FakeRunner, node: int, *slots: int, owner: Owner = "others") -> None:
    """Others are on these slots."""
    nodes = list(runner.survey.nodes)
    gpus = tuple(
        msgspec.structs.replace(g, owner=owner, holder="pid 77 of alice") if g.index in slots else g
        for g in nodes[node].gpus
    )
    nodes[node] = msgspec.structs.replace(nodes[node], gpus=gpus)
    runner.survey = msgspec.structs.replace(runner.survey, nodes=tuple(nodes))


@pytest.mark.parametrize(
    ("size", "text"),
    [((80, 24), "2P-TP2+1D-TP4"), ((120, 40), "p2xtp2-d1xtp4"), ((200, 60), "2ptp2 : 1dtp4")],
)
async def test_any_notation_is_placed_as_it_is_typed(
    runner: FakeRunner, size: tuple[int, int], text: str
) -> None:
    async with grid(runner, size=size) as case:
        await type_layout(case, text)
        assert placed(case) == "P1=node1:0,1 P2=node1:2,3 D1=node1:4,5,6,7"
        assert "8 of 16 GPUs" in case.text
        assert "✓ can be placed" in case.text
        assert case.app.screen.focused is screen_of(case).gpus
        assert all(len(line) <= size[0] for line in case.lines)


async def test_typing_is_one_edit_to_undo(runner: FakeRunner) -> None:
    async with grid(runner) as case:
        await type_layout(case, "4xTP2")
        await case.press("i", *"2xTP1", "enter")
        assert placed(case) == "C1=node1:0 C2=node1:1"
        await case.press("u")
        assert screen_of(case).draft.text == "4xTP2"
        assert screen_of(case).panel.field.value == "4xTP2"


async def test_by_hand_the_field_says_what_stands_there(runner: FakeRunner) -> None:
    async with grid(runner) as case:
        await case.press("2", "p")
        assert screen_of(case).panel.field.value == "1P-TP2"
        assert "Prefill needs a decode replica" in said(case)
        await case.press("p", "4", "d")
        assert screen_of(case).panel.field.value == "2P-TP2 + 1D-TP4"
        assert "● manual" in case.text
        assert placed(case) == "P1=node1:0,1 P2=node1:2,3 D1=node1:4,5,6,7"


async def test_what_cannot_be_read_says_which_piece(runner: FakeRunner) -> None:
    async with grid(runner) as case:
        await type_layout(case, "2P-TP2+1D-TPx")
        assert "cannot read '1D-TPx'" in said(case)
        await case.press("v")
        assert "✗" in case.lines[-2]
        assert not runner.calls


async def test_what_does_not_fit_is_not_placed(runner: FakeRunner) -> None:
    async with grid(runner) as case:
        await type_layout(case, "9P-TP2+1D-TP4")
        assert placed(case) == ""
        assert "0 of 16 GPUs" in case.text
        await case.press("L")
        assert not runner.calls


async def test_pack_then_spread(runner: FakeRunner) -> None:
    async with grid(runner) as case:
        await type_layout(case, "1P-TP2+1D-TP2")
        assert "● pack" in case.text
        await case.press("a")
        assert "● spread" in case.text
        assert placed(case) == "P1=node1:0,1 D1=node2:0,1"
        assert "Network cuda-ipc works only within one node" in said(case)
        await case.press("a")
        assert placed(case) == "P1=node1:0,1 D1=node1:2,3"


async def test_around_others_every_slot_is_said(runner: FakeRunner) -> None:
    held(runner, 0, 1, 2)
    async with grid(runner) as case:
        await type_layout(case, "1P-TP2+1D-TP2")
        assert placed(case) == "P1=node1:4,5 D1=node1:6,7"
        await case.press("v")
        request = runner.calls[-1].run
        assert request is not None
        assert request.placed[0].strategy == "manual"
        assert request.placed[0].manual == "P1=node1:4-5 D1=node1:6-7"


async def test_gpus_that_others_take_meanwhile_are_named(runner: FakeRunner) -> None:
    async with grid(runner) as case:
        await type_layout(case, "1P-TP2+1D-TP2")
        held(runner, 0, 1)
        await case.pass_time(3.0)
        assert "P1 stands on node1:1, which others hold" in said(case)
        await case.press("a", "a")
        assert "which others hold" not in said(case)


async def test_feasible_layouts_are_filtered_and_chosen(runner: FakeRunner) -> None:
    async with grid(runner) as case:
        found = screen_of(case).panel.feasible
        everything = found.found.total
        await case.press("slash", *"2p tp4", "enter")
        assert 0 < len(found.found.layouts) < everything
        assert all(x.is_pd for x in found.found.layouts)
        await case.press("slash", "escape", "K")
        assert {x.is_pd for x in found.found.layouts} == {True}
        await case.press("t", "t")
        assert {g.tp for x in found.found.layouts for g in x.groups} == {2}
        await case.press("greater_than_sign")
        assert found.found.layouts[-1].gpus == 16
        await case.press("less_than_sign", "number_sign")
        assert {x.gpus for x in found.found.layouts} == {8}
        await case.press("f", "g", "enter")
        assert screen_of(case).draft.text == str(found.found.layouts[0])
        assert placed(case)


async def test_the_launch_plan_can_be_read_and_copied(runner: FakeRunner, tmp_path: Path) -> None:
    async with grid(runner) as case:
        await type_layout(case, "2P-TP2+1D-TP4")
        await case.press("v")
        assert "Launch plan" in case.text
        assert "kv_buffer_device is cuda" in case.text
        assert "A='with space'" in case.text
        await case.press("j", "j", "y")
        assert "--tensor-parallel-size 4" in case.app.clipboard
        assert case.app.clipboard.startswith("# D1  node1 GPUs 4-7")
        await case.press("Y")
        assert case.app.clipboard.count("vllm serve") == 3
        await case.press("escape")
        assert [call.command for call in runner.calls] == ["plan"]


async def test_launch_asks_names_the_gpus_and_opens_live(
    runner: FakeRunner, workspace: Path
) -> None:
    runner.session = next((workspace / "sessions").iterdir()).name
    async with grid(runner) as case:
        await type_layout(case, "2P-TP2+1D-TP4")
        await case.press("L")
        assert "P1 on node1:0-1" in said(case)
        assert "GPUs 0-7 of node1" in said(case)
        await case.press("escape")
        assert [call.command for call in runner.calls] == ["plan"]
        await case.press("L", *["backspace"] * 20, *"8 x", "enter")
        assert "x is no concurrency" in case.text
        await case.press("backspace", *"16", "enter")
        request = runner.calls[-1].run
        assert runner.calls[-1].command == "run"
        assert request is not None
        assert request.concurrency == (8, 16)
        assert request.experiment == "ad-hoc"
        assert (request.cluster, request.network) == ("embedded", "cuda-ipc")
        assert request.placed[0].layout == "p2xtp2-d1xtp4"
        assert case.app.current_mode == "live"


async def test_what_the_runner_refuses_is_not_launched(runner: FakeRunner) -> None:
    runner.refused = "vLLM 0.11 is too old for this"
    async with grid(runner) as case:
        await type_layout(case, "2P-TP2+1D-TP4")
        await case.press("L")
        assert "vLLM 0.11 is too old" in case.text
        assert "Launch?" not in case.text


async def test_profiles_are_chosen_remembered_and_their_mistakes_said(
    runner: FakeRunner, workspace: Path
) -> None:
    broken = workspace / "profiles" / "clusters" / "broken.yaml"
    broken.parent.mkdir(parents=True)
    broken.write_text("nodes: 3\nfabric: efa\n")
    async with grid(runner) as case:
        await case.press("N", "G", "enter")
        assert screen_of(case).draft.chosen.name("network") == "tcp"
        assert case.app.settings.chosen["network"] == "tcp"
        await case.press("C", "g")
        assert "a list is needed here" in said(case)
        await case.press("enter")
        assert "✗ broken" in case.text
        assert "no nodes" in case.text
        await case.press("L")
        assert "a list is needed here" in case.lines[-2]
        await case.press("C", "j", "enter")
        assert "node1" in case.text


async def test_no_runner_is_said_and_the_profile_is_shown(runner: FakeRunner) -> None:
    runner.error = "the runner did not start; its last words are in /tmp/log"
    async with grid(runner, size=(80, 24)) as case:
        assert "the runner did not start" in said(case)
        assert "node1" in case.text
        runner.error = ""
        await case.pass_time(3.0)
        assert "the runner did not start" not in said(case)
        assert "2 nodes up" in case.text


async def test_a_node_that_cannot_be_reached_says_why(runner: FakeRunner) -> None:
    nodes = runner.survey.nodes
    lost = msgspec.structs.replace(
        nodes[1], link="unreachable", message="connection refused; is its ssh server up?"
    )
    runner.survey = msgspec.structs.replace(runner.survey, nodes=(nodes[0], lost))
    async with grid(runner) as case:
        assert "1 of 2 nodes up" in case.text
        await type_layout(case, "2P-TP4+2D-TP4")
        assert "on node2: connection refused" in said(case)


async def test_a_session_that_runs_here_shows_where(runner: FakeRunner, workspace: Path) -> None:
    recording = Recording(workspace)
    recording.clock.tick(7200.0)
    recording.open()
    recording.launch("1", ("P1", "D1", "D2"))
    recording.add(
        ev.GpusSampled(
            node="node1",
            node_t=recording.node_t,
            gpus=(ev.GpuSample(index=0, util_pct=87.0, memory_used_mib=71000.0),),
        )
    )
    recording.journal.flush()
    with recording.directory.hold():
        name = recording.directory.name
        async with grid(runner, clock=recording.clock, session=name) as case:
            assert "87%" in case.text
            assert "P1" in case.text
    recording.journal.close()


async def test_another_cluster_gets_the_same_layout(runner: FakeRunner, workspace: Path) -> None:
    embedded = (shipped_profiles() / "clusters" / "embedded.yaml").read_text()
    other = workspace / "profiles" / "clusters" / "a-first.yaml"
    other.parent.mkdir(parents=True)
    other.write_text(embedded.replace("node1", "a").replace("node2", "b"))
    async with grid(runner) as case:
        await type_layout(case, "1P-TP2+1D-TP2")
        runner.error = "not yet"
        await case.press("C", "g", "enter")
        assert screen_of(case).draft.chosen.name("cluster") == "a-first"
        assert placed(case) == "P1=a:0,1 D1=a:2,3"
