"""The grid of GPUs by its keys and by the mouse, and what it draws."""

from __future__ import annotations

import re

import msgspec
import pytest
from gpu_grid_case import a_survey, opened_grid
from textual.events import MouseMove, MouseScrollDown
from textual.geometry import Region

from pdconsole.model.grid import Slot
from pdconsole.ui.actions import hints
from pdconsole.ui.grid_view import grid_of, grid_view
from pdconsole.ui.keymap import keymap_problems
from pdconsole.ui.placing import Placing
from pdconsole.ui.placing_rules import Violation
from pdconsole.ui.widgets.gpu_grid import ACTIONS
from pdconsole.ui.widgets.gpu_picture import GridPicture

# --- keys ---


async def test_a_layout_is_placed_by_keys_alone() -> None:
    async with opened_grid() as case:
        await case.press("2 p p 4 d")
        assert case.placed == "P1=node1:0,1 P2=node1:2,3 D1=node1:4,5,6,7"
        assert case.placing.cursor == Slot("node2", 0)
        assert case.app.told == ["changed"] * 5
        # Digits of the grid are TP; the others are still the app's.
        assert case.app.screens_asked == []
        await case.press("3 7 1 8")
        assert case.app.screens_asked == [3, 7]
        assert case.placing.tp == 8


async def test_keys_clear_undo_and_redo() -> None:
    async with opened_grid() as case:
        await case.press("4 c c u")
        assert case.placed == "C1=node1:0,1,2,3"
        await case.press("ctrl+r")
        assert case.placed == "C1=node1:0,1,2,3 C2=node1:4,5,6,7"
        await case.press("u u U")
        assert case.placed == "C1=node1:0,1,2,3"
        await case.press("home x")
        assert case.placed == ""
        await case.press("u X")
        assert case.placed == ""


async def test_keys_select_and_fill() -> None:
    async with opened_grid() as case:
        await case.press("l shift+right shift+right shift+right d")
        assert case.placed == " ".join(f"D{n}=node1:{n}" for n in range(1, 5))
        await case.press("2")
        assert case.placed == "D1=node1:1,2 D2=node1:3,4"
        await case.press("escape home space right right space")
        assert [s.index for s in case.placing.selection] == [0, 2]
        await case.press("escape V j l p")
        assert [str(s) for s in case.placing.selection] == [
            "node1:2",
            "node1:3",
            "node2:2",
            "node2:3",
        ]
        await case.press("escape n")
        assert len(case.placing.selection) == 8
        assert case.app.told[-1] == f"moved {case.placing.cursor}"


async def test_a_key_that_can_do_nothing_says_so() -> None:
    async with opened_grid(a_survey(others=(Slot("node1", 0),))) as case:
        await case.press("p")
        assert case.placed == ""
        assert "Others hold node1:0" in case.lines[-1]
        assert case.app.told == ["changed"]
        await case.press("right")
        assert "Others hold" not in case.lines[-1]


async def test_the_next_violation_is_one_key_away() -> None:
    async with opened_grid() as case:
        await case.press("4 p 2 d")
        assert "0!" in case.text
        await case.press("G exclamation_mark")
        assert case.placing.cursor == Slot("node1", 0)
        assert "P1 cannot pass KV to D1" in case.lines[-1]
        await case.press("exclamation_mark")
        assert case.placing.cursor == Slot("node1", 1)


# --- mouse ---


async def test_a_drag_selects_and_a_key_places() -> None:
    async with opened_grid() as case:
        await case.drag((0, 0), (0, 3))
        assert len(case.placing.selection) == 4
        await case.press("4 d")
        assert case.placed == "D1=node1:0,1,2,3"
        await case.drag((0, 7), (0, 6))
        await case.press("2 p")
        assert case.placed == "P1=node1:6,7 D1=node1:0,1,2,3"
        # Across nodes it is a rectangle.
        await case.drag((0, 4), (1, 5))
        assert [str(s) for s in case.placing.selection] == [
            "node1:4",
            "node1:5",
            "node2:4",
            "node2:5",
        ]


async def test_clicks_move_add_and_select_a_node() -> None:
    async with opened_grid() as case:
        await case.click(1, 5)
        assert case.placing.cursor == Slot("node2", 5)
        assert case.placing.selection == ()
        await case.click(0, 1, control=True)
        await case.click(0, 3, control=True)
        assert [s.index for s in case.placing.selection] == [1, 3]
        x, y = case.grid.arrangement.corner(1)
        await case.pilot.click("#gpus", offset=(x + 3, y))
        await case.pilot.pause()
        assert {s.node for s in case.placing.selection} == {"node2"}
        assert len(case.placing.selection) == 8


async def test_a_double_click_zooms_into_a_node() -> None:
    async with opened_grid(size=(120, 24)) as case:
        await case.click(1, 2, times=2)
        assert case.grid.arrangement.level == "node"
        assert case.lines[0].startswith("─ node2 ●")
        assert "1 of 80 GiB" in case.text
        await case.click(1, 4)
        assert case.placing.cursor == Slot("node2", 4)
        await case.press("escape")
        assert case.grid.arrangement.level == "full"


async def test_the_wheel_scrolls_and_drags_go_on_past_the_edge() -> None:
    async with opened_grid(a_survey(200), size=(60, 20)) as case:
        await case.press("plus plus")
        assert case.grid.arrangement.level == "full"
        await case.pilot._post_mouse_events([MouseScrollDown], "#gpus", offset=(5, 5))
        await case.pilot.pause()
        assert case.grid.scroll_offset.y > 0
        assert case.placing.cursor == Slot("node1", 0)
        top = case.grid.scroll_offset.y
        at = case.grid.arrangement.node_at(5, top + 3)
        await case.pilot.mouse_down("#gpus", offset=(5, 3))
        for _ in range(4):
            await case.pilot._post_mouse_events([MouseMove], "#gpus", offset=(5, 19), button=1)
            await case.pilot._post_mouse_events([MouseMove], "#gpus", offset=(6, 19), button=1)
        await case.pilot.mouse_up("#gpus", offset=(5, 10))
        assert case.grid.scroll_offset.y > top
        assert at is not None
        assert {s.node for s in case.placing.selection} >= {f"node{at + 1}", f"node{at + 2}"}


# --- what is drawn ---


async def test_replicas_are_joined_boxes_with_their_names_and_values() -> None:
    survey = a_survey(others=(Slot("node2", 6), Slot("node2", 7)))
    async with opened_grid(survey, size=(60, 20)) as case:
        await case.press("2 p p 4 d")
        text = case.text
        assert re.search(r"╭P1 TP2 ─+╮╭P2 TP2 ─+╮╭D1 decode TP4 ─+╮", text)
        assert re.search(r"│ +0% +10% +││ +20% +30% +││ +40% +50% +60% +70% +│", text)
        assert re.search(r"other +other", text)
        assert "100%" in text


@pytest.mark.parametrize("ascii_only", [False, True])
async def test_colour_is_never_the_only_sign(ascii_only: bool) -> None:
    async with opened_grid(ascii_only=ascii_only, size=(100, 24)) as case:
        await case.press("4 p 2 d escape right space")
        text = case.text
        assert text.isascii() == ascii_only
        assert "P1 prefill TP4" in text
        assert "0!" in text
        mark = "*" if ascii_only else "■"
        assert f"7{mark}" in text
        assert (">" if ascii_only else "▸") + "7" in text


async def test_very_many_gpus_are_a_character_each() -> None:
    async with opened_grid(a_survey(64, others=(Slot("node3", 7),)), size=(80, 24)) as case:
        await case.press("2 p p 4 d")
        assert case.grid.arrangement.level == "overview"
        assert "  node1  PpPpDddd" in case.lines[0]
        assert "node3  ·······x" in case.text
        await case.press("z")
        assert case.grid.arrangement.level == "node"
        assert case.lines[0].startswith("─ node2 ●")
        await case.press("right")
        assert case.placing.cursor == Slot("node3", 0)
        await case.press("z")
        assert case.grid.arrangement.level == "overview"


@pytest.mark.parametrize("size", [(80, 24), (46, 17), (200, 60), (30, 10)])
@pytest.mark.parametrize("nodes", [0, 3, 70])
async def test_it_is_whole_at_every_size_and_level(size: tuple[int, int], nodes: int) -> None:
    async with opened_grid(a_survey(nodes), size=size) as case:
        for keys in ("2 p d", "G", "minus minus", "plus", "plus", "plus", "j k h l"):
            await case.press(keys)
            assert len(case.lines) == size[1]
            at = case.grid.arrangement
            if nodes:
                assert "TP2" in case.lines[-1]
                first, end = at.slot_lines(
                    int(case.placing.cursor.node[4:]) - 1, case.placing.cursor.index
                )
                top = case.grid.scroll_offset.y
                assert top <= first
                assert min(end, first + 1) <= top + size[1] - 1


async def test_a_node_out_of_reach_says_why_and_marks_what_stands_on_it() -> None:
    survey = a_survey()
    lost = msgspec.structs.replace(
        survey.nodes[0], link="unreachable", message="node1 refuses the key; check its login."
    )
    survey = msgspec.structs.replace(survey, nodes=(lost, survey.nodes[1]))
    async with opened_grid(survey) as case:
        assert "unreachable: node1 refuses the key" in case.text
        await case.press("c")
        (violation,) = case.grid.violations
        assert violation.text == "C1 on node1: node1 refuses the key; check its login."
        assert "0!" in case.text


# --- what changes beneath it ---


async def test_a_renewed_survey_keeps_what_is_placed_and_repaints_what_changed() -> None:
    async with opened_grid() as case:
        await case.press("2 p d")
        fresh = a_survey(others=(Slot("node1", 1),))
        case.grid.show(grid_view(fresh), case.placing.with_grid(grid_of(fresh)))
        await case.pilot.pause()
        assert case.placed == "P1=node1:0,1 D1=node1:2,3"
        assert "1!" in case.text
        assert [v.rule for v in case.grid.violations] == ["free"]
        regions: list[Region] = []
        refresh = case.grid.refresh
        case.grid.refresh = lambda *r, **k: (regions.extend(r), refresh(*r, **k))[1]  # type: ignore[method-assign, assignment]
        case.grid.show(grid_view(fresh))
        assert regions == []


async def test_only_visible_lines_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[int] = []
    line = GridPicture.line
    monkeypatch.setattr(
        GridPicture, "line", lambda self, n, y, at: (drawn.append(n), line(self, n, y, at))[1]
    )
    async with opened_grid(a_survey(1000), size=(120, 40)) as case:
        assert len(set(drawn)) < 300
        drawn.clear()
        await case.press("l")
        assert set(drawn) == {0}
        drawn.clear()
        await case.press("d")
        assert set(drawn) == {0}


async def test_a_placing_from_elsewhere_is_shown() -> None:
    async with opened_grid() as case:
        grid = case.placing.grid
        case.grid.show(case.grid.cells, Placing.on(grid).with_tp(8).with_role("C"))
        await case.pilot.pause()
        assert "C1 collocated TP8" in case.text


async def test_what_the_screen_finds_wrong_is_marked_too() -> None:
    async with opened_grid() as case:
        await case.press("p d")
        known = Violation("The network works only across nodes.", (Slot("node1", 0),))
        case.grid.mark([known])
        await case.press("home")
        assert case.grid.violations == (known,)
        assert "0!" in case.text
        assert "works only across nodes" in case.lines[-1]
        case.grid.mark(case.grid.violations)
        assert case.grid.violations == (known,)
        case.grid.mark([])
        await case.pilot.pause()
        assert "0!" not in case.text


def test_actions_have_keys_of_their_own_and_one_hint_for_tp() -> None:
    assert keymap_problems({}, ACTIONS) == []
    shown = [
        (" ".join(key for _, key in group), group[0][0].hint_name) for group in hints(ACTIONS, {})
    ]
    assert ("1 2 4 8", "TP") in shown
