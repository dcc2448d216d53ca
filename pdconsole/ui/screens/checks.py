"""The preflight checks: those of the open session, or those of a cluster made just now."""

from __future__ import annotations

from typing import ClassVar

from textual import work
from textual.app import ComposeResult
from textual.widgets import Static

from pdconsole.model.events import CheckResult
from pdconsole.model.request import Call, Reply
from pdconsole.model.state import State
from pdconsole.model.survey import Checking
from pdconsole.model.validation import CHECK as ONCE
from pdconsole.profiles import ProfileError
from pdconsole.ui.actions import Action
from pdconsole.ui.chosen_profiles import ProfileEntry, read_entries
from pdconsole.ui.lines import clock, counted, printable
from pdconsole.ui.screens.list_screen import ListScreen
from pdconsole.ui.screens.profile_choice import ProfileChoice
from pdconsole.ui.session_source import OpenedSession, SessionHistory
from pdconsole.ui.widgets.filter_box import FilterBox
from pdconsole.ui.widgets.frame_lines import FrameLine, Piece
from pdconsole.ui.widgets.row_table import Cell, Column, Row, RowTable

NAME = "checks"
LOOK_S = 0.5  # how often it is looked whether there is more
AGAIN_S = 100.0  # a node may take so long to say what it has
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


class ChecksScreen(ListScreen):
    NAME = NAME
    TITLE = "Checks"
    HELP = (
        "What was checked on every node of the open session, as of the second shown; while it runs "
        "r and R check again, and the recording keeps that. Without a session that runs they check "
        "a cluster as it is now. A failed hard check refuses the run."
    )
    ACTIONS: ClassVar = (
        _action("again", "run again", "The check under the cursor, on its node", "r"),
        _action("again-all", "all again", "Every check on every node", "R"),
        _action("problems", "problems only", "Hide what is ok", "f"),
        _action("sort", "sort", "By node, or the worst first", "o"),
        _action("filter", "filter", "Only checks with a word", "slash"),
        _action("cluster", "cluster", "Choose a cluster and check it now", "c"),
        _action("recorded", "recorded", "What the session recorded, or what was found now", "w"),
        _action("copy", "copy", "The check under the cursor, in full", "y"),
    )

    def __init__(self) -> None:
        super().__init__()
        self._checks: tuple[CheckResult, ...] = ()
        self._problems_only = False
        self._session: OpenedSession | None = None
        self._cluster = ""  # checked now, apart from any session; "" while none is
        self._found: Checking | None = None
        self._asked_t = 0.0  # session second of the last "again"; what is younger answers it
        self._awaited: frozenset[str] = frozenset()
        self._awaited_until = 0.0
        self._question = 0
        self._to_top = False  # rows of a cluster come out of order at first
        self._looked_at = 0.0
        self._shows_now = False

    def compose_body(self) -> ComposeResult:
        yield FrameLine(id="counts")
        yield RowTable(COLUMNS, id="checks")
        yield FilterBox("only checks with …", returns_to="#checks", id="filter")
        yield Static(id="about", classes="detail", markup=False)

    def on_mount(self) -> None:
        self.query_one(RowTable).focus()

    def refresh_from(self, history: SessionHistory | None, t: float, state: State) -> None:
        if self.console.opened is not self._session:
            self._session = self.console.opened
            self._shows_now, self._awaited = False, frozenset()
        now = self.console.clock.monotonic()
        if self._found is not None and self._found.busy and now - self._looked_at >= LOOK_S:
            self._ask_now(again=False)
        checks = self._known(state)
        table = self.query_one(RowTable)
        empty = self._why_empty(history, checks)
        awaited = self._still_awaited(history)
        if (checks, awaited) != (self._checks, self._awaited) or table.empty != empty:
            self._checks, self._awaited = checks, awaited
            table.empty = empty
            self._lay_out()

    @property
    def _now(self) -> bool:
        """Whether what is shown was found just now, apart from any session."""
        return bool(self._cluster) and (self._shows_now or self.console.history is None)

    def _known(self, state: State) -> tuple[CheckResult, ...]:
        if self._now:
            return self._found.results if self._found else ()
        return tuple(state.checks.values())

    def _why_empty(self, history: SessionHistory | None, checks: tuple[CheckResult, ...]) -> str:
        if checks:
            return "nothing to show: all checks are ok, or none has this word"
        if self._now:
            if self._found is None or self._found.busy:
                return f"checking {self._cluster}…"
            return f"nothing was checked on {self._cluster}"
        if history is None:
            return "no session is open; R checks a cluster now, c chooses which one"
        return "no check is recorded up to this second"

    def _still_awaited(self, history: SessionHistory | None) -> frozenset[str]:
        """Of the checks asked for again in the session, those that have not answered."""
        if history is None or not self._awaited:
            return frozenset()
        if self.console.clock.monotonic() >= self._awaited_until:
            return frozenset()  # a check that is no more, or a node that is lost
        known = {_key(c): c for c in history.latest().checks.values()}
        return frozenset(
            key for key in self._awaited if key in known and known[key].t <= self._asked_t
        )

    def _lay_out(self) -> None:
        word = self._word.casefold()
        rows = [
            _row(check)
            for check in self._checks
            if (not self._problems_only or check.verdict != "ok") and word in _words(check)
        ]
        table = self.query_one(RowTable)
        self._show_ordered(table, rows)
        if self._to_top and self._found is not None and not self._found.busy:
            self._to_top, table.cursor = False, 0
        self.query_one("#counts", FrameLine).say(self._counts())
        self._tell_about()

    def _counts(self) -> list[Piece]:
        pieces = [Piece(f" {counted(len(self._checks), 'check')}  ", "muted")]
        if self._now:
            pieces.insert(0, Piece(f" {self._cluster} now", "accent", bold=True))
        for verdict, role in ROLES.items():
            number = sum(c.verdict == verdict for c in self._checks)
            pieces.append(Piece(f" {MARKS[verdict]} {number} ", role if number else "muted"))
        if self._awaited:
            pieces.append(Piece(f"  checking {len(self._awaited)} again…", "accent"))
        elif self._now and self._found is not None and self._found.busy:
            pieces.append(Piece("  more to come…", "accent"))
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

    def action_problems(self) -> None:
        self._problems_only = not self._problems_only
        self._lay_out()

    def action_sort(self) -> None:
        self._order = ("", False) if self._order[0] == "verdict" else ("verdict", False)
        self._lay_out()

    # --- again ---

    def action_again(self) -> None:
        check = self.current
        if check is None:
            self.console.say("no check is chosen; R runs them all", "warning")
        elif check.check == ONCE and not self._now:
            self.console.say("done once a deployment; `pdconsole validate` does it anew", "warning")
        else:
            self._again(check.node, check.check, frozenset({_key(check)}))

    def action_again_all(self) -> None:
        keys = (_key(check) for check in self._checks if check.check != ONCE)
        self._again("", "", frozenset(keys))

    def _again(self, node: str, check: str, keys: frozenset[str]) -> None:
        opened = self.console.opened
        if opened is not None and opened.history.is_live and not self._now:
            self._again_in_session(opened, node, check, keys)
            return
        if not self._cluster:
            about = opened.history.latest().opened if opened else None
            remembered = self.console.settings.chosen.get("cluster", "")
            self._cluster = about.cluster if about else remembered
        if not self._cluster:
            self.action_cluster()
            return
        self._shows_now = True
        self._ask_now(again=True, node=node, check=check)

    def _again_in_session(
        self, opened: OpenedSession, node: str, check: str, keys: frozenset[str]
    ) -> None:
        """The answers come as events of its recording."""
        self._asked_t, self._awaited = opened.history.end_t, keys
        self._awaited_until = self.console.clock.monotonic() + AGAIN_S

        def failed(problem: str) -> None:
            self._awaited = frozenset()
            self.console.say(problem, "error")
            self._lay_out()

        def told(_reply: Reply) -> None:
            what = f"{check} on {node}" if check else "everything"
            self.console.say(f"checking {what} again")

        call = Call(command="check", node=node, check=check, again=True)
        self.console.runner.ask(call, told, failed, start=False)
        self._lay_out()

    def _ask_now(self, *, again: bool, node: str = "", check: str = "") -> None:
        cluster = self._cluster
        if again:
            self._question += 1
        self._looked_at = self.console.clock.monotonic()
        question = self._question  # an answer to an earlier one is not shown

        def found(reply: Reply) -> None:
            if question != self._question or reply.checking is None:
                return
            self._found = reply.checking
            if reply.checking.trouble:
                self.console.say(reply.checking.trouble, "error")
            self.console.refresh_visible()

        def failed(problem: str) -> None:
            if question == self._question:
                self._found = Checking(cluster=cluster, busy=False)
                self.console.say(problem, "error")
                self.console.refresh_visible()

        call = Call(command="check", cluster=cluster, node=node, check=check, again=again)
        # A question must not wait behind, or be dropped for, looking whether there is more.
        self.console.runner.ask(call, found, failed, topic="" if again else "checking")
        if again:
            self.console.refresh_visible()

    @work(thread=True, exclusive=True, group="clusters")
    def action_cluster(self) -> None:
        try:
            entries = read_entries(self.console.workspace, "cluster")
        except ProfileError as e:
            self.app.call_from_thread(self.console.say, str(e), "error")
            return
        self.app.call_from_thread(self._choose_cluster, entries)

    def _choose_cluster(self, entries: tuple[ProfileEntry, ...]) -> None:
        def chosen(name: str | None) -> None:
            if name:
                self._cluster, self._found, self._shows_now = name, None, True
                self._to_top = True
                self._ask_now(again=True)

        if self.is_current:
            self.app.push_screen(ProfileChoice("cluster", entries, self._cluster), chosen)

    def action_recorded(self) -> None:
        if self.console.history is None:
            self.console.say("no session is open; what is shown was found now", "warning")
        elif not self._cluster:
            self.console.say("nothing was checked apart from the session; c does that", "warning")
        else:
            self._shows_now = not self._shows_now
            self.console.refresh_visible()

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
    at = f", at {clock(check.wall)}" if check.wall else ""  # recorded ones have their time
    lines = [
        f"{check.check} on {check.node}: {check.verdict}{hard}" + at,
        f"value      {check.value or '-'}",
        f"threshold  {check.threshold or '-'}",
    ]
    if check.advice:
        lines.append(f"advice     {check.advice}")
    return "\n".join(printable(line) for line in lines)
