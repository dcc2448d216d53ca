"""The live screen in a terminal that is not there, with a clock that is told to go on."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from recorded_session import FakeClock, Recording
from textual.pilot import Pilot

from pdconsole.model import events as ev
from pdconsole.ui.app import ConsoleApp
from pdconsole.ui.screens.live import LiveScreen
from pdconsole.ui.screens.logs import LogsScreen
from pdconsole.ui.widgets.chart import Chart
from pdconsole.ui.widgets.piece_lines import PieceLines
from pdconsole.ui.widgets.replay_bar import ReplayBar
from pdconsole.ui.widgets.row_table import RowTable
from pdconsole.ui.widgets.worker_table import WorkerTable

SIZES = [(80, 24), (120, 40), (200, 60)]


@pytest.fixture(autouse=True)
def own_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, str(tmp_path / "xdg"))
    monkeypatch.setenv("LANG", "C.UTF-8")
    monkeypatch.delenv("NO_COLOR", raising=False)


class Console:
    """A console on a workspace, and what can be seen of it."""

    def __init__(self, app: ConsoleApp, pilot: Pilot[None], clock: FakeClock) -> None:
        self.app = app
        self.pilot = pilot
        self.clock = clock

    @property
    def screen(self) -> LiveScreen:
        assert isinstance(self.app.screen, LiveScreen)
        return self.app.screen

    async def after(self, seconds: float) -> None:
        self.clock.tick(seconds)
        await self.look()

    async def look(self) -> None:
        await self.pilot.pause()
        self.app.tick()
        await self.pilot.pause()

    async def press(self, *keys: str) -> None:
        await self.pilot.press(*keys)
        await self.look()

    @property
    def text(self) -> str:
        lines = self.app.screen._compositor.render_strips()
        return "\n".join(line.text.rstrip() for line in lines)

    @property
    def charts(self) -> list[str]:
        shown = self.app.screen.query(Chart)
        return [(chart.id or "").removeprefix("chart-") for chart in shown if chart.display]

    @property
    def bar(self) -> str:
        bar = self.app.screen.query_one(ReplayBar)
        return bar.render_line(bar.size.height - 1).text


@asynccontextmanager
async def console(
    workspace: Path,
    clock: FakeClock,
    *,
    size: tuple[int, int] = (120, 40),
    at: float | None = None,
    session: str | None = "",
) -> AsyncIterator[Console]:
    app = ConsoleApp(workspace, open_session=session, at=at, clock=clock, ticks=False)
    async with app.run_test(size=size) as pilot:
        await app.workers.wait_for_complete()
        found = Console(app, pilot, clock)
        if session is None:
            app.action_show("live")
        await found.look()
        yield found


@pytest.fixture
def recording(tmp_path: Path) -> Recording:
    return Recording(tmp_path).whole()


@pytest.mark.parametrize("size", SIZES)
async def test_a_session_in_replay(
    tmp_path: Path, recording: Recording, size: tuple[int, int]
) -> None:
    async with console(tmp_path, recording.clock, size=size, at=20.0) as shown:
        await shown.press("space")
        text = shown.text
        assert "1P-TP2 + 2D-TP2" in text
        assert "TTFT" in text
        assert "simulated" in text
        assert "PAUSED" in shown.bar
        assert len(shown.charts) == {80: 2, 120: 6, 200: 9}[size[0]]
        assert [row.key for row in shown.screen.query_one(WorkerTable).rows] == [
            *("P1", "D1", "D2", "router", "driver"),
        ]
        assert all(len(line) <= size[0] for line in text.splitlines())


async def test_without_a_session_it_says_what_to_do(tmp_path: Path) -> None:
    async with console(tmp_path, FakeClock(), session=None) as shown:
        assert "No session is open" in shown.text
        await shown.press("space", "n", "plus", "pagedown", "w", "m", "o", "t", "r")
        assert "no session is open" in shown.text


async def test_too_small_a_terminal_gets_a_sentence(tmp_path: Path, recording: Recording) -> None:
    async with console(tmp_path, recording.clock, size=(70, 20), at=20.0) as shown:
        assert "needs 80×24" in shown.text
        assert "TTFT" not in shown.text


async def test_play_pause_speed_and_hold_at_the_end(tmp_path: Path, recording: Recording) -> None:
    async with console(tmp_path, recording.clock, at=10.0) as shown:
        assert "REPLAY" in shown.bar
        await shown.after(5.0)
        assert shown.app.t == 15
        for _ in range(4):
            await shown.press("greater_than_sign")
        assert "16×" in shown.bar
        await shown.after(1.0)
        assert shown.app.t == 31
        await shown.press("less_than_sign", "space")
        await shown.after(9.0)
        assert shown.app.t == 31
        assert "PAUSED" in shown.bar
        await shown.press("space")
        await shown.after(60.0)
        assert "END" in shown.bar
        assert shown.app.t == shown.app.history.end_t  # type: ignore[union-attr]
        await shown.press("space")
        assert shown.app.t == 0


async def test_steps_leaps_and_ends(tmp_path: Path, recording: Recording) -> None:
    async with console(tmp_path, recording.clock, at=10.0) as shown:
        await shown.press("full_stop")
        assert shown.app.t == 11
        await shown.press("comma", "comma")
        assert shown.app.t == 9
        await shown.press("ctrl+right")
        assert shown.app.t == 39
        await shown.press("ctrl+left")
        assert shown.app.t == 9
        await shown.press("B")
        assert shown.app.t == 0
        await shown.press("e")
        assert "END" in shown.bar


async def test_from_point_to_point_and_flag(tmp_path: Path, recording: Recording) -> None:
    async with console(tmp_path, recording.clock, at=0.5) as shown:
        await shown.press("space", "n")
        first = shown.app.t
        assert "c=4" in shown.text
        await shown.press("n")
        second = shown.app.t
        assert second > first
        await shown.press("f")
        assert "few-requests" in shown.text
        await shown.press("p", "p")
        assert shown.app.t == first
        await shown.press("p")
        assert "no point before" in shown.text
        await shown.press("N")
        assert shown.app.t > first
        await shown.press("P")
        assert shown.app.t < first


async def test_a_time_that_is_typed(tmp_path: Path, recording: Recording) -> None:
    async with console(tmp_path, recording.clock, at=5.0) as shown:
        await shown.press("space", "t", *"0:3x")
        assert "no time" in shown.text
        await shown.press("enter", "backspace", "0", "enter")
        assert shown.app.t == 30
        await shown.press("t", "escape")
        assert shown.app.t == 30


async def test_the_loop_repeats_the_point(tmp_path: Path, recording: Recording) -> None:
    async with console(tmp_path, recording.clock, at=10.0) as shown:
        await shown.press("o")
        assert "loop" in shown.bar
        clock = shown.app.replay
        assert clock is not None
        assert clock.loop is not None
        await shown.after(100.0)
        assert clock.loop[0] <= shown.app.t < clock.loop[1]
        await shown.press("o")
        assert clock.loop is None


async def test_a_click_and_a_drag_on_the_track(tmp_path: Path, recording: Recording) -> None:
    async with console(tmp_path, recording.clock, at=5.0) as shown:
        await shown.press("space")
        bar = shown.screen.query_one(ReplayBar)
        begin, width = bar.track
        y = bar.size.height - 1
        await shown.pilot.mouse_down(bar, offset=(begin, y))
        await shown.pilot.hover(bar, offset=(begin + width // 2, y))
        await shown.pilot.mouse_up(bar, offset=(begin + width // 2, y))
        await shown.look()
        end = shown.app.history.end_t  # type: ignore[union-attr]
        assert shown.app.t == pytest.approx(end / 2, abs=end / width)
        await shown.pilot.hover(bar, offset=(begin, y))
        await shown.look()
        assert shown.app.t > 1
        await shown.pilot.click(bar, offset=(3, y))
        await shown.look()
        assert "REPLAY" in shown.bar


async def test_pages_maximise_and_choice(tmp_path: Path, recording: Recording) -> None:
    async with console(tmp_path, recording.clock, size=(80, 24), at=20.0) as shown:
        await shown.press("space")
        assert shown.charts == ["ttft", "tpot"]
        await shown.press("pagedown")
        assert shown.charts == ["throughput", "load"]
        await shown.press("pageup", "m")
        assert shown.charts == ["ttft"]
        await shown.press("pagedown")
        assert shown.charts == ["tpot"]
        await shown.press("m")
        assert len(shown.charts) == 2
        # TTFT is first in the list and is unmarked.
        await shown.press("c", "space", "enter")
        assert shown.charts == ["tpot", "throughput"]
        await shown.press("c", "space", "escape")
        assert shown.charts == ["tpot", "throughput"]


async def test_what_is_below_takes_turns(tmp_path: Path, recording: Recording) -> None:
    async with console(tmp_path, recording.clock, size=(80, 24), at=20.0) as shown:
        await shown.press("space")
        assert "running" in shown.text
        await shown.press("w")
        assert "P1" in shown.text
        assert "last" in shown.screen.query_one("#pairs", PieceLines).text
        await shown.press("w")
        assert "not told by its servers" in shown.text
        first = shown.screen.query_one("#waterfall", PieceLines).text
        await shown.press("r")
        assert shown.screen.query_one("#waterfall", PieceLines).text != first
        await shown.press("R")
        assert shown.screen.query_one("#waterfall", PieceLines).text == first


async def test_any_request_can_be_chosen(tmp_path: Path, recording: Recording) -> None:
    async with console(tmp_path, recording.clock, size=(80, 24), at=20.0) as shown:
        await shown.press("space", "i")
        assert "The last" in shown.text
        table = shown.app.screen.query_one(RowTable)
        latest = table.current_key
        await shown.press("s")
        slowest = max(table.rows, key=lambda row: row.cells[3].sort or 0.0)
        assert table.current_key == slowest.key != latest
        index = slowest.cells[0].text
        await shown.press("enter")
        # Its part comes into sight, though others were shown below the charts.
        assert f"#{index} " in shown.screen.query_one("#waterfall", PieceLines).text
        assert shown.screen.query_one("#waterfall").display
        await shown.press("i", "escape")
        assert f"#{index} " in shown.screen.query_one("#waterfall", PieceLines).text


async def test_from_an_event_or_a_worker_to_its_log(tmp_path: Path, recording: Recording) -> None:
    directory = recording.directory.path / "logs" / "node1"
    directory.mkdir(parents=True, exist_ok=True)
    for name in ("P1", "D1"):
        (directory / f"1-{name}.log").write_text(f"{name} says something\n")
    async with console(tmp_path, recording.clock, at=20.0) as shown:
        await shown.press("space")
        shown.screen.query_one(WorkerTable).focus()
        await shown.press("j", "v")
        assert isinstance(shown.app.screen, LogsScreen)
        assert "D1 says something" in shown.text
        assert "P1 says something" not in shown.text
        shown.app.action_show("live")
        await shown.look()
        shown.screen.set_focus(None)
        await shown.press("v")  # the last event is the session's: it has no log of its own
        assert "P1 says something" in shown.text


async def test_the_event_of_a_failed_worker_leads_to_its_log(tmp_path: Path) -> None:
    recording = Recording(tmp_path)
    recording.open()
    recording.launch("1", ("P1", "D1"))
    recording.clock.tick(1.0)
    recording.add(
        ev.ProcessState(run="1", process="D1", node="node1", status="failed", role="decode")
    )
    recording.journal.close()
    directory = recording.directory.path / "logs" / "node1"
    directory.mkdir(parents=True, exist_ok=True)
    for name in ("P1", "D1"):
        (directory / f"1-{name}.log").write_text(f"{name} says something\n")
    async with console(tmp_path, recording.clock, at=0.0) as shown:
        await shown.press("space", *"NNN", "v")
        assert "D1 says something" in shown.text
        assert "P1 says something" not in shown.text


async def test_chosen_charts_are_remembered(tmp_path: Path, recording: Recording) -> None:
    async with console(tmp_path, recording.clock, size=(80, 24), at=20.0) as shown:
        await shown.press("space", "c", "space", "enter")
    async with console(tmp_path, recording.clock, size=(80, 24), at=20.0) as shown:
        assert shown.charts == ["tpot", "throughput"]
        await shown.press("c", "a", "enter")
    async with console(tmp_path, recording.clock, size=(80, 24), at=20.0) as shown:
        assert shown.charts == ["ttft", "tpot"]


async def test_a_session_without_its_runner_is_broken_off(tmp_path: Path) -> None:
    recording = Recording(tmp_path)
    recording.open()
    recording.launch("1", ("P1", "D1"))
    recording.begin_point("1", "conc4")
    for _ in range(9):
        recording.second("1", "conc4", "warmup")
    recording.journal.close()
    async with console(tmp_path, recording.clock, at=5.0) as shown:
        await shown.press("space")
        assert "broken" not in shown.text  # then it was still carried out
        await shown.press("e")
        assert "● broken-off" in shown.text
        assert "resume it in Sessions" in shown.text


async def test_zoom_and_pan_move_all_charts(tmp_path: Path, recording: Recording) -> None:
    async with console(tmp_path, recording.clock, at=40.0) as shown:
        await shown.press("space", "plus", "plus")
        assert shown.screen.view.window(40.0) == (25.0, 40.0)
        await shown.press("H")
        assert "held" in shown.text
        data = [shown.screen._data[name] for name in shown.charts]
        assert {(d.t0, d.t1) for d in data} == {(21.25, 36.25)}
        await shown.press("0")
        assert "held" not in shown.text
        chart = shown.screen.query_one("#chart-ttft", Chart)
        chart.post_message(Chart.Zoom(chart, 10.0, 20.0))
        await shown.look()
        assert shown.screen.view.window(40.0) == (10.0, 20.0)
        chart.post_message(Chart.Seek(chart, 12.0))
        await shown.look()
        assert shown.app.t == 12


async def test_one_cursor_for_all_charts(tmp_path: Path, recording: Recording) -> None:
    async with console(tmp_path, recording.clock, at=40.0) as shown:
        await shown.press("space")
        chart = shown.screen.query_one("#chart-ttft", Chart)
        chart.post_message(Chart.Cursor(chart, 33.0))
        await shown.look()
        assert {chart.cursor_t for chart in shown.screen.query(Chart) if chart.display} == {33.0}


async def test_a_replay_shows_nothing_of_what_comes_later(
    tmp_path: Path, recording: Recording
) -> None:
    async with console(tmp_path, recording.clock, at=12.0) as shown:
        await shown.press("space")
        lines = shown.screen._data["ttft"].lines
        assert all(line.t[line.high == line.high].max() <= 13 for line in lines.values())
        assert not any(mark.t > 12 for mark in shown.screen._data["ttft"].marks)


# --- live ---


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Recording]:
    recording = Recording(tmp_path)
    with recording.directory.hold():
        recording.open()
        recording.launch("1", ("P1", "D1", "D2"))
        recording.begin_point("1", "conc4")
        for _ in range(20):
            recording.second("1", "conc4", "warmup")
        recording.journal.flush()
        yield recording
        recording.journal.close()


async def test_attaching_starts_live_moves_on_and_scrolls_back(
    tmp_path: Path, live: Recording
) -> None:
    async with console(tmp_path, live.clock) as shown:
        assert "LIVE" in shown.bar
        assert "warm-up" in shown.text
        before = shown.app.t
        live.second("1", "conc4", "warmup")
        live.journal.flush()
        await shown.look()
        assert shown.app.t > before
        await shown.press("greater_than_sign")
        assert "scroll back first" in shown.text
        await shown.press("comma")
        assert "PAUSED" in shown.bar
        await shown.press("e")
        assert "LIVE" in shown.bar
        await shown.press("space")
        frozen = shown.app.t
        live.second("1", "conc4", "warmup")
        live.journal.flush()
        await shown.look()
        assert shown.app.t == frozen
        await shown.press("space")
        assert shown.app.t > frozen


async def test_silence_at_the_live_edge_is_stale(tmp_path: Path, live: Recording) -> None:
    async with console(tmp_path, live.clock) as shown:
        assert "stale" not in shown.text
        await shown.after(9.0)
        assert "stale" in shown.text
        assert shown.screen._data["ttft"].badge.split() == ["stale", "warm-up", "simulated"]


async def test_a_lost_node_is_not_stale_but_gone(tmp_path: Path, live: Recording) -> None:
    async with console(tmp_path, live.clock) as shown:
        live.add(ev.NodeLink(node="node1", status="lost", message="timed out"))
        live.journal.flush()
        await shown.look()
        assert "no link" in shown.text


async def test_without_colour_and_beyond_ascii_nothing_is_lost(
    tmp_path: Path, recording: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("LANG", "C")
    monkeypatch.setenv("LC_ALL", "C")
    async with console(tmp_path, recording.clock, at=20.0) as shown:
        await shown.press("space")
        assert all(chart.ascii for chart in shown.screen.query(Chart) if chart.display)
        svg = shown.app.export_screenshot()
        assert "PAUSED" in svg
        assert "p50" in svg
        assert not set(svg) & {chr(c) for c in range(0x2800, 0x2900)}
