"""The workspace's experiments to choose one from."""

from __future__ import annotations

from textual import on
from textual.app import ComposeResult
from textual.containers import Container
from textual.message import Message
from textual.widgets import Input, Static

from pdconsole.ui.experiment_list import (
    COLUMNS,
    ExperimentEntry,
    about_experiment,
    experiment_rows,
)
from pdconsole.ui.lines import printable
from pdconsole.ui.widgets.filter_box import FilterBox
from pdconsole.ui.widgets.row_table import RowTable


class ExperimentChoice(Container):
    DEFAULT_CSS = """
    ExperimentChoice { height: 1fr; }
    ExperimentChoice #experiments { height: 1fr; }
    """

    class Chosen(Message):
        def __init__(self, entry: ExperimentEntry) -> None:
            super().__init__()
            self.entry = entry

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self._entries: tuple[ExperimentEntry, ...] = ()
        self._word = ""

    def compose(self) -> ComposeResult:
        yield RowTable(COLUMNS, id="experiments", empty="reading…")
        yield FilterBox(
            "only experiments with …", returns_to="#experiments", id="experiment-filter"
        )
        yield Static(id="about-experiment", classes="detail", markup=False)

    @property
    def table(self) -> RowTable:
        return self.query_one("#experiments", RowTable)

    @property
    def entry(self) -> ExperimentEntry | None:
        key = self.table.current_key
        return next((e for e in self._entries if e.name == key), None)

    def show(self, entries: tuple[ExperimentEntry, ...]) -> None:
        self._entries = entries
        self._lay_out()

    def _lay_out(self) -> None:
        table = self.table
        table.empty = (
            f"no experiment has `{self._word}` in it"
            if self._entries
            else "no experiments; `pdconsole init` writes some"
        )
        table.show_rows(experiment_rows(self._entries, self._word))
        table.refresh()
        self._tell_about()

    def _tell_about(self) -> None:
        entry = self.entry
        about = self.query_one("#about-experiment", Static)
        about.display = entry is not None
        if entry is not None:
            about.update("\n".join(printable(line) for line in about_experiment(entry) if line))

    def ask_filter(self) -> None:
        self.query_one(FilterBox).ask()

    @on(Input.Changed, "#experiment-filter")
    def filter_typed(self, event: Input.Changed) -> None:
        event.stop()
        self._word = event.value
        self._lay_out()

    @on(RowTable.Moved)
    def moved(self, event: RowTable.Moved) -> None:
        event.stop()
        self._tell_about()

    @on(RowTable.Chosen)
    def row_chosen(self, event: RowTable.Chosen) -> None:
        event.stop()
        entry = self.entry
        if entry is not None:
            self.post_message(self.Chosen(entry))
