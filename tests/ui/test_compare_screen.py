"""The Compare screen: each of its actions by key, and by mouse where it has one."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest
from console_case import EVIL, Case, a_workspace, opened_console
from textual.widgets import Input

from pdconsole.results import compare
from pdconsole.ui.chosen_axes import ChosenAxes, kept, remembered
from pdconsole.ui.comparison_file import file_problem, free_name
from pdconsole.ui.comparison_view import scatter_of
from pdconsole.ui.result_rows import entry_of, key_of
from pdconsole.ui.screens import compare as compare_screen
from pdconsole.ui.screens.compare import CompareScreen
from pdconsole.ui.screens.text_prompt import TextPrompt
from pdconsole.ui.widgets.row_table import RowTable
from pdconsole.ui.widgets.scatter import Scatter, ScatterChart, ScatterPoint, ScatterSeries
from pdconsole.ui.widgets.text_pane import TextPane

PD = "gptoss_itl5000_otl250_mixed_pack-cuda-ipc_p1xtp2-d2xtp2"
TP2 = "gptoss_itl5000_otl250_mixed_pack-cuda-ipc_4xtp2"
SAMPLE = Path(__file__).parents[2] / "bm_results" / TP2


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    return a_workspace(tmp_path / "w")


def change(workspace: Path, run: str, load: int, **fields: Any) -> None:
    path = workspace / "bm_results" / run / f"conc{load}.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def another_workload(workspace: Path) -> None:
    """The same numbers with prompts of another length."""
    source = workspace / "bm_results" / TP2
    to = workspace / "bm_results" / TP2.replace("5000", "1000")
    to.mkdir()
    for file in source.glob("*.json"):
        (to / file.name).write_text(file.read_text())


def shown(case: Case) -> tuple[CompareScreen, RowTable, Scatter, TextPane]:
    screen = case.app.screen
    assert isinstance(screen, CompareScreen)
    words = screen.query_one("#words", TextPane)
    return screen, screen.query_one(RowTable), screen.query_one(Scatter), words


def column(table: RowTable, key: str) -> list[str]:
    index = [c.key for c in table.columns].index(key)
    return [row.cells[index].text for row in table.rows]


def values(table: RowTable, key: str) -> list[Any]:
    index = [c.key for c in table.columns].index(key)
    return [row.cells[index].sort for row in table.rows]


# --- table and marks ---


async def test_it_sorts_filters_marks_and_draws(workspace: Path) -> None:
    async with opened_console(workspace) as case:
        await case.press("5")
        screen, table, scatter, _ = shown(case)
        assert len(table.rows) == 4
        assert "4xTP2" in case.text
        assert "1P-TP2 + 2D-TP2" in case.text
        assert "median TPOT" in case.text
        await case.press("space")
        assert len(screen._marked) == 2
        assert len(scatter.chart.series) == 1
        await case.press("M")
        assert len(screen._marked) == 1
        await case.press("u")
        assert len(scatter.chart.series) == 2
        await case.press("enter")
        assert len(screen._marked) == 2
        await case.press("u", "slash", *"tp2 +", "enter")
        assert len(table.rows) == 2
        await case.press("slash", "escape")
        for _ in range(9):
            await case.press("o")
        speeds = values(table, "throughput")
        assert speeds == sorted(speeds)
        await case.press("O")
        assert values(table, "throughput") == speeds[::-1]
        await case.press("y")
        assert "tok/s/GPU" in case.app.clipboard


async def test_the_view_can_have_the_whole_screen(workspace: Path) -> None:
    async with opened_console(workspace, size=(80, 24)) as case:
        await case.press("5", "c")
        _, table, scatter, words = shown(case)
        assert not table.display
        await case.press("v")
        assert words.has_focus
        await case.press("V", "c")
        assert not case.app.screen.query_one("#views").display
        await case.press("c")
        assert table.display
        assert scatter.display


async def test_files_that_are_no_results_are_named(workspace: Path) -> None:
    async with opened_console(workspace) as case:
        await case.press("5")
        (workspace / "bm_results" / TP2 / "conc16.json").write_text("{")
        await case.press("R")
        assert "conc16.json" in "".join(case.text.split())


async def test_marks_outlive_reading_again_and_other_screens(workspace: Path) -> None:
    async with opened_console(workspace) as case:
        await case.press("5", "space", "v")
        await case.press("1", "5", "R")
        screen, _, _, words = shown(case)
        assert len(screen._marked) == 2
        assert words.display


# --- frontier and doubts ---


async def test_the_frontier_has_stars_and_a_doubted_point_is_hollow(workspace: Path) -> None:
    change(workspace, TP2, 8, failed=30)
    async with opened_console(workspace) as case:
        await case.press("5")
        _, table, scatter, _ = shown(case)
        assert sorted(column(table, "best")) == ["", "", "*", "*○"]
        points = [p for s in scatter.chart.series for p in s.points]
        assert sum(p.best for p in points) == 2
        assert sum(p.hollow for p in points) == 1
        assert "○A*" in case.text
        assert "○ doubted: errors" in case.text
        await case.press("slash", *"+ 2d", "enter")
        assert column(table, "best") == ["*", "*"]


async def test_the_best_points_are_gone_round(workspace: Path) -> None:
    async with opened_console(workspace) as case:
        await case.press("5", "G")
        _, table, _, _ = shown(case)
        seen = []
        for _ in range(3):
            await case.press("b")
            seen.append(table.cursor)
        assert seen[0] == seen[2] != seen[1]
        assert all(column(table, "best")[i] == "*" for i in seen)


# --- axes ---


async def test_axes_are_chosen_and_remembered(workspace: Path) -> None:
    async with opened_console(workspace) as case:
        await case.press("5", "x", "t", "p", "p")
        screen, table, scatter, _ = shown(case)
        assert screen.chosen == ChosenAxes(latency="ttft", throughput="input", per="deployment")
        assert scatter.chart.x_title == "median TTFT, ms"
        assert scatter.chart.y_title == "in tok/s"
        assert "in tok/s" in [c.title for c in table.columns]
        await case.press("X")
        assert scatter.chart.x_title == "p99 TTFT, ms"
        assert "TTFT p99" in [c.title for c in table.columns]
    async with opened_console(workspace) as case:
        await case.press("5")
        assert shown(case)[2].chart.x_title == "p99 TTFT, ms"


async def test_every_throughput_has_its_denominator(workspace: Path) -> None:
    async with opened_console(workspace) as case:
        await case.press("5")
        _, table, scatter, _ = shown(case)
        assert sorted({text.partition(" ")[2] for text in column(table, "throughput")}) == [
            "÷6",
            "÷8",
        ]
        assert {s.label.partition("÷")[2] for s in scatter.chart.series} == {"6 GPUs", "8 GPUs"}


async def test_any_latency_can_be_typed_and_a_wrong_one_is_not_taken(workspace: Path) -> None:
    async with opened_console(workspace) as case:
        await case.press("5", "l")
        assert isinstance(case.app.screen, TextPrompt)
        case.app.screen.query_one(Input).value = "chunk"
        await case.press("enter")
        assert "is no latency" in case.text
        case.app.screen.query_one(Input).value = "chunk:32"
        await case.press("enter")
        screen, table, scatter, _ = shown(case)
        assert "31 × TPOT" in scatter.chart.x_title
        assert "chunk:32 p50" in [c.title for c in table.columns]
        await case.press("x")
        assert screen.chosen.latency == "tpot"
        await case.press("l", "escape")
        assert screen.chosen.latency == "tpot"


async def test_where_nothing_can_be_drawn_it_says_why(workspace: Path) -> None:
    async with opened_console(workspace) as case:
        await case.press("5", "x", "x")
        assert "no point has both median ITL and tok/s/GPU" in case.text


# --- SLO ---


async def test_an_slo_shows_what_keeps_it_and_the_best_within_it(workspace: Path) -> None:
    async with opened_console(workspace) as case:
        await case.press("5", "s", *"ttft<=350ms", "enter")
        screen, table, scatter, _ = shown(case)
        assert screen.chosen.slo == "ttft<=350ms"
        assert sorted(column(table, "best")) == ["*✓", "*✗", "✗", "✗"]
        assert "within median TTFT ≤ 350 ms: A 4xtp2" in case.text
        assert sum(p.faint for s in scatter.chart.series for p in s.points) == 3
        await case.press("G", "b")
        assert column(table, "best")[table.cursor] == "*✓"
        await case.press("x")
        assert scatter.chart.limit == 350.0
        assert "┊" in case.text
        await case.press("s")
        case.app.screen.query_one(Input).value = "ttft=1"
        await case.press("enter")
        assert "is no bound" in case.text
        case.app.screen.query_one(Input).value = ""
        await case.press("enter")
        assert screen.chosen.slo == ""
        assert not case.app.screen.query_one("#promise").display


async def test_an_slo_that_nothing_keeps_is_said(workspace: Path) -> None:
    async with opened_console(workspace) as case:
        await case.press("5", "s", *"ttft<=1ms", "enter")
        assert "no point has median TTFT ≤ 1 ms" in case.text
        await case.press("b")
        assert case.app.notice == "no point has median TTFT ≤ 1 ms"


# --- views ---


async def test_regimes_audit_and_side_by_side_of_the_marked(workspace: Path) -> None:
    change(workspace, PD, 8, failed=30)
    async with opened_console(workspace) as case:
        await case.press("5", "v")
        screen, table, scatter, words = shown(case)
        assert not scatter.display
        assert "most throughput within a latency" in words.text
        assert "A 4xtp2" in words.text
        assert "dominated by" in words.text
        await case.press("v")
        assert "4 points in 2 directories" in words.text
        assert "errors" in words.text
        await case.press("space")
        at = column(table, "layout")[table.cursor]
        assert at == "4xTP2"
        assert "2 points in 1 directory" in words.text
        assert "errors" not in words.text
        await case.press("v")
        assert "A 4xtp2" in words.text
        assert "p1xtp2" not in words.text
        await case.press("u")
        assert "p1xtp2-d2xtp2" in words.text
        assert "○3,500 -11%" in words.text
        await case.press("v")
        assert scatter.display
        assert screen._view == "chart"
        await case.press("V", "V")
        assert screen._view == "audit"


async def test_the_strip_lies_under_the_chart_where_there_is_room(workspace: Path) -> None:
    async with opened_console(workspace) as case:
        await case.press("5")
        strip_pane = case.app.screen.query_one("#regime-strip", TextPane)
        assert strip_pane.region.height == 3
        assert "AAA" in strip_pane.text
        await case.press("space")
        assert strip_pane.region.height == 0
        await case.press("u")
        await case.pilot.resize_terminal(80, 24)
        await case.settle()
        assert strip_pane.region.height == 0


async def test_long_text_scrolls_from_the_table_and_by_its_own_keys(workspace: Path) -> None:
    async with opened_console(workspace, size=(80, 24)) as case:
        await case.press("5", "v", "J")
        _, table, _, words = shown(case)
        assert table.has_focus
        assert words.scroll_offset.y > 0
        await case.press("K")
        assert words.scroll_offset.y == 0
        words.focus()
        await case.press("j", "j", "k")
        assert words.scroll_offset.y == 1
        await case.press("G")
        assert words.scroll_offset.y == words.max_scroll_y
        await case.press("ctrl+b", "ctrl+f", "g")
        assert words.scroll_offset.y == 0


async def test_points_that_cannot_be_compared_are_in_groups(workspace: Path) -> None:
    another_workload(workspace)
    async with opened_console(workspace) as case:
        await case.press("5")
        _, table, scatter, _ = shown(case)
        first = column(table, "workload")[table.cursor]
        assert "1 of 2 groups" in case.text
        await case.press("n")
        assert column(table, "workload")[table.cursor] != first
        assert "2 of 2 groups" in case.text
        assert len(scatter.chart.series) == 2
        await case.press("slash", *"itl1000", "enter", "n")
        assert "groups" not in case.lines[-20]
        assert case.app.notice == "all points are of one group"


# --- export ---


@pytest.mark.parametrize("name", ["a.svg", "a.png", "a.pdf", "a.csv", "a.json", "a.txt"])
async def test_what_is_shown_is_exported(workspace: Path, name: str) -> None:
    async with opened_console(workspace) as case:
        await case.press("5", "space", "e")
        case.app.screen.query_one(Input).value = f"figures/{name}"
        await case.press("enter")
        assert case.app.notice == f"figures/{name} is written"
    content = (workspace / "figures" / name).read_bytes()
    assert content
    if not name.endswith((".png", ".pdf")):
        assert b"4xtp2" in content
        assert b"p1xtp2-d2xtp2" not in content


async def test_nothing_is_written_over(workspace: Path) -> None:
    taken = workspace / "taken.svg"
    taken.write_text("mine")
    async with opened_console(workspace) as case:
        await case.press("5", "e")
        box = case.app.screen.query_one(Input)
        assert box.value == "figures/compare.svg"
        box.value = "taken.svg"
        await case.press("enter")
        assert "nothing is written over" in case.text
        box.value = "figure.doc"
        await case.press("enter")
        assert "name a file that ends in" in case.text
        await case.press("escape")
        assert isinstance(case.app.screen, CompareScreen)
    assert taken.read_text() == "mine"


async def test_an_empty_workspace_has_nothing_to_show_or_export(tmp_path: Path) -> None:
    async with opened_console(tmp_path) as case:
        await case.press("5")
        assert "no results in bm_results/ yet" in case.text
        await case.press("v", "v", "v", "v", "b", "n", "M", "space", "e")
        assert case.app.notice == "there is nothing to export"


# --- mouse ---


async def test_all_of_it_by_mouse(workspace: Path) -> None:
    async with opened_console(workspace) as case:
        await case.press("5")
        screen, table, scatter, words = shown(case)

        async def click(selector: str, word: str) -> None:
            region = case.app.screen.query_one(selector).region
            x = case.lines[region.y].index(word, region.x) - region.x
            await case.pilot.click(selector, offset=(x, 0))
            await case.settle()

        await click("#axes", "median TPOT")
        assert screen.chosen.latency == "ttft"
        await click("#axes", "tok/s")
        assert screen.chosen.throughput == "input"
        await click("#axes", "per GPU")
        assert screen.chosen.per == "node"
        await click("#axes", "per node")
        await click("#axes", "no SLO")
        assert isinstance(case.app.screen, TextPrompt)
        await case.press("escape")
        await click("#view-names", "regimes")
        assert words.display
        await click("#view-names", "chart")
        assert scatter.display
        before = table.current_key
        place = next(at for at, key in scatter._places.items() if key != before)
        await case.pilot.click("#scatter", offset=place)
        await case.settle()
        assert table.current_key == scatter._places[place] != before
        await case.pilot.click("#results", offset=(4, 0))
        await case.settle()
        assert table.sorted_by == "layout"


# --- it waits for nothing ---


async def test_keys_are_answered_while_files_are_read_and_compared(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = threading.Event()
    calls = []

    def slowly(*args: Any) -> Any:
        calls.append(args)
        assert go_on.wait(20)
        return compared(*args)

    compared = compare_screen.compared
    monkeypatch.setattr(compare_screen, "compared", slowly)
    async with opened_console(workspace) as case_at_rest:
        case = case_at_rest
        case.app.action_show("compare")
        for _ in range(100):
            await case.pilot.pause(0.02)
            if calls:
                break
        await case.pilot.press("j", "space", "slash", *"4x", "enter", "v")
        await case.pilot.pause()
        screen, table, _, words = shown(case)
        assert len(table.rows) == 2
        assert len(screen._marked) == 2
        assert words.display
        assert "comparing…" in case.text
        assert len(calls) == 1
        go_on.set()
        await case.settle()
        await case.settle()
        assert len(calls) == 2, "those in between are passed over"
        assert "comparing…" not in case.text
        assert screen._compared.comparison.rows == tuple(
            entry.row for entry in screen._entries if entry.key in screen._marked
        )


# --- other terminals, hostile text ---


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (200, 60)])
async def test_every_view_is_there_in_plain_characters(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, size: tuple[int, int]
) -> None:
    monkeypatch.setenv("LC_ALL", "C")
    monkeypatch.setenv("NO_COLOR", "1")
    change(workspace, TP2, 8, failed=30)
    async with opened_console(workspace, size=size) as case:
        await case.press("5")
        assert "oA*" in case.text
        for _ in range(4):
            await case.press("v")
            assert case.text.isascii()


async def test_text_of_files_is_data(workspace: Path) -> None:
    for load in (4, 8):
        change(workspace, TP2, load, model_id=EVIL)
    async with opened_console(workspace, size=(200, 60)) as case:
        await case.press("5")
        for _ in range(4):
            await case.press("v")
            assert "\x1b" not in case.text
            assert "\u202e" not in case.text


# --- parts without a screen ---


def test_points_of_one_file_have_keys_of_their_own(workspace: Path) -> None:
    rows = compare([workspace / "bm_results"]).rows
    assert len({key_of(row) for row in rows}) == 4
    assert entry_of(rows[0]).has("tp2")


def test_settings_that_are_no_axes_are_passed_over() -> None:
    chosen = ChosenAxes(latency="chunk:16:p99", per="node", slo="ttft<=1s")
    assert remembered(kept(chosen)) == chosen
    assert kept(ChosenAxes()) == {}
    nonsense = {"latency": "speed", "per": "rack", "slo": "soon", "colour": "red"}
    assert remembered({**nonsense, "throughput": "output"}) == ChosenAxes(throughput="output")


def test_the_next_axis_keeps_the_statistic() -> None:
    chosen = ChosenAxes(latency="ttft:p99")
    assert chosen.with_next_latency().latency == "itl:p99"
    assert chosen.with_next_statistic().latency == "ttft:mean"
    assert chosen.with_next_statistic().with_next_statistic().latency == "ttft"


def test_a_name_is_offered_that_is_free(tmp_path: Path) -> None:
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "compare.svg").touch()
    assert free_name(tmp_path) == "figures/compare-2.svg"
    assert file_problem("figures/compare-2.svg", tmp_path) == ""


# --- intervals ---


def a_chart(*points: ScatterPoint) -> ScatterChart:
    return ScatterChart(series=(ScatterSeries("A", "a", 0, points),), y_title="y", x_title="x")


async def test_intervals_are_bars_through_their_points(workspace: Path) -> None:
    points = (
        ScatterPoint("1", 10.0, 100.0, across=(9.0, 12.0), upright=(95.0, 104.0)),
        ScatterPoint("2", 20.0, 120.0, across=(2.0, 900.0)),
        ScatterPoint("3", 30.0, 140.0),
    )
    async with opened_console(workspace) as case:
        await case.press("5")
        scatter = shown(case)[2]
        scatter.show(a_chart(*points))
        drawn = [scatter.render_line(y).text for y in range(scatter.size.height)]
    first, second, third = [line for line in drawn if line[5:6] == "│" and "A" in line][::-1]
    left, _, right = first[6:].partition("A")
    assert left.endswith("─")
    assert right.startswith("─")
    # Nobody knows the third; the second's reaches from edge to edge, which follow it only so far.
    assert set(second[6:].strip()) == {"─", "A"}
    assert len(second[6:].strip()) > 60
    assert "─" not in third
    column = first.index("A")
    above = [line[column : column + 1] for line in drawn[: drawn.index(first)]]
    assert above[-1] in "│·"
    places = [line.index("A") for line in (first, second, third)]
    assert places[2] - places[0] > 40  # a very wide interval does not make one of the points


def test_the_chart_has_the_intervals_of_the_comparison(workspace: Path) -> None:
    panel = compare([SAMPLE]).panels[0]
    placed = {key_of(p.row): p for p in panel.points}
    chart = scatter_of(panel)
    found = [p for series in chart.series for p in series.points]
    assert len(found) == len(placed)
    for point in found:
        assert point.across == placed[point.key].latency_interval
        assert point.upright == placed[point.key].throughput_interval
    assert all(p.across and p.upright for p in found)
    assert any("95 % intervals" in note for note in chart.notes)
    without = scatter_of(compare([workspace / "bm_results"]).panels[0])
    assert not any("95 % intervals" in note for note in without.notes)


# --- what a run writes meanwhile ---


async def test_results_that_a_run_writes_come_by_themselves(workspace: Path) -> None:
    async with opened_console(workspace) as case:
        await case.press("5", "j", "m")
        table = shown(case)[1]
        at = table.current_key
        another_workload(workspace)
        await case.pass_time(5)
        assert len(table.rows) == 6
        assert table.current_key == at
        assert "2 marked" in case.lines[1]
        change(workspace, TP2, 4, total_token_throughput=99_999.0)
        await case.press("1")
        await case.pass_time(5)
        await case.press("5")
        assert "12,500 ÷8" in case.text


async def test_results_that_have_not_changed_are_not_read_again(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[object] = []
    monkeypatch.setattr(
        compare_screen, "compare", lambda paths: read.append(paths) or compare(paths)
    )
    async with opened_console(workspace) as case:
        await case.press("5")
        await case.pass_time(60)
        await case.press("1", "5")
        assert len(read) == 1
        await case.press("R")
        assert len(read) == 2
