"""The workspace's sessions: open, resume, stop, delete."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.widgets import Static

from pdconsole.journal import JournalError, SessionDir, SessionSummary
from pdconsole.journal.session import ALIVE
from pdconsole.model.request import Call, Reply
from pdconsole.model.state import State
from pdconsole.ui.actions import Action
from pdconsole.ui.lines import duration, layout_name, printable
from pdconsole.ui.screens.confirm import ConfirmScreen
from pdconsole.ui.screens.list_screen import ListScreen
from pdconsole.ui.session_list import SessionList
from pdconsole.ui.session_source import SessionHistory
from pdconsole.ui.tables import size_text
from pdconsole.ui.top_line import STATUS_ROLES
from pdconsole.ui.touched import workers_text
from pdconsole.ui.widgets.filter_box import FilterBox
from pdconsole.ui.widgets.row_table import Cell, Column, Row, RowTable

NAME = "sessions"
REFRESH_S = 2.0

COLUMNS = (
    Column("name", "session", 33, flex=1),
    Column("status", "status", 10),
    Column("took", "took", 7, "right", priority=6),
    Column("size", "size", 8, "right", priority=4),
    Column("layouts", "layouts", 14, flex=3, priority=8),
    Column("question", "question", 30, flex=4, priority=3),
)


def _action(id: str, name: str, tooltip: str, *keys: str, hint: bool = True) -> Action:  # noqa: A002
    return Action(f"{NAME}.{id}", name, tooltip, keys, NAME, hint=hint)


class SessionsScreen(ListScreen):
    NAME = NAME
    TITLE = "Sessions"
    HELP = (
        "Every session of this workspace, the newest first. Enter opens one: live where it runs, "
        "at its end where it has ended."
    )
    ACTIONS: ClassVar = (
        _action("open", "open", "Show it: live, or at its end", "enter"),
        _action("replay", "replay", "Play it from its start", "p"),
        _action("resume", "resume", "Go on where it ended", "r"),
        _action("stop", "stop", "End the running session in order", "s"),
        _action("delete", "delete", "Delete its recording", "d", "delete"),
        _action("filter", "filter", "Only sessions with a word", "slash"),
        _action("sort", "Sort", "By the next column", "o", hint=False),
        _action("copy", "Copy command", "The command that repeats it", "y", hint=False),
    )

    def __init__(self) -> None:
        super().__init__()
        self._list: SessionList | None = None
        self._found: dict[str, SessionSummary] = {}
        self._read_at = -math.inf
        self._read_once = False

    def compose_body(self) -> ComposeResult:
        yield RowTable(COLUMNS, id="sessions", empty="reading…")
        yield FilterBox("only sessions with …", returns_to="#sessions", id="filter")
        yield Static(id="about", classes="detail", markup=False)

    def on_mount(self) -> None:
        self._list = SessionList(self.console.workspace)
        self.query_one(RowTable).focus()

    # --- what it shows ---

    def refresh_from(self, history: SessionHistory | None, t: float, state: State) -> None:
        now = self.console.clock.monotonic()
        if now - self._read_at >= REFRESH_S:
            self._read_at = now
            self.read()
        opened = self.console.opened
        name = {opened.directory.name} if opened else set()
        self.query_one(RowTable).mark(frozenset(name))

    @work(thread=True, exclusive=True, group="sessions")
    def read(self) -> None:
        assert self._list is not None
        try:
            found = self._list.refresh()
        except OSError as e:
            text = f"cannot read the sessions of {self.console.workspace}: {e.strerror}"
            self.app.call_from_thread(self.console.say, text, "error")
            return
        self.app.call_from_thread(self._show, found)

    def _show(self, found: tuple[SessionSummary, ...]) -> None:
        self._found = {summary.name: summary for summary in found}
        self._read_once = True
        self._lay_out()

    def _lay_out(self) -> None:
        table = self.query_one(RowTable)
        if not self._read_once:
            return
        word = self._word.casefold()
        rows = [row for s in self._found.values() if word in _words(s) for row in (_row(s),)]
        table.empty = (
            f"no session has `{self._word}` in it"
            if self._found
            else "no sessions yet; `pdconsole run pd-ratio-sweep --quick` makes one"
        )
        self._show_ordered(table, rows)
        self._tell_about()

    def _tell_about(self) -> None:
        summary = self.current
        about = self.query_one("#about", Static)
        about.display = summary is not None
        if summary is not None:
            about.update(_about(summary))

    @property
    def current(self) -> SessionSummary | None:
        return self._found.get(self.query_one(RowTable).current_key)

    @on(RowTable.Chosen)
    def chosen(self, _event: RowTable.Chosen) -> None:
        self.action_open()

    # --- what it does ---

    def action_open(self) -> None:
        if (summary := self.current) is not None:
            held = summary.status in ALIVE
            self.console.open(summary.name, at=None if held else math.inf)

    def action_replay(self) -> None:
        if (summary := self.current) is not None:
            self.console.open(summary.name, at=0.0)

    def action_copy(self) -> None:
        summary = self.current
        if summary is None:
            return
        try:
            command = str(SessionDir.open(self._path(summary)).read_meta().get("command", ""))
        except JournalError as e:
            self.console.say(str(e), "error")
            return
        if command:
            self.console.copy(command, "the command")
        else:
            self.console.say(f"{summary.name} does not say what command made it", "warning")

    def _path(self, summary: SessionSummary) -> Path:
        return self.console.workspace / "sessions" / summary.name

    def action_resume(self) -> None:
        summary = self.current
        if summary is None:
            return
        if summary.status in ALIVE:
            self.console.say(f"{summary.name} is running; enter opens it", "warning")
        elif summary.status == "finished":
            self.console.say(f"{summary.name} finished; there is nothing left to do", "warning")
        else:
            self._ask(
                f"Resume {summary.name}?",
                f"Its unfinished points are measured on cluster {summary.cluster} "
                f"({_layouts(summary)}).",
                "Resume",
                lambda: self._call(
                    Call(command="resume", session=summary.name), f"{summary.name} goes on"
                ),
            )

    def action_stop(self) -> None:
        summary = self.current
        if summary is None:
            return
        if summary.status not in ALIVE:
            self.console.say(f"{summary.name} does not run; nothing to stop", "warning")
            return
        self._ask(
            f"Stop {summary.name}?",
            f"The point under way is given up, and {self._touched(summary)} ended. What is "
            "measured stays, and the session can be resumed.",
            "Stop",
            lambda: self._call(Call(command="stop"), f"{summary.name} is stopping"),
        )

    def _touched(self, summary: SessionSummary) -> str:
        """Which workers, nodes and GPUs, as far as it is known here."""
        console = self.console
        opened = console.opened
        if opened is None or opened.directory.name != summary.name:
            return f"all workers on cluster {summary.cluster} are"
        workers = workers_text(opened.history.latest())
        return f"{workers} are" if workers else "what was started on its nodes is"

    def action_delete(self) -> None:
        summary = self.current
        if summary is None:
            return
        if summary.status in ALIVE:
            self.console.say(f"{summary.name} is running; stop it first (s)", "warning")
            return
        self._ask(
            f"Delete {summary.name}?",
            f"Its recording and logs, {size_text(summary.size_bytes)}, are removed from "
            f"{self._path(summary)} for good. Its results in bm_results/ stay.",
            "Delete",
            lambda: self._delete(summary.name),
        )

    def _ask(self, question: str, about: str, yes: str, then: Callable[[], object]) -> None:
        def answered(said: bool | None) -> None:
            if said:
                then()

        self.app.push_screen(ConfirmScreen(question, printable(about), yes=yes), answered)

    def _call(self, call: Call, done: str) -> None:
        def then(_reply: Reply) -> None:
            self.console.say(done)
            self.read()

        self.console.runner.ask(call, then, start=call.command == "resume")

    @work(thread=True, group="call")
    def _delete(self, name: str) -> None:
        from pdconsole.journal.deletion import delete_session

        opened = self.console.opened
        try:
            directory = SessionDir.open(self.console.workspace / "sessions" / name)
            delete_session(directory)
        except JournalError as e:
            self.app.call_from_thread(self.console.say, str(e), "error")
            return
        if opened is not None and opened.directory.name == name:
            self.app.call_from_thread(self.console.close_session)
        self.app.call_from_thread(self.console.say, f"{name} is deleted")
        self.app.call_from_thread(self.read)


def _layouts(summary: SessionSummary) -> str:
    return ", ".join(layout_name(slug) for slug in summary.layouts)


def _words(s: SessionSummary) -> str:
    return " ".join((s.name, s.status, s.question, s.cluster, s.model, _layouts(s))).casefold()


def _row(s: SessionSummary) -> Row:
    took = duration(s.duration_s) if s.duration_s is not None else "-"
    return Row(
        s.name,
        (
            Cell(s.name),
            Cell(s.status, STATUS_ROLES.get(s.status, "text")),
            Cell(took, "muted", s.duration_s),
            Cell(size_text(s.size_bytes), "muted", float(s.size_bytes)),
            Cell(_layouts(s)),
            Cell(s.question, "muted"),
        ),
    )


def _about(s: SessionSummary) -> str:
    facts = [f for f in (s.experiment, s.model, s.cluster) if f]
    if s.simulated:
        facts.append("simulated")
    lines = [" · ".join(facts), f"layouts   {_layouts(s)}", f"question  {s.question or '-'}"]
    if s.message or s.problem:
        lines.append("; ".join(t for t in (s.message, s.problem) if t))
    return "\n".join(printable(line) for line in lines)
