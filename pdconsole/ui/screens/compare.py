"""The workspace's results: a table of all points, and what the marked ones say of each other."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.containers import Container, Vertical
from textual.widgets import Static

from pdconsole.model.state import State
from pdconsole.results import ResultError, compare
from pdconsole.results.axes import Axes
from pdconsole.results.comparison import Comparison
from pdconsole.results.panel import Panel, setting_of
from pdconsole.results.table import unit_of
from pdconsole.ui.actions import Action
from pdconsole.ui.comparison_file import (
    FORMS,
    TEXT_WIDTH,
    file_problem,
    free_name,
    place_of,
    write_comparison,
)
from pdconsole.ui.comparison_view import (
    Compared,
    Line,
    audit_view,
    compared,
    promise,
    regime_view,
    side_by_side,
    strip,
)
from pdconsole.ui.lines import counted
from pdconsole.ui.result_rows import (
    ResultEntry,
    Standing,
    about_point,
    columns_of,
    entry_of,
    key_of,
    table_row,
)
from pdconsole.ui.result_stamp import Stamp, stamp_of
from pdconsole.ui.screens.compare_axes import AXES_ACTIONS, AxesScreen
from pdconsole.ui.screens.list_screen import ListScreen
from pdconsole.ui.session_source import SessionHistory
from pdconsole.ui.widgets.filter_box import FilterBox
from pdconsole.ui.widgets.frame_lines import FrameLine, Piece
from pdconsole.ui.widgets.row_table import Column, Row, RowTable
from pdconsole.ui.widgets.scatter import Scatter, ScatterChart
from pdconsole.ui.widgets.text_pane import TextPane

NAME = "compare"
RESULTS = "bm_results"
LOOK_S = 3.0  # how often it is looked whether the files have changed
_UNKNOWN = Standing()
VIEWS = {"chart": "chart", "regimes": "regimes", "audit": "audit", "side": "side by side"}


def _action(id: str, name: str, tooltip: str, *keys: str, hint: bool = True) -> Action:  # noqa: A002
    return Action(f"{NAME}.{id}", name, tooltip, keys, NAME, hint=hint)


class CompareScreen(AxesScreen, ListScreen):
    NAME = NAME
    TITLE = "Compare"
    HELP = (
        "Every point under bm_results/. Mark runs to compare them; without marks, all that are "
        "listed are compared. `best`: * on the frontier, where no point is better in both; ○ "
        "doubted, flags say why; ✓ ✗ keeps the SLO or not. Points of another workload, model or "
        "GPU are another group: what is shown is that of the point under the cursor."
    )
    ACTIONS: ClassVar = (
        _action("mark", "mark run", "Compare this run, or no more", "space", "m"),
        _action("next-view", "view", "Chart, regimes, audit, side by side", "v"),
        *AXES_ACTIONS,
        _action("filter", "filter", "Only points with a word", "slash"),
        _action("sort", "sort", "By the next column", "o"),
        _action("best", "best", "The next best point: within the SLO, or on the frontier", "b"),
        _action("export", "export", "What is shown as a figure, CSV, JSON or text", "e"),
        _action("chart", "parts", "Table, table and view, or view", "c"),
        _action("mark-point", "Mark point", "This point alone", "M", hint=False),
        _action("clear", "Clear marks", "Nothing is marked", "u", hint=False),
        _action("reverse", "Reverse", "Sort the other way round", "O", hint=False),
        _action("previous-view", "View before", "The other way round", "V", hint=False),
        _action("group", "Next group", "Points of the next workload or GPU", "n", hint=False),
        _action("scroll-down", "View down", "Scroll the text, from the table", "J", hint=False),
        _action("scroll-up", "View up", "Scroll the text, from the table", "K", hint=False),
        _action("reload", "Read again", "Also files that look as before", "R", hint=False),
        _action("copy", "Copy table", "The marked or listed points as text", "y", hint=False),
    )

    def __init__(self) -> None:
        super().__init__()
        self._read: Comparison | None = None
        self._stamp: Stamp | None = None  # of the files that were read
        self._looked_at = -math.inf
        self._looking = False
        self._entries: tuple[ResultEntry, ...] = ()
        self._listed: tuple[ResultEntry, ...] = ()
        self._by_key: dict[str, ResultEntry] = {}
        self._marked: frozenset[str] = frozenset()
        self._made: dict[str, tuple[Standing, Row]] = {}  # rows of the table, by key
        self._made_for: object = None
        self._view = "chart"
        self._compared = Compared()
        self._wanted: tuple[tuple[str, ...], Axes] | None = None  # compared, or under way
        self._waiting = False  # for another comparison, after the one under way
        self._busy = False
        self._panel: Panel | None = None
        self._chart = ScatterChart()

    def compose_body(self) -> ComposeResult:
        yield FrameLine(id="about-results")
        yield FrameLine(id="axes")
        yield FrameLine(id="promise")
        with Container(id="results-body", classes="body"):
            yield RowTable(columns_of(Axes()), id="results", empty="reading…")
            with Vertical(id="views"):
                yield FrameLine(id="view-names")
                yield Scatter(id="scatter")
                strip_pane = TextPane(id="regime-strip")
                strip_pane.can_focus = False
                yield strip_pane
                yield TextPane(id="words")
        yield FilterBox("only points with …", returns_to="#results", id="filter")
        yield Static(id="about", classes="detail", markup=False)

    def on_mount(self) -> None:
        self.query_one(RowTable).focus()
        self._show_view()

    def refresh_from(self, history: SessionHistory | None, t: float, state: State) -> None:
        now = self.console.clock.monotonic()
        if now - self._looked_at >= LOOK_S and not self._looking:
            self._looked_at = now
            self._look()

    # --- reading and comparing, away from the keys ---

    def action_reload(self) -> None:
        self._stamp = None
        self._look()

    def _look(self) -> None:
        """Whether there are other files than those that were read; a run writes them."""
        self._looking = True
        self.read(self._stamp)

    @work(thread=True, exclusive=True, group="results", description="reads results")
    def read(self, known: Stamp | None) -> None:
        directory = self.console.workspace / RESULTS
        stamp = stamp_of(directory)
        if stamp == known:
            self.app.call_from_thread(self._looked, stamp)
            return
        try:
            found = compare([directory]) if directory.is_dir() else Comparison(())
        except (ResultError, OSError) as e:
            self.app.call_from_thread(self._looked, stamp)
            self.app.call_from_thread(self.console.say, str(e), "error")
            return
        entries = tuple(map(entry_of, found.rows))
        self.app.call_from_thread(self._take, found, entries, stamp)

    def _looked(self, stamp: Stamp) -> None:
        """Files that cannot be read are not read again before they change."""
        self._looking, self._stamp = False, stamp

    def _take(self, found: Comparison, entries: tuple[ResultEntry, ...], stamp: Stamp) -> None:
        self._looked(stamp)
        self._read, self._entries = found, entries
        self._by_key = {entry.key: entry for entry in entries}
        self._marked &= frozenset(self._by_key)
        self._wanted = None
        if found.skipped:
            more = f", and {len(found.skipped) - 1} more" if len(found.skipped) > 1 else ""
            self.console.say(f"skipped {found.skipped[0]}{more}", "warning")
        self._lay_out()

    def _compare(self) -> None:
        """Of the drawn points, unless that is done or under way; one at a time, the last counts."""
        drawn = self._drawn()
        wanted = (tuple(entry.key for entry in drawn), self.axes)
        if wanted == self._wanted:
            return
        self._wanted = wanted
        if self._busy:
            self._waiting = True
            return
        self._busy = True
        self._work(drawn, self._entries, wanted[1], self._read.notes if self._read else ())

    # Without a description Textual would write out all points as one.
    @work(thread=True, group="comparing", description="compares")
    def _work(
        self,
        drawn: Sequence[ResultEntry],
        entries: Sequence[ResultEntry],
        axes: Axes,
        notes: Sequence[str],
    ) -> None:
        runs = {entry.directory for entry in drawn}
        names = tuple(Path(run).name for run in runs)
        comparison = Comparison(
            tuple(entry.row for entry in drawn),
            notes=tuple(note for note in notes if note.startswith(names)),
            axes=axes,
        )
        try:
            done = compared(comparison, [e.row for e in entries if e.directory in runs])
        except (ResultError, OSError) as e:
            self.app.call_from_thread(self.console.say, str(e), "error")
            done = Compared()
        self.app.call_from_thread(self._show_compared, done)

    def _show_compared(self, done: Compared) -> None:
        self._busy = False
        self._compared = done
        self._panel = None  # what is shown is of another comparison
        if self._waiting:
            self._waiting = False
            self._wanted = None
        self._lay_out()

    # --- what it shows ---

    def axes_changed(self) -> None:
        self._lay_out()

    def _lay_out(self) -> None:
        if self._read is None:
            return
        word = self._word.casefold()
        self._listed = tuple(entry for entry in self._entries if entry.has(word))
        self._compare()
        table, axes, done = self.query_one(RowTable), self.axes, self._compared
        slot = unit_of([entry.row for entry in self._listed])
        columns = columns_of(axes, slot)
        # On other axes other points are best.
        standings = done.standings if done.comparison.axes == axes else {}
        rows = self._rows(axes, columns, standings)
        table.empty = (
            f"no point has `{self._word}` in it"
            if self._entries
            else f"no results in {RESULTS}/ yet; a run writes them"
        )
        table.show_columns(columns)
        table.mark(self._marked)
        self._show_ordered(table, rows)
        self._tell_about()
        self._say_about(slot)

    def _rows(
        self, axes: Axes, columns: tuple[Column, ...], standings: Mapping[str, Standing]
    ) -> list[Row]:
        """Of the listed points; those that look as before are not made again."""
        made_for = (self._entries, axes, columns)
        if made_for != self._made_for:
            self._made_for = made_for
            self._made.clear()
        rows = []
        for entry in self._listed:
            standing = standings.get(entry.key, _UNKNOWN)
            made = self._made.get(entry.key)
            if made is None or made[0] != standing:
                row = table_row(entry, axes, columns, standing)
                made = self._made[entry.key] = (standing, row)
            rows.append(made[1])
        return rows

    def _drawn(self) -> Sequence[ResultEntry]:
        return [entry for entry in self._listed if entry.key in self._marked] or self._listed

    def _tell_about(self) -> None:
        """The point under the cursor, and the group that it is in."""
        entry = self.current
        about = self.query_one("#about", Static)
        about.display = entry is not None
        if entry is not None:
            about.update(about_point(entry, self.axes, self.console.workspace))
        setting = setting_of(entry.row) if entry else None
        panel = self._compared.panel(setting)
        if self._panel is None or panel is not self._panel:
            self._panel = panel
            self._show_panel()
        key = entry.key if entry else ""
        self.query_one(Scatter).show(self._chart, current=key)

    def _show_panel(self) -> None:
        panel, done = self._panel, self._compared
        heading = done.comparison.heading(panel) if panel else ""
        self._chart = done.chart(panel)
        strip_pane = self.query_one("#regime-strip", TextPane)
        strip_pane.show(panel, partial(strip, panel) if panel else _nothing)
        strip_pane.set_class(not strip_pane.text, "-nothing")
        line = promise(panel) if panel else []
        promised = self.query_one("#promise", FrameLine)
        promised.display = bool(line)
        promised.say(line)
        words = self.query_one("#words", TextPane)
        if self._view == "audit":
            words.show((self._view, len(done.audit.directories)), partial(audit_view, done.audit))
        elif self._view == "chart" or panel is None:
            words.show(self._view, _nothing)
        else:
            write = regime_view if self._view == "regimes" else side_by_side
            words.show((self._view, panel.setting), partial(write, panel))
        self._say_views(heading)

    def _say_views(self, heading: str) -> None:
        panels = self._compared.comparison.panels
        pieces = [Piece(" ")]
        for name, title in VIEWS.items():
            count = f" {self._found}" if name == "audit" and self._found else ""
            here = name == self._view
            role = "accent" if here else "muted"
            click = f"screen.view('{name}')"
            pieces += [
                Piece(f"[{title}{count}]" if here else f" {title}{count} ", role, click, bold=here),
                Piece(" "),
            ]
        group = []
        if len(panels) > 1 and self._panel is not None:
            number = panels.index(self._panel) + 1
            group = [
                Piece(f"{number} of {counted(len(panels), 'group')}: ", "warn", "screen.group")
            ]
        about = [Piece("   "), *group, Piece(heading, "muted")]
        line = self.query_one("#view-names", FrameLine)
        line.say(pieces if self._view == "audit" else [*pieces, *about])

    @property
    def _found(self) -> str:
        """`2 bad 1 warn`."""
        weights = [finding.weight for finding in self._compared.audit.findings]
        counts = ((weights.count(weight), weight) for weight in ("bad", "warn"))
        return " ".join(f"{count} {weight}" for count, weight in counts if count)

    def _say_about(self, slot: str) -> None:
        listed, rows = self._listed, self._entries
        pieces = [
            Piece(f" {counted(len(listed), 'point')}", "text"),
            Piece(f" of {len(rows)}" if len(listed) != len(rows) else "", "muted"),
            Piece(f"  {counted(len({e.directory for e in listed}), 'run')}", "muted"),
        ]
        if self._marked:
            pieces.append(Piece(f"  {len(self._marked)} marked", "accent"))
        simulated = sum(entry.row.simulated for entry in listed)
        if simulated:
            which = "all" if simulated == len(listed) else str(simulated)
            pieces.append(Piece(f"  {which} simulated", "simulated", bold=True))
        if self._busy:
            pieces.append(Piece("  comparing…", "muted"))
        for note in self._read.notes if self._read else ():
            pieces.append(Piece(f"  ! {note}", "warn"))
        self.query_one("#about-results", FrameLine).say(pieces)
        self.query_one("#axes", FrameLine).say(self.axes_line(slot))

    @property
    def current(self) -> ResultEntry | None:
        return self._by_key.get(self.query_one(RowTable).current_key)

    @on(Scatter.Picked)
    def picked(self, event: Scatter.Picked) -> None:
        self.query_one(RowTable).move_to(event.key)

    # --- marks ---

    @on(RowTable.Chosen)
    def chosen_row(self, _event: RowTable.Chosen) -> None:
        self.action_mark()

    def action_mark(self) -> None:
        if (entry := self.current) is None:
            return
        run = {each.key for each in self._entries if each.directory == entry.directory}
        self._marked = self._marked - run if run <= self._marked else self._marked | run
        self._lay_out()

    def action_mark_point(self) -> None:
        if (entry := self.current) is not None:
            self._marked ^= {entry.key}
            self._lay_out()

    def action_clear(self) -> None:
        self._marked = frozenset()
        self._lay_out()

    def action_reverse(self) -> None:
        first = self.query_one(RowTable).columns[0].key
        self._order = (self._order[0] or first, not self._order[1])
        self._lay_out()

    def action_best(self) -> None:
        """Go round the best points of the group."""
        if self._panel is None:
            return
        best = self._panel.within_slo if self.axes.slo else self._panel.best
        keys = [key_of(point.row) for point in best]
        if not keys:
            self.console.say(f"no point has {self.axes.slo}" if self.axes.slo else "no frontier")
            return
        now = self.query_one(RowTable).current_key
        after = keys[(keys.index(now) + 1) % len(keys)] if now in keys else keys[0]
        self.query_one(RowTable).move_to(after)

    def action_group(self) -> None:
        panels = self._compared.comparison.panels
        if self._panel is None or len(panels) < 2:
            self.console.say("all points are of one group")
            return
        after = panels[(panels.index(self._panel) + 1) % len(panels)]
        keys = {key_of(row) for row in after.rows}
        table = self.query_one(RowTable)
        table.move_to(next((row.key for row in table.rows if row.key in keys), table.current_key))

    # --- views ---

    def action_next_view(self) -> None:
        self._turn_view(1)

    def action_previous_view(self) -> None:
        self._turn_view(-1)

    def _turn_view(self, by: int) -> None:
        names = list(VIEWS)
        self.action_view(names[(names.index(self._view) + by) % len(names)])

    def action_view(self, name: str) -> None:
        self._view = name
        self.query_one("#views").display = True
        self._show_view()
        self._show_panel()
        self.show_rearranged()

    def _show_view(self) -> None:
        is_chart = self._view == "chart"
        self.query_one(Scatter).display = is_chart
        self.query_one("#regime-strip").display = is_chart
        self.query_one("#words").display = not is_chart
        self._focus_what_is_there()

    def action_chart(self) -> None:
        """Both where there is room, then the view alone, then the table alone."""
        states = ((True, True), (False, True), (True, False))
        table, views = self.query_one(RowTable), self.query_one("#views")
        now = (bool(table.display), bool(views.display))
        table.display, views.display = states[(states.index(now) + 1) % len(states)]
        self._focus_what_is_there()

    def _focus_what_is_there(self) -> None:
        table, words = self.query_one(RowTable), self.query_one("#words", TextPane)
        if table.display and not words.has_focus:
            table.focus()
        elif words.display and not table.display:
            words.focus()

    def action_scroll_down(self) -> None:
        self.query_one("#words", TextPane).action_page_down()

    def action_scroll_up(self) -> None:
        self.query_one("#words", TextPane).action_page_up()

    # --- export ---

    def action_copy(self) -> None:
        comparison = self._compared.comparison
        if comparison.rows:
            self.console.copy(comparison.text(TEXT_WIDTH, chart=False), "the table")

    def action_export(self) -> None:
        from pdconsole.ui.screens.text_prompt import TextPrompt

        workspace, comparison = self.console.workspace, self._compared.comparison
        if not comparison.rows:
            self.console.say("there is nothing to export")
            return

        def take(text: str | None) -> None:
            if text is not None:
                self._write(comparison, place_of(text, workspace))

        forms = f"seen from the workspace; {', '.join(FORMS)}"
        problem = partial(file_problem, workspace=workspace)
        self.console.push_screen(
            TextPrompt("Export what is shown", forms, free_name(workspace), problem), take
        )

    def _write(self, comparison: Comparison, path: Path) -> None:
        self.console.say(f"writing {path}")
        self.write_file(comparison, path)

    @work(thread=True, group="export", description="exports")
    def write_file(self, comparison: Comparison, path: Path) -> None:
        try:
            write_comparison(comparison, path)
        except ResultError as e:
            self.app.call_from_thread(self.console.say, str(e), "error")
        else:
            self.app.call_from_thread(self.console.say, f"{path} is written")


def _nothing(_width: int) -> list[Line]:
    return []
