"""The launch plan: the exact command and environment of each process, before anything starts."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, cast

from textual import on
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.widgets import Static

from pdconsole.model.grid import format_indices
from pdconsole.model.request import Reply
from pdconsole.model.survey import LaunchProcess
from pdconsole.ui.actions import Action
from pdconsole.ui.launch_text import plans_text, process_text, process_title, shown_lines
from pdconsole.ui.lines import printable
from pdconsole.ui.screens.modal import Modal
from pdconsole.ui.widgets.row_table import Cell, Column, Row, RowTable

if TYPE_CHECKING:
    from pdconsole.ui.app import ConsoleApp

COLUMNS = (Column("name", "", 6), Column("where", "", 12, flex=1))
ROLES = {
    "prefill": "prefill",
    "decode": "decode",
    "collocated": "collocated",
    "router": "router",
    "ray": "router",
}


class LaunchPlanScreen(Modal[None]):
    """A list of processes and the one under the cursor written out."""

    DEFAULT_CSS = """
    LaunchPlanScreen > Vertical {
        width: 96%; height: 92%; background: $surface; padding: 0 1;
        border: round $role-accent; border-title-color: $role-accent;
        border-subtitle-color: $role-muted;
    }
    LaunchPlanScreen #said { height: auto; max-height: 6; color: $role-warn; }
    LaunchPlanScreen #said.-refused { color: $role-fail; }
    LaunchPlanScreen RowTable { width: 27; }
    LaunchPlanScreen #command { width: 1fr; padding: 0 1; background: $surface; }
    LaunchPlanScreen #command-text { height: auto; }
    """
    ACTIONS: ClassVar = (
        Action("plan.copy", "copies this one", "Its command", ("y", "c"), "plan"),
        Action("plan.copy-all", "all", "All commands", ("Y", "C"), "plan"),
        Action(
            "plan.down",
            "down",
            "The command, not the list",
            ("J", "ctrl+d"),
            "plan",
            call="scroll(10)",
        ),
        Action(
            "plan.up",
            "up",
            "The command, not the list",
            ("K", "ctrl+u"),
            "plan",
            call="scroll(-10)",
        ),
        Action("plan.leave", "closes", "Nothing is started", ("escape", "q", "v"), "plan"),
    )

    def __init__(self, reply: Reply) -> None:
        super().__init__()
        self._launches = reply.launches
        self._processes: dict[str, LaunchProcess] = {
            f"{plan.run}/{p.name}": p for plan in reply.launches for p in plan.processes
        }

    @property
    def console(self) -> ConsoleApp:
        return cast("ConsoleApp", self.app)

    def compose(self) -> ComposeResult:
        with Vertical() as box:
            box.border_title = "Launch plan"
            box.border_subtitle = self.keys_line()
            yield Static(id="said", markup=False)
            with Horizontal():
                yield RowTable(COLUMNS, empty="nothing would be started")
                with VerticalScroll(id="command", can_focus=False):
                    yield Static(id="command-text", markup=False)

    def on_mount(self) -> None:
        refused = [f"✗ Cannot be started: {p.refused}" for p in self._launches if p.refused]
        notes = [f"! {note}" for plan in self._launches for note in plan.notes]
        said = self.query_one("#said", Static)
        said.update(printable("\n".join([*refused, *notes])).replace("\\n", "\n"))
        said.display = bool(refused or notes)
        said.set_class(bool(refused), "-refused")
        table = self.query_one(RowTable)
        table.show_rows([_row(key, p) for key, p in self._processes.items()])
        table.focus()
        self._tell()

    @property
    def _current(self) -> LaunchProcess | None:
        return self._processes.get(self.query_one(RowTable).current_key)

    @on(RowTable.Moved)
    def _tell(self) -> None:
        process = self._current
        if process is None:
            return
        lines = [process_title(process), "", *shown_lines(process)]
        self.query_one("#command-text", Static).update("\n".join(map(printable, lines)))
        self.query_one("#command").scroll_home(animate=False)

    def action_copy(self) -> None:
        process = self._current
        if process is not None:
            self.console.copy(process_text(process) + "\n", f"the command of {process.name}")

    def action_copy_all(self) -> None:
        self.console.copy(plans_text(self._launches), "all commands")

    def action_scroll(self, rows: int) -> None:
        self.query_one("#command").scroll_relative(y=rows, animate=False)


def _row(key: str, process: LaunchProcess) -> Row:
    where = process.node
    if process.slots:
        where += f":{format_indices(process.slots)}"
    return Row(key, (Cell(process.name, ROLES[process.role]), Cell(where, "muted")))
