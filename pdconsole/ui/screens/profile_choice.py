"""Which cluster, model, workload or network."""

from __future__ import annotations

from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.widgets import Static

from pdconsole.profiles import Kind
from pdconsole.ui.chosen_profiles import ProfileEntry
from pdconsole.ui.lines import printable
from pdconsole.ui.screens.modal import LEAVE, Modal
from pdconsole.ui.widgets.row_table import Cell, Column, Row, RowTable

COLUMNS = (Column("name", "name", 18, flex=1), Column("about", "what it is", 40, flex=3))
MOST_ROWS = 14


class ProfileChoice(Modal[str | None]):
    """Gives back the name chosen, or None. A broken profile says what is wrong with it."""

    DEFAULT_CSS = """
    ProfileChoice > Vertical {
        width: 90%; max-width: 120; height: auto; max-height: 90%; background: $surface;
        border: round $role-accent; border-title-color: $role-accent; padding: 0 1;
    }
    ProfileChoice Static { height: auto; min-height: 2; max-height: 8; color: $role-muted; }
    """
    ACTIONS: ClassVar = (LEAVE,)

    def __init__(self, kind: Kind, entries: tuple[ProfileEntry, ...], now: str) -> None:
        super().__init__()
        self._kind = kind
        self._entries = {entry.name: entry for entry in entries}
        self._now = now

    def compose(self) -> ComposeResult:
        with Vertical() as box:
            box.border_title = f"Choose a {self._kind}"
            table = RowTable(COLUMNS, empty=f"there are no {self._kind} profiles")
            table.styles.height = min(len(self._entries), MOST_ROWS) + 1
            yield table
            yield Static(markup=False)

    def on_mount(self) -> None:
        table = self.query_one(RowTable)
        table.show_rows([_row(entry) for entry in self._entries.values()])
        table.mark(frozenset({self._now}))
        table.move_to(self._now)
        table.focus()
        self._tell()

    @on(RowTable.Moved)
    def moved(self) -> None:
        self._tell()

    def _tell(self) -> None:
        entry = self._entries.get(self.query_one(RowTable).current_key)
        if entry is not None:
            text = entry.problem or entry.about
            self.query_one(Static).update(f"{printable(text)}\nenter chooses   {self.keys_line()}")

    @on(RowTable.Chosen)
    def chosen(self, event: RowTable.Chosen) -> None:
        event.stop()
        self.dismiss(event.key)


def _row(entry: ProfileEntry) -> Row:
    if entry.problem:
        return Row(entry.name, (Cell(entry.name, "fail"), Cell(f"✗ {entry.problem}", "fail")))
    return Row(entry.name, (Cell(entry.name), Cell(entry.about, "muted")))
