"""Every screen of the shell, and every action of each."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from console_case import END, a_workspace, opened_console
from textual import events

from pdconsole.journal import SessionDir
from pdconsole.model.request import Call, Reply
from pdconsole.ui import runner_calls
from pdconsole.ui.screens.checks import ChecksScreen
from pdconsole.ui.screens.logs import LogsScreen
from pdconsole.ui.screens.sessions import SessionsScreen
from pdconsole.ui.widgets.log_view import LogView
from pdconsole.ui.widgets.row_table import Cell, Row, RowTable

FIRST = "20270115T080000Z"


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    return a_workspace(tmp_path / "w")


@pytest.fixture
def held(workspace: Path) -> Iterator[SessionDir]:
    """The older session as one that a runner holds."""
    session = SessionDir.find(workspace, FIRST)
    session.write_meta({**session.read_meta(), "status": "running"})
    fd = os.open(session.path / ".runner.lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(fd, fcntl.LOCK_EX)
    yield session
    os.close(fd)


class Runner:
    """Stands for the runner's client: remembers calls, answers as told."""

    def __init__(self) -> None:
        self.calls: list[Call] = []

    def call(self, call: Call) -> Reply:
        self.calls.append(call)
        return Reply(session="s")

    def close(self) -> None:
        return None


@pytest.fixture
def runner(monkeypatch: pytest.MonkeyPatch) -> Runner:
    made = Runner()
    for name in ("connect", "connect_or_start"):
        monkeypatch.setattr(runner_calls, name, lambda _workspace: made)
    return made


# --- sessions ---


async def test_sessions_lists_the_newest_first_with_what_they_are(workspace: Path) -> None:
    async with opened_console(workspace) as case:
        table = case.app.screen.query_one(RowTable)
        assert [row.cells[1].text for row in table.rows] == ["failed", "finished"]
        assert "1P-TP2 + 2D-TP2" in case.text
        assert "D1 did not start" in case.text
        await case.press("j")
        assert "which ratio?" in case.text
        assert "D1 did not start" not in case.text


async def test_an_empty_workspace_says_what_to_do(tmp_path: Path) -> None:
    async with opened_console(tmp_path) as case:
        assert "no sessions yet; `pdconsole run" in case.text
        await case.press("5")
        assert "no results in" in case.text
        for key in ("4", "6", "7"):
            await case.press(key)
            assert "session is open" in case.text


async def test_open_shows_a_session_at_its_end_and_replay_from_its_start(workspace: Path) -> None:
    async with opened_console(workspace) as case:
        await case.press("j", "enter")
        assert case.app.opened is not None
        assert case.app.opened.directory.name.startswith(FIRST)
        assert case.app.t == case.app.opened.history.end_t
        assert case.app.current_mode == "live"
        await case.press("1", "j", "p")
        assert case.app.t < 1.0
        await case.pass_time(3.0)
        assert case.app.t == pytest.approx(3.0)


async def test_sorting_by_key_and_by_heading(workspace: Path) -> None:
    async with opened_console(workspace) as case:
        table = case.app.screen.query_one(RowTable)
        await case.press("o")
        names = [row.key for row in table.rows]
        assert names == sorted(names)
        await case.pilot.click(RowTable, offset=(4, 0))
        await case.settle()
        assert [row.key for row in table.rows] == sorted(names, reverse=True)


async def test_filter_keeps_what_has_the_word(workspace: Path) -> None:
    async with opened_console(workspace) as case:
        table = case.app.screen.query_one(RowTable)
        await case.press("slash", *"failed")
        assert len(table.rows) == 1
        await case.press("enter")
        assert case.app.focused is table
        await case.press("slash", "escape")
        assert len(table.rows) == 2


async def test_delete_asks_first_and_leaves_results(workspace: Path) -> None:
    async with opened_console(workspace) as case:
        await case.press("d")
        assert "bm_results/ stay" in case.text
        await case.press("n")
        assert len(list((workspace / "sessions").iterdir())) == 2
        await case.press("d", "enter")  # the focus is on No
        assert len(list((workspace / "sessions").iterdir())) == 2
        await case.press("d", "y")
        left = [p.name for p in (workspace / "sessions").iterdir()]
        assert [name[:16] for name in left] == [FIRST]
        assert len(list((workspace / "bm_results").iterdir())) == 2


async def test_a_held_session_is_never_deleted(
    workspace: Path, held: SessionDir, runner: Runner
) -> None:
    async with opened_console(workspace) as case:
        await case.press("j", "d")
        assert "is running; stop it first" in case.text
        await case.press("y")
        assert held.path.is_dir()
        await case.press("r")
        assert "is running; enter opens it" in case.text
    assert runner.calls == []


async def test_stop_asks_the_runner_after_a_question(
    workspace: Path, held: SessionDir, runner: Runner
) -> None:
    async with opened_console(workspace) as case:
        await case.press("s")
        assert "nothing to stop" in case.text
        await case.press("j", "s", "y")
        assert [call.command for call in runner.calls] == ["stop"]
        assert "is stopping" in case.text
        await case.press("enter")
        await case.press("1")
        await case.press("s")
        said = " ".join(case.text.replace("│", " ").split())
        # As on the other screens.
        assert "P1 on node1:0-1, D1 on node1:2-3, D2 on node1:4-5 are ended" in said


async def test_resume_asks_the_runner_for_that_session(workspace: Path, runner: Runner) -> None:
    async with opened_console(workspace) as case:
        await case.press("r", "y")
        assert [(c.command, c.session[:8]) for c in runner.calls] == [("resume", "20270115")]
        await case.press("j", "r")
        assert "there is nothing left to do" in case.text


async def test_the_command_is_copied_to_a_file_too(workspace: Path, tmp_path: Path) -> None:
    async with opened_console(workspace) as case:
        await case.press("j", "y")
        assert case.app.clipboard == "pdconsole run pd-ratio-sweep"
        (copy,) = (tmp_path / "xdg" / "state" / "pdconsole" / "copies").iterdir()
        assert copy.read_text() == case.app.clipboard
        assert copy.stat().st_mode & 0o077 == 0


# --- logs ---


def log_lines(view: LogView, screen: LogsScreen) -> list[str]:
    assert screen._book is not None
    return [screen._book.text(int(i)).split("] ")[-1] for i in view.ids]


async def test_logs_are_merged_by_time_and_shown_as_data(workspace: Path) -> None:
    async with opened_console(workspace, session=FIRST, size=(200, 60)) as case:
        await case.press("6")
        screen = case.app.screen
        assert isinstance(screen, LogsScreen)
        view = screen.query_one(LogView)
        assert [line[:8] for line in log_lines(view, screen)][:3] == [
            "P1 starts"[:8],
            "D1 starts"[:8],
            "P1 is slow"[:8],
        ]
        assert r"\x1b[31mred\x1b[0m [bold]not bold[/bold] \x07\u202eabc [@click=app.quit]q[/]" in (
            case.text
        )
        assert "\x1b" not in case.text
        assert "\u202e" not in case.text


async def test_level_and_source_filters(workspace: Path) -> None:
    async with opened_console(workspace, session=FIRST) as case:
        await case.press("6")
        screen = case.app.screen
        assert isinstance(screen, LogsScreen)
        view = screen.query_one(LogView)
        await case.press("e", "e", "e")
        # A traceback belongs to its error.
        assert len(view.ids) == 3
        assert "errors" in case.text
        await case.press("e", "g", "o")
        assert {line[:2] for line in log_lines(view, screen)} <= {"P1", "Tr", "  "}
        await case.press("a")
        assert len(view.ids) == 9
        await case.press("shift+tab", "space")
        assert len(view.ids) == 3
        await case.press("j", "space", "k", "space")
        assert len(view.ids) == 6
        await case.press("enter")
        assert case.app.focused is view


async def test_search_goes_on_and_back_and_round_the_end(workspace: Path) -> None:
    async with opened_console(workspace, session=FIRST) as case:
        await case.press("6", "g", "slash", *"starts", "enter")
        view = case.app.screen.query_one(LogView)
        assert view.cursor == 0
        await case.press("n")
        assert view.cursor == 1
        await case.press("n")
        assert view.cursor == 0
        assert "from the top again" in case.text
        await case.press("N")
        assert view.cursor == 1
        assert "from the end again" in case.text
        await case.press("slash", *"zzz", "enter")
        assert "no line has `zzz` in it" in case.text
        assert view.cursor == 1


async def test_what_is_typed_quicker_than_the_focus_moves_is_not_lost(workspace: Path) -> None:
    async with opened_console(workspace, session=FIRST) as case:
        await case.press("6")
        case.app.post_message(events.Key("slash", "/"))
        for character in "failed":
            case.app.post_message(events.Key(character, character))
        case.app.post_message(events.Key("enter", "\r"))
        await case.settle()
        view = case.app.screen.query_one(LogView)
        assert (view.word, view.cursor, view.follow) == ("failed", 4, False)


async def test_follow_stays_at_the_end_while_the_log_grows(workspace: Path) -> None:
    async with opened_console(workspace, session=FIRST) as case:
        await case.press("6")
        view = case.app.screen.query_one(LogView)
        assert view.follow
        log = SessionDir.find(workspace, FIRST).path / "logs" / "node1" / "1-D1.log"
        with log.open("a") as file:
            file.write("(APIServer pid=8) INFO 01-15 09:00:10 [x.py] one more\nhalf a li")
        await case.settle()
        assert view.cursor == len(view.ids) - 1 == 9
        assert "one more" in case.lines[-2] or "one more" in case.text
        assert "half a li" not in case.text
        await case.press("k")
        assert not view.follow
        with log.open("a") as file:
            file.write("ne\n")
        await case.settle()
        assert (view.cursor, len(view.ids)) == (8, 11)
        await case.press("f")
        assert view.cursor == 10


async def test_in_a_replay_only_what_was_logged_by_then_is_shown(workspace: Path) -> None:
    async with opened_console(workspace, session=FIRST, at=0.0) as case:
        await case.press("6")
        view = case.app.screen.query_one(LogView)
        await case.pass_time(4.5)
        assert len(view.ids) == 3
        assert "of the replay" in case.text
        await case.pass_time(2.0)
        assert len(view.ids) > 3


async def test_whole_lines_sideways_and_copies(workspace: Path) -> None:
    async with opened_console(workspace, session=FIRST, size=(80, 24)) as case:

        def shown() -> int:
            return " ".join(case.text.split()).count("P1 starts")

        await case.press("6", "g")
        assert "pid=7" not in case.text
        assert shown() == 1
        await case.press("enter")
        assert "pid=7" in case.text
        assert shown() == 2
        await case.press("l", "l")
        assert shown() == 1
        await case.press("h", "h", "enter", "H")
        assert "pid=7" in case.text
        assert shown() == 0
        await case.press("y")
        assert case.app.clipboard.endswith("P1 starts")
        await case.press("c")
        assert case.app.clipboard.count("\n") == 9
        assert "\x1b" not in case.app.clipboard


async def test_another_screen_can_ask_for_a_process_at_a_time(workspace: Path) -> None:
    async with opened_console(workspace, session=FIRST) as case:
        assert case.app.opened is not None
        case.app.open_logs("1", "P1", case.app.opened.history.start_wall + 6.0)
        await case.settle()
        screen = case.app.screen
        assert isinstance(screen, LogsScreen)
        view = screen.query_one(LogView)
        assert len(view.ids) == 6
        assert "P1 failed" in log_lines(view, screen)[view.cursor]
        case.app.open_logs("1", "D9")
        await case.settle()
        assert "no log of D9" in case.text


# --- checks ---


async def test_checks_show_verdict_value_threshold_advice(workspace: Path) -> None:
    async with opened_console(workspace, session=FIRST) as case:
        await case.press("7")
        assert isinstance(case.app.screen, ChecksScreen)
        table = case.app.screen.query_one(RowTable)
        assert len(table.rows) == 4
        assert "9 ms [red]off[/red]" in case.text
        assert "start chrony" in case.text
        await case.press("f")
        assert len(table.rows) == 2
        await case.press("o")
        assert table.rows[0].key == "node2/gpus-free"
        await case.press("slash", *"chrony", "enter")
        assert [row.key for row in table.rows] == ["node1/clock"]
        await case.press("y")
        assert "advice     start chrony" in case.app.clipboard


async def test_checks_are_those_of_the_second_shown(workspace: Path) -> None:
    async with opened_console(workspace, session=FIRST, at=0.0) as case:
        assert case.app.replay is not None
        case.app.replay.pause()
        await case.press("7")
        assert len(case.app.screen.query_one(RowTable).rows) in (0, 4)


async def test_a_session_that_cannot_be_read_is_a_sentence(workspace: Path) -> None:
    events = SessionDir.find(workspace, FIRST).events_path
    events.write_text('{"type":"something else"}\n')
    async with opened_console(workspace, session=FIRST) as case:
        assert "is no pdconsole recording" in case.text
        assert case.app.opened is None
        assert isinstance(case.app.screen, SessionsScreen)


async def test_a_session_deleted_while_it_is_shown_is_closed(workspace: Path) -> None:
    async with opened_console(workspace, session=FIRST, at=END) as case:
        await case.press("1", "j", "d", "y")
        assert case.app.opened is None
        assert "is deleted" in case.text


async def test_logs_seen_before_a_session_was_open_end_at_its_last_line(tmp_path: Path) -> None:
    workspace = a_workspace(tmp_path / "w")
    (log,) = workspace.glob("sessions/20270115T080000Z*/logs/node1/1-P1.log")
    lines = (f"INFO 01-15 09:{i // 60:02}:{i % 60:02} [core.py] line {i}\n" for i in range(200))
    log.write_text("".join(lines))
    async with opened_console(workspace, size=(80, 24)) as case:
        await case.press("6", "1", "j", "enter", "6")
        assert "following" in case.text
        assert "line 199" in case.lines[-2]


async def test_a_table_that_has_just_grown_shows_the_row_it_was_sent_to(tmp_path: Path) -> None:
    async with opened_console(a_workspace(tmp_path / "w"), size=(80, 24)) as case:
        table = case.app.screen.query_one(RowTable)
        table.show_rows([Row(f"{i}", (Cell(f"row {i}"),)) for i in range(200)])
        table.move_to("150")
        await case.pilot.pause()
        assert "row 150" in case.text
