"""The logs of the open session's processes, merged or one at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import numpy as np
from textual import on
from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.widgets import Input, Static

from pdconsole.journal import JournalError
from pdconsole.journal.log_book import Ids, LogBook
from pdconsole.journal.log_lines import LEVELS
from pdconsole.model.state import State
from pdconsole.ui.actions import Action
from pdconsole.ui.lines import clock, counted, duration, printable
from pdconsole.ui.screens.console_screen import ConsoleScreen
from pdconsole.ui.session_source import OpenedSession, SessionHistory
from pdconsole.ui.widgets.filter_box import FilterBox
from pdconsole.ui.widgets.frame_lines import FrameLine, Piece
from pdconsole.ui.widgets.log_view import LETTERS, LEVEL_ROLES, LogView, role_of
from pdconsole.ui.widgets.row_table import Cell, Column, Row, RowTable

NAME = "logs"
PIECE = 1 << 18  # bytes read between two looks at the keyboard
COPIED_LINES = 100_000
LEAST = (0, 2, 3, 4)  # what `e` goes through: all, info, warnings, errors
LEAST_NAMES = {0: "all levels", 2: "info and worse", 3: "warnings and errors", 4: "errors"}

COLUMNS = (
    Column("log", "log", 9, flex=1),
    Column("node", "node", 8, priority=2),
    Column("lines", "lines", 6, "right"),
    Column("worst", "", 1),
)


def _action(id: str, name: str, tooltip: str, *keys: str, hint: bool = True) -> Action:  # noqa: A002
    return Action(f"{NAME}.{id}", name, tooltip, keys, NAME, hint=hint)


class LogsScreen(ConsoleScreen):
    NAME = NAME
    TITLE = "Logs"
    HELP = (
        "At the left all logs of the session: space takes one in or out, enter shows it alone. "
        "While a session is replayed, only what was logged up to the second shown is here. Times "
        "in front of lines are those of this machine."
    )
    ACTIONS: ClassVar = (
        _action("follow", "follow", "Stay at the last line, or no more", "f"),
        _action("search", "search", "Look for a word; upper case counts if typed", "slash"),
        _action("next", "next", "The next line with the word", "n"),
        _action("previous", "Previous", "The line before with the word", "N", hint=False),
        _action("level", "level", "All, info, warnings, errors only", "e"),
        _action("one", "this log", "Only the log of the line, or that under the cursor", "o"),
        _action("all", "all logs", "Merge all logs", "a"),
        _action("take", "Take in or out", "The log under the cursor", "space", hint=False),
        _action("copy", "copy", "The line under the cursor", "y"),
        _action("copy-all", "Copy all", "All lines that pass the filters", "c", hint=False),
    )

    def __init__(self) -> None:
        super().__init__()
        self._opened: OpenedSession | None = None
        self._book: LogBook | None = None
        self._chosen: frozenset[int] = frozenset()  # sources; none: all
        self._least = 0
        self._until: float | None = None  # wall time of the replay's second
        self._selected: Ids = np.empty(0, np.int64)
        self._selected_for: object = None
        self._reading = False
        self._search: Iterator[int | None] | None = None
        self._whole = False
        self._asked: tuple[str, str, float | None] | None = None  # run, process, wall

    def compose_body(self) -> ComposeResult:
        yield FrameLine(id="about-logs")
        with Horizontal(classes="body"):
            yield RowTable(COLUMNS, id="sources")
            yield LogView(id="log")
        yield FilterBox("look for …", returns_to="#log", id="search")
        yield Static(id="whole", classes="detail", markup=False)

    def on_mount(self) -> None:
        self.query_one("#whole").display = False
        self._log.focus()

    @property
    def _log(self) -> LogView:
        return self.query_one(LogView)

    # --- reading ---

    def refresh_from(self, history: SessionHistory | None, t: float, state: State) -> None:
        opened = self.console.opened
        if opened is not self._opened:
            self._begin(opened)
        if opened is None or self._book is None:
            self._log.empty = "no session is open; choose one on the Sessions screen (1)"
            self._say_about()
            return
        start = opened.history.start_wall
        self._book.run_starts = {
            run.id: start + run.started_t for run in state.runs if run.started_t is not None
        }
        at_end = opened.replay.following or t >= opened.history.end_t
        self._until = None if at_end else start + t
        if not self._reading:
            self._read_on()
        self._lay_out()

    def _begin(self, opened: OpenedSession | None) -> None:
        self._opened = opened
        self._chosen = frozenset()
        self._search = None
        self._selected_for = None
        self._book = None
        if opened is not None:
            logs = opened.directory.path / "logs"
            self._book = LogBook(logs, opened.history.start_wall)
        self._log.follow = True

    def _read_on(self) -> None:
        """A piece at a time, so that keys are answered in between."""
        book = self._book
        if book is None or self.console.shown is not self:
            self._reading = False
            return
        try:
            self._reading = book.take_in(PIECE)
        except JournalError as e:
            self._reading = False
            self.console.say(str(e), "error")
            return
        if self._reading:
            self.console.soon(self._read_on)
        else:
            self._lay_out()

    def _lay_out(self) -> None:
        book = self._book
        if book is None:
            return
        wanted = (len(book), self._least, self._chosen)
        if wanted != self._selected_for:
            self._selected_for = wanted
            self._selected = book.select(least_level=self._least, sources=self._chosen or None)
        ids = self._selected
        if self._until is not None:
            ids = ids[: book.first_at(ids, self._until)]
        self._log.empty = "no line passes the filters" if len(book) else "nothing is logged yet"
        self._log.show(book, ids)
        self._show_sources(book)
        if self._asked is not None and not self._reading:
            self._go_to_asked()
        self._say_about()

    def _show_sources(self, book: LogBook) -> None:
        rows = []
        for source, (lines, worst) in zip(book.sources, book.counts(), strict=True):
            bad = worst if worst >= LEVELS.index("warning") else 0
            rows.append(
                Row(
                    str(source.path),
                    (
                        Cell(source.name, role_of(source)),
                        Cell(source.node, "muted"),
                        Cell(f"{lines:,}", "muted"),
                        Cell(LETTERS[bad], LEVEL_ROLES[bad]),
                    ),
                )
            )
        table = self.query_one("#sources", RowTable)
        table.show_rows(rows)
        table.mark(frozenset(str(book.sources[i].path) for i in self._chosen))

    def _say_about(self) -> None:
        book, log = self._book, self._log
        pieces = [Piece(" ")]
        if book is not None:
            shown = f"{len(log.ids):,} of " if len(log.ids) != len(book) else ""
            pieces.append(Piece(f"{shown}{len(book):,} lines", "text"))
            chosen = f"{len(self._chosen)} of " if self._chosen else ""
            pieces.append(Piece(f"  {chosen}{counted(len(book.sources), 'log')}", "muted"))
            pieces.append(
                Piece(f"  {LEAST_NAMES[self._least]}", "warn" if self._least else "muted")
            )
            if log.follow:
                pieces.append(Piece("  following", "ok"))
            elif len(log.ids):
                pieces.append(Piece(f"  line {log.cursor + 1:,}", "muted"))
            if log.left:
                pieces.append(Piece(f"  from column {log.left + 1}", "muted"))
            if self._until is not None:
                pieces.append(Piece(f"  up to {duration(self.console.t)} of the replay", "accent"))
            if self._reading:
                pieces.append(Piece("  reading…", "accent"))
            if log.word:
                looking = "  looking for" if self._search else "  search"
                pieces.append(Piece(f"{looking} `{log.word}`", "accent"))
        self.query_one("#about-logs", FrameLine).say(pieces)

    # --- levels and sources ---

    def action_level(self) -> None:
        self._least = LEAST[(LEAST.index(self._least) + 1) % len(LEAST)]
        self._lay_out()

    def action_all(self) -> None:
        self._choose(frozenset())

    def action_one(self) -> None:
        book, line = self._book, self._log.current_line
        if book is None:
            return
        if self.query_one("#sources").has_focus:
            self._choose(frozenset({self.query_one("#sources", RowTable).cursor}))
        elif line is not None:
            self._choose(frozenset({book.source_of(line)}))

    def action_take(self) -> None:
        table = self.query_one("#sources", RowTable)
        if table.rows:
            self._choose(self._chosen ^ {table.cursor})

    def _choose(self, sources: frozenset[int]) -> None:
        self._chosen = sources
        self._lay_out()

    @on(RowTable.Chosen, "#sources")
    def source_chosen(self, _event: RowTable.Chosen) -> None:
        self.action_one()
        self._log.focus()

    # --- following, whole lines, copies ---

    def action_follow(self) -> None:
        self._log.follow = not self._log.follow

    @on(LogView.Moved)
    def moved(self, _event: LogView.Moved) -> None:
        self._say_about()
        self._show_whole()

    @on(LogView.Chosen)
    def line_chosen(self, _event: LogView.Chosen) -> None:
        self._whole = not self._whole
        self._show_whole()

    def _show_whole(self) -> None:
        whole = self.query_one("#whole", Static)
        whole.display = self._whole
        if self._whole and (text := self._line_text()):
            whole.update(text)

    def _line_text(self) -> str:
        book, line = self._book, self._log.current_line
        if book is None or line is None:
            return ""
        source = book.sources[book.source_of(line)]
        when = clock(book.wall_of(line))
        return f"{when} {source.node} {source.name}  {printable(book.text(line))}"

    def action_copy(self) -> None:
        if text := self._line_text():
            self.console.copy(text, "the line")

    def action_copy_all(self) -> None:
        book, ids = self._book, self._log.ids
        if book is None or not len(ids):
            return
        lines = []
        for line in ids[-COPIED_LINES:]:
            source = book.sources[book.source_of(int(line))]
            lines.append(f"{source.node} {source.name} {printable(book.text(int(line)))}")
        what = f"the last {COPIED_LINES:,} lines" if len(ids) > COPIED_LINES else "all lines shown"
        self.console.copy("\n".join(lines) + "\n", what)

    # --- searching ---

    def action_search(self) -> None:
        self.query_one(FilterBox).ask()

    @on(Input.Changed, "#search")
    def word_typed(self, event: Input.Changed) -> None:
        self._log.word = event.value
        self._log.refresh()
        self._say_about()

    @on(FilterBox.Left)
    def word_is_typed(self, event: FilterBox.Left) -> None:
        if event.text:
            self._look(self._log.cursor, back=False)

    def action_next(self) -> None:
        self._look(self._log.cursor + 1, back=False)

    def action_previous(self) -> None:
        self._look(self._log.cursor - 1, back=True)

    def _look(self, start: int, *, back: bool) -> None:
        if self._book is None:
            return
        if not self._log.word:
            self.action_search()
            return
        self._search = self._find(self._book, start, back=back)
        self._look_on()

    def _find(self, book: LogBook, start: int, *, back: bool) -> Iterator[int | None]:
        """As LogBook.find, and round the end once."""
        ids, word = self._log.ids, self._log.word
        for found in book.find(ids, word, start, back=back):
            if found != -1:
                yield found
        for found in book.find(ids, word, len(ids) - 1 if back else 0, back=back):
            if found is not None:
                said = f"from the {'end' if back else 'top'} again"
                self.console.say(said if found >= 0 else f"no line has `{word}` in it")
            yield found

    def _look_on(self) -> None:
        """Some lines at a time; a new search, or another session, ends this one."""
        if self._search is None:
            return
        found = next(self._search)
        if found is None:
            self.console.soon(self._look_on)
            return
        self._search = None
        if found >= 0:
            self._log.go_to(found)
        self._say_about()

    # --- from elsewhere ---

    def show_process(self, run: str, process: str, wall: float | None) -> None:
        """Only that process's log, at the first line of that time or later; "": all logs."""
        self._asked = (run, process, wall)

    def _go_to_asked(self) -> None:
        assert self._asked is not None
        assert self._book is not None
        (run, process, wall), self._asked = self._asked, None
        sources = frozenset(
            i
            for i, s in enumerate(self._book.sources)
            if s.process == process and (not run or s.run == run)
        )
        if not sources and process:
            self.console.say(f"no log of {process} is recorded yet", "warning")
            return
        self._choose(sources)
        if wall is not None:
            self._log.go_to(self._book.first_at(self._log.ids, wall))
