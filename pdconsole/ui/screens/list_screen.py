"""A screen with one table: its rows are sorted by a heading and filtered by a word."""

from __future__ import annotations

from collections.abc import Sequence

from textual import on
from textual.widgets import Input

from pdconsole.ui.screens.console_screen import ConsoleScreen
from pdconsole.ui.widgets.filter_box import FilterBox
from pdconsole.ui.widgets.row_table import Row, RowTable, sorted_rows


class ListScreen(ConsoleScreen):
    """The box of the word is `#filter`. When word or order change all is laid out anew."""

    def __init__(self) -> None:
        super().__init__()
        self._word = ""
        self._order = ("", False)  # column, descending; "": as they come

    def _lay_out(self) -> None:
        """Show the rows that have the word, in the order."""

    def _tell_about(self) -> None:
        """What is under the cursor, below the table."""

    def _show_ordered(self, table: RowTable, rows: Sequence[Row]) -> None:
        column, descending = self._order
        keys = [each.key for each in table.columns]
        if column in keys:
            rows = sorted_rows(rows, keys.index(column), descending=descending)
        table.show_rows(rows)
        table.show_order(column, descending)

    @on(RowTable.Moved)
    def moved(self, _event: RowTable.Moved) -> None:
        self._tell_about()

    @on(RowTable.Heading)
    def heading(self, event: RowTable.Heading) -> None:
        column, descending = self._order
        self._order = (event.column, column == event.column and not descending)
        self._lay_out()

    def action_sort(self) -> None:
        names = ["", *(each.key for each in self.query_one(RowTable).columns)]
        at = names.index(self._order[0]) if self._order[0] in names else -1
        self._order = (names[(at + 1) % len(names)], False)
        self._lay_out()

    def action_filter(self) -> None:
        self.query_one(FilterBox).ask()

    @on(Input.Changed, "#filter")
    def filter_typed(self, event: Input.Changed) -> None:
        self._word = event.value
        self._lay_out()
