"""The preflight checks of the open session, as they were recorded."""

from __future__ import annotations

from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.widgets import Input, Static

from pdconsole.model.events import CheckResult
from pdconsole.model.state import State
from pdconsole.ui.actions import Action
from pdconsole.ui.lines import clock, counted, printable
from pdconsole.ui.screens.console_screen import ConsoleScreen
from pdconsole.ui.session_source import SessionHistory
from pdconsole.ui.widgets.filter_box import FilterBox
from pdconsole.ui.widgets.frame_lines import FrameLine, Piece
from pdconsole.ui.widgets.row_table import Cell, Column, Row, RowTable, sorted_rows

NAME = "checks"
ROLES = {"ok": "ok", "warn": "warn", "fail": "fail", "unknown": "unknown"}
# The worst first, where that is asked for.
SEVERITY = {"fail": 0, "warn": 1, "unknown": 2, "ok": 3}
MARKS = {"ok": "✓ ok", "warn": "! warn", "fail": "✗ fail", "unknown": "? unknown"}

COLUMNS = (
    Column("node", "node", 9),
    Column("check", "check", 16),
    Column("verdict", "verdict", 11),
    Column("value", "value", 20, flex=2),
    Column("threshold", "threshold", 12, flex=1, priority=6),
    Column("advice", "advice", 20, flex=3, priority=5),
)


def _action(id: str, name: str, tooltip: str, *keys: str) -> Action:  # noqa: A002
    return Action(f"{NAME}.{id}", name, tooltip, keys, NAME)


class ChecksScreen(ConsoleScreen):
    NAME = NAME
    TITLE = "Checks"
    HELP = (
        "What was checked on every node before the first layout started, as of the second shown. "
        "A failed hard check refuses the run."
    )
    ACTIONS: ClassVar = (
        _action("problems", "problems only", "Hide what is ok", "f"),
        _action("sort", "sort", "By node, or the worst first", "o"),
        _action("filter", "filter", "Only checks with a word", "slash"),
        _action("copy", "copy", "The check under the cursor, in full", "y"),
    )

    def __init__(self) -> None:
        super().__init__()
        self._checks: tuple[CheckResult, ...] = ()
        self._problems_only = False
        self._order = ("", False)
        self._word = ""

    def compose_body(self) -> ComposeResult:
        yield FrameLine(id="counts")
        yield RowTable(COLUMNS, id="checks")
        yield FilterBox("only checks with …", returns_to="#checks", id="filter")
        yield Static(id="about", classes="detail", markup=False)

    def on_mount(self) -> None:
        self.query_one(RowTable).focus()

    def refresh_from(self, history: SessionHistory | None, t: float, state: State) -> None:
        checks = tuple(state.checks.values())
        table = self.query_one(RowTable)
        if history is None:
            empty = "no session is open; choose one on the Sessions screen (1)"
        elif checks:
            empty = "nothing to show: all checks are ok, or none has this word"
        else:
            empty = "no check is recorded up to this second"
        if checks != self._checks or table.empty != empty:
            self._checks = checks
            table.empty = empty
            self._lay_out()

    def _lay_out(self) -> None:
        word = self._word.casefold()
        rows = [
            _row(check)
            for check in self._checks
            if (not self._problems_only or check.verdict != "ok") and word in _words(check)
        ]
        column, descending = self._order
        if column:
            index = [c.key for c in COLUMNS].index(column)
            rows = sorted_rows(rows, index, descending=descending)
        table = self.query_one(RowTable)
        table.show_rows(rows)
        table.show_order(column, descending)
        self.query_one("#counts", FrameLine).say(self._counts())
        self._tell_about()

    def _counts(self) -> list[Piece]:
        pieces = [Piece(f" {counted(len(self._checks), 'check')}  ", "muted")]
        for verdict, role in ROLES.items():
            number = sum(c.verdict == verdict for c in self._checks)
            pieces.append(Piece(f" {MARKS[verdict]} {number} ", role if number else "muted"))
        if self._problems_only:
            pieces.append(Piece("  problems only", "accent"))
        return pieces

    @property
    def current(self) -> CheckResult | None:
        key = self.query_one(RowTable).current_key
        return next((c for c in self._checks if _key(c) == key), None)

    def _tell_about(self) -> None:
        check = self.current
        about = self.query_one("#about", Static)
        about.display = check is not None
        if check is not None:
            about.update(_about(check))

    @on(RowTable.Moved)
    def moved(self, _event: RowTable.Moved) -> None:
        self._tell_about()

    @on(RowTable.Heading)
    def heading(self, event: RowTable.Heading) -> None:
        column, descending = self._order
        self._order = (event.column, column == event.column and not descending)
        self._lay_out()

    def action_problems(self) -> None:
        self._problems_only = not self._problems_only
        self._lay_out()

    def action_sort(self) -> None:
        self._order = ("", False) if self._order[0] == "verdict" else ("verdict", False)
        self._lay_out()

    def action_filter(self) -> None:
        self.query_one(FilterBox).ask()

    @on(Input.Changed, "#filter")
    def filter_typed(self, event: Input.Changed) -> None:
        self._word = event.value
        self._lay_out()

    def action_copy(self) -> None:
        if (check := self.current) is not None:
            self.console.copy(_about(check), "the check")


def _key(check: CheckResult) -> str:
    return f"{check.node}/{check.check}"


def _words(c: CheckResult) -> str:
    return " ".join((c.node, c.check, c.verdict, c.value, c.threshold, c.advice)).casefold()


def _row(check: CheckResult) -> Row:
    hard = " hard" if check.hard and check.verdict == "fail" else ""
    return Row(
        _key(check),
        (
            Cell(check.node, sort=check.node),
            Cell(check.check),
            Cell(MARKS[check.verdict] + hard, ROLES[check.verdict], float(SEVERITY[check.verdict])),
            Cell(check.value, "text" if check.verdict == "ok" else ROLES[check.verdict]),
            Cell(check.threshold, "muted"),
            Cell(check.advice),
        ),
    )


def _about(check: CheckResult) -> str:
    hard = ", a hard check" if check.hard else ""
    lines = [
        f"{check.check} on {check.node}: {check.verdict}{hard}, at {clock(check.wall)}",
        f"value      {check.value or '-'}",
        f"threshold  {check.threshold or '-'}",
    ]
    if check.advice:
        lines.append(f"advice     {check.advice}")
    return "\n".join(printable(line) for line in lines)
