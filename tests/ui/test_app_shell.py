"""What all screens share: palette, help, keys, themes, settings, sizes, files, faults."""

from __future__ import annotations

import asyncio
import re
import shutil
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest
from console_case import a_workspace, opened_console
from recorded_session import FakeClock, Recording
from rich.segment import Segment
from textual import events
from textual.color import Color
from textual.command import CommandPalette
from textual.screen import ModalScreen
from textual.widgets import Input

from pdconsole.model import events as ev
from pdconsole.ui import theme
from pdconsole.ui.actions import Action, key_label
from pdconsole.ui.app_actions import APP_ACTIONS
from pdconsole.ui.keymap import key_name, keymap_problems, load_keymap
from pdconsole.ui.palette import ActionPalette
from pdconsole.ui.plain_characters import AsciiFilter, plain_text
from pdconsole.ui.screen_list import SCREENS, ScreenEntry
from pdconsole.ui.screens.confirm import ConfirmScreen
from pdconsole.ui.screens.console_screen import ConsoleScreen
from pdconsole.ui.screens.help import HelpScreen, HelpSection
from pdconsole.ui.settings import Settings, load_settings, save_settings
from pdconsole.ui.widgets.log_view import ACTIONS as LOG_ACTIONS
from pdconsole.ui.widgets.log_view import pieces
from pdconsole.ui.widgets.row_table import ACTIONS as TABLE_ACTIONS
from pdconsole.ui.widgets.row_table import Cell, Column, Row, laid_out, sorted_rows
from pdconsole.ui.widgets.scatter import BARS

FIRST = "20270115T080000Z"
SIZES = [(80, 24), (120, 40), (200, 60)]


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    return a_workspace(tmp_path / "w")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    made = tmp_path / "xdg" / "config" / "pdconsole"
    made.mkdir(parents=True)
    return made


def all_actions() -> list[Action]:
    screens = [a for entry in SCREENS for a in entry.load().ACTIONS]
    return [*APP_ACTIONS, *screens, *TABLE_ACTIONS, *LOG_ACTIONS]


# --- one registry ---


def test_every_action_has_id_name_tooltip_and_keys() -> None:
    actions = all_actions()
    assert len({a.id for a in actions}) == len(actions)
    for action in actions:
        assert re.fullmatch(r"[a-z-]+\.[a-z0-9-]+", action.id), action.id
        assert action.name
        assert action.tooltip
        assert action.keys


def test_no_scope_has_a_key_twice() -> None:
    assert keymap_problems({}, all_actions()) == []


def test_every_action_of_a_screen_can_be_carried_out() -> None:
    for entry in SCREENS:
        kind = entry.load()
        for action in kind.ACTIONS:
            name = action.method.split("(")[0]
            assert hasattr(kind, f"action_{name}"), action.id


async def test_what_is_typed_when_the_palette_has_gone_is_not_looked_for(workspace: Path) -> None:
    async with opened_console(workspace) as case:
        await case.press("ctrl+p")
        palette = case.app.screen
        assert isinstance(palette, ActionPalette)
        palette.dismiss()
        await case.settle()
        palette._gather_commands("theme")  # as a key does that was on its way
        await case.settle()
        assert isinstance(case.app.screen, ConsoleScreen)


async def test_a_key_of_a_box_that_was_left_is_for_what_came_instead(workspace: Path) -> None:
    composing = asyncio.Event()

    class SlowHelp(HelpScreen):
        async def _compose(self) -> None:
            await composing.wait()
            await super()._compose()

    over = SlowHelp([HelpSection("long", "line\n" * 99, [])], {}, ascii_only=False)
    async with opened_console(workspace) as case:
        await case.press("slash")
        box = case.app.focused
        assert isinstance(box, Input)
        box.call_later(case.app.push_screen, over)  # what an earlier key does
        case.app.post_message(events.Key("ctrl+f", None))
        await asyncio.sleep(0.05)
        composing.set()
        await case.settle()
        assert case.app.screen is over
        assert over.query_one("#help").scroll_y == 10


async def test_the_palette_takes_keys_before_it_is_laid_out(workspace: Path) -> None:
    async with opened_console(workspace, size=(1, 1)) as case:
        await case.press("ctrl+p")
        await case.press("pageup", "pagedown", "down", "pageup", "escape")
        assert isinstance(case.app.screen, ConsoleScreen)


@pytest.mark.parametrize(
    "made", [partial(ConfirmScreen, "Go?", "", yes="Go"), partial(ActionPalette, [])]
)
async def test_what_came_up_over_a_screen_goes_once(
    workspace: Path, made: Callable[[], ConfirmScreen | ActionPalette]
) -> None:
    answers: list[object] = []
    over = made()
    async with opened_console(workspace) as case:
        case.app.push_screen(over, answers.append)
        await case.settle()
        over.dismiss()
        over.dismiss()  # a second key or click, on its way when the first took it away
        await case.settle()
        assert isinstance(case.app.screen, ConsoleScreen)
    assert answers == [None]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("entry", SCREENS, ids=lambda e: e.name)
async def test_every_screen_is_whole_at_every_size(
    workspace: Path, size: tuple[int, int], entry: object
) -> None:
    number = str(SCREENS.index(entry) + 1)  # type: ignore[arg-type]
    async with opened_console(workspace, session=FIRST, size=size) as case:
        await case.press(number)
        assert len(case.lines) == size[1]
        assert all(len(line) <= size[0] for line in case.lines)
        entry = SCREENS[int(number) - 1]
        assert f" {number} {entry.title if size[0] > 80 else entry.short} " in case.lines[0]
        assert "finished" in case.lines[0]
        assert case.lines[-1].endswith("q quit")
        assert "? help" in case.lines[-1]


async def test_function_keys_brackets_and_clicks_change_the_screen(workspace: Path) -> None:
    async with opened_console(workspace) as case:
        await case.press("f7")
        assert case.app.current_mode == "logs"
        await case.press("right_square_bracket")
        assert case.app.current_mode == "checks"
        await case.press(*["left_square_bracket"] * 3)
        assert case.app.current_mode == "live"
        await case.pilot.click("#top", offset=(case.lines[0].index("Compare"), 0))
        await case.settle()
        assert case.app.current_mode == "compare"


async def test_a_click_on_a_hint_is_its_key(workspace: Path) -> None:
    async with opened_console(workspace) as case:
        await case.pilot.click("#hints", offset=(case.lines[-1].index("delete"), 0))
        await case.settle()
        assert "Delete " in case.text
        assert "No (n)" in case.text


async def test_palette_finds_an_action_and_runs_it(workspace: Path) -> None:
    async with opened_console(workspace) as case:
        await case.press("ctrl+p")
        assert isinstance(case.app.screen, CommandPalette)
        await case.press(*"the results side")
        await case.pilot.pause(0.3)
        await case.press("enter")
        await case.settle()
        assert case.app.current_mode == "compare"


async def test_help_is_about_the_focused_part_and_shows_the_keys_of_now(
    workspace: Path, config: Path
) -> None:
    (config / "keymap.yaml").write_text("sessions.delete: X\nno.such: q\n")
    async with opened_console(workspace, size=(120, 60)) as case:
        await case.press("question_mark")
        assert isinstance(case.app.screen, HelpScreen)
        assert "A table." in case.text
        line = next(line for line in case.lines if "Delete its recording" in line)
        assert re.search(r"\bX\b", line)
        await case.press("escape")
        assert case.app.current_mode == "sessions"


# --- keys, settings, themes ---


async def test_the_users_keys_replace_ours(workspace: Path, config: Path) -> None:
    (config / "keymap.yaml").write_text("sessions.delete: [X, ctrl+x]\napp.help: '!'\n")
    async with opened_console(workspace) as case:
        assert "X delete" in case.lines[-1]
        assert "! help" in case.lines[-1]
        await case.press("d")
        assert "No (n)" not in case.text
        await case.press("X")
        assert "No (n)" in case.text


def test_a_keymap_tells_what_is_wrong_with_it(tmp_path: Path) -> None:
    (tmp_path / "keymap.yaml").write_text("sessions.delte: x\nsessions.open: {a: 1}\n")
    keymap, problems = load_keymap(tmp_path)
    assert "`sessions.open` needs a key" in problems[0]
    (unknown,) = keymap_problems(keymap, all_actions())
    assert "did you mean sessions.delete?" in unknown
    clash = keymap_problems({"sessions.delete": ("r",)}, all_actions())
    assert "r is both sessions.resume and sessions.delete" in clash[0]


def test_keys_are_written_as_people_do() -> None:
    assert key_name("?") == "question_mark"
    assert key_name("^p") == "ctrl+p"
    assert key_name("ctrl+p") == "ctrl+p"
    assert key_label("question_mark") == "?"
    assert key_label("less_than_sign") == "<"
    assert key_label("ctrl+p") == "^p"
    assert key_label("f5") == "F5"
    assert key_label("up", ascii_only=True) == "up"


def test_settings_survive_and_bad_ones_are_ignored_with_a_sentence(tmp_path: Path) -> None:
    chosen = Settings(theme="pdconsole-light", ascii=True)
    save_settings(tmp_path, chosen)
    assert load_settings(tmp_path) == (chosen, ())
    (tmp_path / "settings.yaml").write_text("theme: pink\nmouse: false\ncolour: no\n")
    settings, problems = load_settings(tmp_path)
    assert settings == Settings(mouse=False)
    assert len(problems) == 2
    (tmp_path / "settings.yaml").write_text("a: [")
    assert load_settings(tmp_path)[0] == Settings()


async def test_themes_go_round_and_are_remembered(workspace: Path, config: Path) -> None:
    async with opened_console(workspace) as case:
        seen = {case.app.theme}
        for _ in theme.PALETTES[1:]:
            await case.press("T")
            seen.add(case.app.theme)
        assert seen == set(theme.NAMES)
    async with opened_console(workspace) as case:
        assert case.app.theme == theme.NAMES[-1]


def contrast(a: str, b: str) -> float:
    """WCAG 2: ratio of relative luminances."""

    def luminance(text: str) -> float:
        parts = []
        for c in Color.parse(text).normalized:
            parts.append(c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4)
        return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]

    high, low = sorted((luminance(a), luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("palette", theme.PALETTES, ids=lambda p: p.title)
def test_every_role_can_be_read_on_every_ground(palette: theme.Palette) -> None:
    least = 7.0 if palette.title == "high contrast" else 4.5
    for name, colour in palette.colours().items():
        for ground in (palette.background, palette.surface, palette.panel):
            assert contrast(colour, ground) >= least, (name, ground)
        if name == "text":
            assert contrast(colour, palette.cursor) >= least


# --- NO_COLOR, ASCII, sizes ---


async def test_no_color_means_no_colour_and_the_cursor_is_still_seen(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    async with opened_console(workspace) as case:
        for key in "12345":
            await case.press(key)
            for strip in case.app.screen._compositor.render_strips():
                for text, style, _ in strip:
                    for colour in (style.color, style.bgcolor) if style else ():
                        assert colour is None or colour.is_default, (key, text)
        await case.press("1")
        rows = case.app.screen._compositor.render_strips()
        cursor = next(s for s in rows if "▸" in s.text)
        assert any(style and style.reverse for _, style, _ in cursor)


async def test_ascii_mode_writes_nothing_else(workspace: Path) -> None:
    async with opened_console(workspace, session=FIRST) as case:
        await case.press("A")
        for key in "12345":
            await case.press(key)
            assert case.text.isascii(), key
        await case.press("question_mark")
        assert case.text.isascii()


def test_plain_text_keeps_the_width_of_every_cell() -> None:
    assert plain_text("╭─ P1 ● 47 % …") == "+- P1 * 47 % ~"
    assert plain_text("数") == "??"
    assert plain_text("é⠿") == "e?"
    assert plain_text("P TP ≤ D TP ▏") == "P TP <=D TP |"


def test_signs_of_the_scatter_chart_are_told_apart_without_their_characters() -> None:
    signs = (*BARS, "▪", "·", "○", "*", "┊")
    plain = [plain_text(sign) for sign in signs]
    assert plain == ["-", "|", "=", ".", "o", "*", "|"]


def test_plain_text_keeps_or_equal_across_segments() -> None:
    shown = AsciiFilter().apply([Segment("P ≤"), Segment(" D ≥ 1"), Segment(" x")], Color(0, 0, 0))
    assert "".join(segment.text for segment in shown) == "P <=D >=1 x"


async def test_under_the_least_size_there_is_a_sentence(workspace: Path) -> None:
    async with opened_console(workspace, session=FIRST, size=(79, 24)) as case:
        assert "the console needs 80×24" in " ".join(case.text.split())
        await case.pilot.resize_terminal(80, 24)
        await case.settle()
        assert "needs 80×24" not in case.text
        await case.pilot.resize_terminal(20, 5)
        await case.settle()
        assert "needs 80×24" in " ".join(case.text.split())


# --- notices, copies, screenshots ---


async def test_a_notice_goes_by_itself_but_an_error_stays_until_dismissed(workspace: Path) -> None:
    async with opened_console(workspace) as case:
        case.app.say("it is done")
        await case.pass_time(1.0)
        assert "it is done" in case.text
        await case.pass_time(20.0)
        assert "it is done" not in case.text
        case.app.say("[b]broken[/b]; mend it", "error")
        await case.pass_time(1000.0)
        assert "[b]broken[/b]; mend it" in case.text
        await case.press("escape")
        assert "broken" not in case.text


async def test_screenshot_and_copied_screen_are_files(workspace: Path, tmp_path: Path) -> None:
    state = tmp_path / "xdg" / "state" / "pdconsole"
    async with opened_console(workspace) as case:
        await case.press("ctrl+s")
        (svg,) = (state / "screenshots").iterdir()
        assert svg.read_text().startswith("<svg")
        await case.press("Y")
        (copy,) = (state / "copies").iterdir()
        assert "pd-ratio-sweep" in copy.read_text()


async def test_a_file_that_cannot_be_written_is_a_sentence(workspace: Path, tmp_path: Path) -> None:
    (tmp_path / "xdg" / "state").mkdir(parents=True)
    (tmp_path / "xdg" / "state" / "pdconsole").write_text("in the way")
    async with opened_console(workspace) as case:
        await case.press("ctrl+s")
        assert "cannot write to" in case.text
        await case.press("Y")
        assert "went to the clipboard only" in case.text
        assert "pd-ratio-sweep" in case.app.clipboard


# --- parts ---


def test_columns_give_way_by_priority_and_flexible_ones_take_the_rest() -> None:
    columns = (
        Column("a", "a", 10, flex=1),
        Column("b", "b", 10, priority=1),
        Column("c", "c", 10, priority=5),
    )
    assert laid_out(columns, 40) == [(0, 16), (1, 10), (2, 10)]
    assert laid_out(columns, 30) == [(0, 18), (2, 10)]
    assert laid_out(columns, 15) == [(0, 15)]
    assert laid_out(columns, 4) == [(0, 4)]


def test_what_is_unknown_is_last_however_rows_are_sorted() -> None:
    rows = [
        Row(k, (Cell(t, sort=s),))
        for k, t, s in [("a", "9", 9.0), ("b", "-", None), ("c", "10", 10.0)]
    ]
    assert [r.key for r in sorted_rows(rows, 0, descending=False)] == ["a", "c", "b"]
    assert [r.key for r in sorted_rows(rows, 0, descending=True)] == ["c", "a", "b"]


def test_text_of_a_log_is_cut_into_plain_escaped_and_found_pieces() -> None:
    assert pieces("a\x1b[1mErr\u202eor", "") == [
        ("a", False, False),
        ("\\x1b", True, False),
        ("[1mErr", False, False),
        ("\\u202e", True, False),
        ("or", False, False),
    ]
    assert pieces("Error error", "err") == [
        ("Err", False, True),
        ("or ", False, False),
        ("err", False, True),
        ("or", False, False),
    ]
    assert [p for p in pieces("Error error", "Err") if p[2]] == [("Err", False, True)]


# --- recordings that cannot be read ---


@pytest.mark.parametrize("entry", SCREENS, ids=lambda e: e.name)
async def test_a_session_deleted_under_the_console_ends_nothing(
    workspace: Path, entry: ScreenEntry
) -> None:
    async with opened_console(workspace, session=FIRST, at=0.0) as case:
        case.app.action_show(entry.name)
        await case.settle()
        shutil.rmtree(next((workspace / "sessions").glob(f"{FIRST}*")))
        for seconds in (1.0, 5.0, 60.0):
            await case.pass_time(seconds)
        assert case.app._exception is None
        assert isinstance(case.app.screen, ConsoleScreen)


async def test_a_recording_that_cannot_be_read_any_more_is_closed(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: object) -> None:
        raise FileNotFoundError(2, "No such file or directory", "events.jsonl")

    async with opened_console(workspace, session=FIRST, at=0.0) as case:
        assert case.app.opened is not None
        monkeypatch.setattr(case.app.opened.history, "state_at", gone)
        await case.pass_time(1.0)
        assert case.app.opened is None
        assert "is closed: cannot read events.jsonl" in case.app.notice


async def test_a_recording_that_is_no_file_is_told_as_such(workspace: Path) -> None:
    events_path = next((workspace / "sessions").glob(f"{FIRST}*")) / "events.jsonl"
    events_path.unlink()
    events_path.mkdir()
    async with opened_console(workspace, session=FIRST) as case:
        assert case.app.opened is None
        assert "Is a directory" in case.app.notice


async def test_ctrl_c_says_what_leaves_and_ends_nothing(workspace: Path) -> None:
    async with opened_console(workspace, size=(80, 24)) as case:
        await case.press("ctrl+c")
        assert "ctrl+c ends nothing here; q leaves, and what runs goes on" in case.lines[-2]
        assert "? help" in case.lines[-1]


async def test_a_question_keeps_its_buttons_in_a_window_made_small(workspace: Path) -> None:
    async with opened_console(workspace, size=(80, 24)) as case:
        await case.press("d")
        await case.pilot.resize_terminal(50, 20)
        await case.settle()
        assert "Delete (y)" in case.text
        assert "No (n)" in case.text


# --- behind a dialog ---


async def test_what_is_recorded_goes_on_behind_a_dialog(tmp_path: Path) -> None:
    clock = FakeClock()
    recording = Recording(tmp_path, clock)
    recording.open()
    recording.launch("1", ("P1", "D1", "D2"))
    ends = []  # of the session, as the replay bar says
    async with opened_console(tmp_path, session="", at=None, clock=clock) as case:
        for key, left in (("question_mark", "Help"), ("t", "Go to"), ("ctrl+p", "want")):
            await case.press(key)
            assert left in case.text
            before = case.lines[-2].split()[-1]
            clock.tick(60.0)
            recording.add(ev.SessionState(status="running", message=""))
            await case.settle()
            assert isinstance(case.app.screen, ModalScreen)
            assert left in case.text
            ends.append((before, case.lines[-2].split()[-1]))
            await case.press("escape")
            assert not isinstance(case.app.screen, ModalScreen)
    times = ["0:00:02", "0:01:02", "0:02:02", "0:03:02"]
    assert ends == [*pairwise(times)]


async def test_a_notice_comes_and_goes_behind_a_dialog(tmp_path: Path) -> None:
    async with opened_console(a_workspace(tmp_path / "w")) as case:
        await case.press("question_mark")
        case.app.say("something was written")
        await case.settle()
        assert "something was written" in case.lines[-2]
        await case.pass_time(60)
        assert "something was written" not in case.text
