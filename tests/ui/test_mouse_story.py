"""From the first screen to a launch with the mouse alone: clicks and drags on what is seen."""

from __future__ import annotations

from pathlib import Path

import pytest
from console_case import Case, opened_console
from fake_runner import FakeRunner

from pdconsole.model.request import PlacedLayout
from pdconsole.ui.screens.launch import LaunchScreen


@pytest.fixture
def runner(tmp_path: Path) -> FakeRunner:
    return FakeRunner(tmp_path)


def seen(case: Case, text: str, *, below: str = "", within: str = "") -> tuple[int, int]:
    """Column and row of a text, the first below another text, or within a longer one."""
    rows = case.lines
    start = next(y + 1 for y, row in enumerate(rows) if below in row) if below else 0
    for y, row in enumerate(rows[start:], start):
        x = row.find(within or text)
        if x >= 0:
            return x + (within.find(text) if within else 0), y
    raise AssertionError(f"{within or text} is not below {below!r} on\n{case.text}")


async def click(case: Case, text: str, *, times: int = 1, **where: str) -> None:
    await case.pilot.click(offset=seen(case, text, **where), times=times)
    await case.settle()


async def drag(case: Case, node: str, first: int, last: int) -> None:
    """Across GPUs of a node, taken by the numbers over them."""
    y = seen(case, f"{node} ●")[1] + 1
    start, end = (case.lines[y].index(str(index)) for index in (first, last))
    await case.pilot.mouse_down(offset=(start, y))
    await case.pilot.hover(offset=((start + end) // 2, y))
    await case.pilot.hover(offset=(end, y))
    await case.pilot.mouse_up(offset=(end, y))
    await case.settle()


async def test_placed_by_drags_and_launched(tmp_path: Path, runner: FakeRunner) -> None:
    async with opened_console(
        tmp_path, size=(200, 60), connect=lambda _workspace, _start: runner
    ) as case:
        await click(case, "2 Grid")
        await click(case, "2", within="1 2 4 8 TP")
        await drag(case, "node1", 0, 3)
        assert "4 GPUs selected" in case.text
        await click(case, "p prefill")
        assert "╭P1 prefill TP2" in case.text
        assert "╭P2 prefill TP2" in case.text
        # A mistake that is named, and taken back.
        await drag(case, "node2", 0, 3)
        await click(case, "4", within="1 2 4 8 TP")
        await click(case, "d decode")
        assert "╭D1 decode TP4" in case.text
        assert "works only within one node" in case.text
        await click(case, "u undo")
        assert "╭D1" not in case.text
        # From right to left.
        await drag(case, "node1", 7, 4)
        await click(case, "d decode")
        assert "╭D1 decode TP4" in case.text
        assert "2P-TP2 + 1D-TP4" in case.text

        await click(case, "L launch", below="node1")
        assert isinstance(case.app.screen, LaunchScreen)
        await click(case, "Launch (enter)")
    run = runner.calls[-1].run
    assert runner.calls[-1].command == "run"
    assert run is not None
    manual = "P1=node1:0-1 P2=node1:2-3 D1=node1:4-7"
    assert run.placed == (PlacedLayout(layout="p2xtp2-d1xtp4", strategy="manual", manual=manual),)


async def test_chosen_from_the_list_and_spread(tmp_path: Path, runner: FakeRunner) -> None:
    async with opened_console(
        tmp_path, size=(200, 60), connect=lambda _workspace, _start: runner
    ) as case:
        await click(case, "2 Grid")
        await click(case, "1P-TP2 + 2D-TP2", times=2)
        assert "╭D1" in "".join(case.lines[: seen(case, "node2 ●")[1]])
        await click(case, "spread")
        assert "╭D1" not in "".join(case.lines[: seen(case, "node2 ●")[1]])
        assert "╭D2" in case.text
        # A node's name takes the node, and what is under the mouse is cleared.
        await click(case, "node2 ●")
        await click(case, "x clear")
        assert "╭D1" not in case.text
        assert "needs a decode replica" in case.text
