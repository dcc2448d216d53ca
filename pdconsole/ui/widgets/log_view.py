"""The lines of a log book, drawn one by one as they come into sight.

What a line says is data: escape sequences, markup and direction marks in it are shown as text,
never obeyed.
"""

from __future__ import annotations

import re
from typing import ClassVar

import numpy as np
from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.geometry import Size
from textual.message import Message
from textual.reactive import reactive
from textual.scroll_view import ScrollView
from textual.strip import Strip

from pdconsole.journal.log_book import Ids, LogBook, LogSource, has_word
from pdconsole.journal.log_lines import LOOKED_AT, head_length
from pdconsole.ui.actions import Action
from pdconsole.ui.lines import clock
from pdconsole.ui.theme import colour
from pdconsole.ui.widgets.parts import bindings_of

SIDE_STEP = 16
LETTERS = (" ", "D", "I", "W", "E")
LEVEL_ROLES = ("text", "muted", "text", "warn", "fail")
_ROLES = {"P": "prefill", "D": "decode", "C": "collocated", "r": "router"}


def _action(id: str, name: str, tooltip: str, *keys: str) -> Action:  # noqa: A002
    return Action(f"log.{id}", name, tooltip, keys, "log", hint=False)


ACTIONS = (
    _action("down", "Down", "The next line", "j", "down"),
    _action("up", "Up", "The line before", "k", "up"),
    _action("page-down", "Page down", "A screenful on", "ctrl+f", "pagedown", "space"),
    _action("page-up", "Page up", "A screenful back", "ctrl+b", "pageup"),
    _action("half-down", "Half a page down", "Half a screenful on", "ctrl+d"),
    _action("half-up", "Half a page up", "Half a screenful back", "ctrl+u"),
    _action("top", "First line", "The first line", "g", "home"),
    _action("bottom", "Last line", "The last line; follows from there", "G", "end"),
    _action("right", "Right", "The rest of long lines", "l", "right"),
    _action("left", "Left", "Back to the beginning of lines", "h", "left"),
    _action("heads", "Whole heads", "Show process, level and time as logged, or not", "H"),
    _action("choose", "Whole line", "Show the whole line, or no more", "enter"),
)


def role_of(source: LogSource) -> str:
    return _ROLES.get(source.process[:1], "text")


class LogView(ScrollView, can_focus=True):
    PART: ClassVar[str] = "log"
    HELP: ClassVar[str] = (
        "Lines of all chosen logs in the order of time. Control characters are shown as they are "
        "written in source code, such as \\x1b. Time, log and level stand in front; where a line "
        "begins with them they are left out of it (H shows them)."
    )
    ACTIONS: ClassVar[tuple[Action, ...]] = ACTIONS
    BINDINGS: ClassVar = [*bindings_of(ACTIONS)]
    DEFAULT_CSS = """
    LogView { background: $surface; overflow-x: hidden; scrollbar-size-vertical: 1; }
    """
    ALLOW_SELECT = False

    cursor: reactive[int] = reactive(0)
    follow: reactive[bool] = reactive(True)

    class Moved(Message):
        """Another line is under the cursor, or other columns are in sight; or it follows or not."""

    class Chosen(Message):
        """Enter on a line."""

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self._book: LogBook | None = None
        self.ids: Ids = np.empty(0, np.int64)
        self.empty = ""
        self.word = ""
        self.left = 0
        self.heads = False
        self._name_width = 0
        self._styles_of: dict[tuple[object, ...], Style] = {}

    # --- what it shows ---

    def show(self, book: LogBook | None, ids: Ids, *, kept: int | None = None) -> None:
        """`ids` of `book`; the cursor goes to the end while it follows, else stays on its line."""
        at = self.current_line if kept is None else kept
        same = (
            book is self._book and len(ids) == len(self.ids) and bool(np.array_equal(ids, self.ids))
        )
        if same:
            return
        self._book, self.ids = book, ids
        names = book.sources if book else ()
        self._name_width = max((cell_len(s.name) for s in names), default=0)
        self.virtual_size = Size(self.size.width, len(ids))
        if self.follow or at is None:
            self.cursor = max(0, len(ids) - 1)
            self._keep_in_sight()
        else:
            self._return_to(at)
        self.refresh()

    def _return_to(self, line: int) -> None:
        assert self._book is not None
        found = np.flatnonzero(self.ids == line)
        if len(found):
            self.cursor = int(found[0])
        else:
            # It was filtered away: the next one in time.
            self.cursor = self._book.first_at(self.ids, self._book.wall_of(line))
        self._keep_in_sight()

    @property
    def current_line(self) -> int | None:
        return int(self.ids[self.cursor]) if self.cursor < len(self.ids) else None

    def go_to(self, index: int) -> None:
        """Move there, and follow no more."""
        self.follow = False
        self.cursor = index

    # --- drawing ---

    def notify_style_update(self) -> None:
        super().notify_style_update()
        self._styles_of.clear()

    def _style(self, role: str, *, here: bool = False, found: bool = False) -> Style:
        key = (role, here, found, self.app.theme)
        style = self._styles_of.get(key)
        if style is None:
            variables = self.app.theme_variables
            style = Style(
                color=colour(self.app, role),
                bgcolor=variables["row-cursor" if here else "surface"],
                bold=(found or (here and self.app.no_color)) or None,
                underline=found or None,
                reverse=found or None,
            )
            self._styles_of[key] = style
        return style

    def render_line(self, y: int) -> Strip:
        width = self.size.width
        index = self.scroll_offset.y + y
        if not len(self.ids) and y == 1 and self.empty:
            return Strip([Segment(f"  {self.empty}", self._style("muted"))]).adjust_cell_length(
                width, self._style("text")
            )
        if self._book is None or index >= len(self.ids):
            return Strip.blank(width, self._style("text"))
        return self._line(self._book, int(self.ids[index]), index == self.cursor, width)

    def _line(self, book: LogBook, line: int, here: bool, width: int) -> Strip:
        here = here and self.has_focus
        source = book.sources[book.source_of(line)]
        level = book.level_of(line)
        role = LEVEL_ROLES[level]
        lead = [
            Segment(f"{clock(book.wall_of(line))} ", self._style("muted", here=here)),
            Segment(source.name.ljust(self._name_width), self._style(role_of(source), here=here)),
            Segment(f" {LETTERS[level]} ", self._style(role, here=here)),
        ]
        head = Strip(lead)
        body = Strip(
            [
                Segment(text, self._style("muted" if escaped else role, here=here, found=found))
                for text, escaped, found in pieces(self._shown(book, line), self.word)
            ]
        )
        room = max(0, width - head.cell_length)
        body = body.crop(self.left, self.left + room)
        return Strip.join([head, body]).adjust_cell_length(width, self._style("text", here=here))

    def _shown(self, book: LogBook, line: int) -> str:
        text = book.text(line)
        if self.heads:
            return text
        body = text[head_length(text[:LOOKED_AT].encode()) :]
        looked_for = self.word and not has_word(body, self.word) and has_word(text, self.word)
        return text if looked_for else body

    # --- moving ---

    def validate_cursor(self, value: int) -> int:
        return max(0, min(value, len(self.ids) - 1))

    def watch_cursor(self, old: int, new: int) -> None:
        if old != new:
            self._keep_in_sight()
            self.refresh()
            self.post_message(self.Moved())

    def watch_follow(self, follow: bool) -> None:
        if follow and self.is_mounted:
            self.cursor = max(0, len(self.ids) - 1)
            self._keep_in_sight()
        self.post_message(self.Moved())

    def watch_has_focus(self, _has_focus: bool) -> None:
        super().watch_has_focus(_has_focus)
        self.refresh()

    def _keep_in_sight(self) -> None:
        # By force: what has just grown has its scroll bar only after the next layout.
        page, top = max(1, self.size.height), self.scroll_offset.y
        if self.cursor < top:
            self.scroll_to(y=self.cursor, animate=False, force=True)
        elif self.cursor >= top + page:
            self.scroll_to(y=self.cursor - page + 1, animate=False, force=True)

    def on_resize(self) -> None:
        self.virtual_size = Size(self.size.width, len(self.ids))
        self._keep_in_sight()
        self.refresh()

    def _move(self, rows: int) -> None:
        self.go_to(self.cursor + rows)

    def action_down(self) -> None:
        self._move(1)

    def action_up(self) -> None:
        self._move(-1)

    def action_page_down(self) -> None:
        self._move(max(1, self.size.height - 1))

    def action_page_up(self) -> None:
        self._move(-max(1, self.size.height - 1))

    def action_half_down(self) -> None:
        self._move(max(1, self.size.height // 2))

    def action_half_up(self) -> None:
        self._move(-max(1, self.size.height // 2))

    def action_top(self) -> None:
        self.go_to(0)

    def action_bottom(self) -> None:
        self.follow = True

    def action_right(self) -> None:
        self._shift(SIDE_STEP)

    def action_left(self) -> None:
        self._shift(-SIDE_STEP)

    def _shift(self, columns: int) -> None:
        self.left = max(0, self.left + columns)
        self.refresh()
        self.post_message(self.Moved())

    def action_heads(self) -> None:
        self.heads = not self.heads
        self.refresh()

    def action_choose(self) -> None:
        self.post_message(self.Chosen())

    def on_click(self, event: events.Click) -> None:
        index = self.scroll_offset.y + event.y
        if index >= len(self.ids):
            return
        if index == self.cursor and event.chain > 1:
            self.action_choose()
        self.go_to(index)

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        event.stop()
        self._move(-3)

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        event.stop()
        self._move(3)


def pieces(text: str, word: str) -> list[tuple[str, bool, bool]]:
    """(text, whether it stands for control characters, whether it was looked for), in order."""
    shown = _runs(text.expandtabs(8))
    if not word:
        return [(part, escaped, False) for part, escaped in shown]
    exact = word != word.lower()
    result: list[tuple[str, bool, bool]] = []
    for part, escaped in shown:
        if escaped:
            result.append((part, True, False))
            continue
        looked_in = part if exact else part.lower()
        at = 0
        while (found := looked_in.find(word, at)) >= 0:
            if found > at:
                result.append((part[at:found], False, False))
            at = found + len(word)
            result.append((part[found:at], False, True))
        if at < len(part):
            result.append((part[at:], False, False))
    return result


def _runs(text: str) -> list[tuple[str, bool]]:
    """`text` cut where it changes between what can be printed and what is shown as an escape."""
    runs: list[tuple[str, bool]] = []
    plain = ""
    for match in re.finditer(r"[ -~]+|[^ -~]", text):
        part = match[0]
        if len(part) > 1 or part.isprintable():
            plain += part
            continue
        if plain:
            runs.append((plain, False))
            plain = ""
        escape = repr(part)[1:-1]
        if runs and runs[-1][1]:
            runs[-1] = (runs[-1][0] + escape, True)
        else:
            runs.append((escape, True))
    if plain:
        runs.append((plain, False))
    return runs
