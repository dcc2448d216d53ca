"""Which request's TTFT is taken apart: one of the last ones, from a list."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.widgets import Static

from pdconsole.model.events import RequestFinished
from pdconsole.ui.actions import Action
from pdconsole.ui.lines import point_name
from pdconsole.ui.screens.modal import LEAVE, Modal
from pdconsole.ui.widgets.row_table import Cell, Column, Row, RowTable, sorted_rows

_COLUMNS = (
    Column("index", "#", 6, "right"),
    Column("point", "point", 7),
    Column("phase", "phase", 6, priority=4),
    Column("ttft", "TTFT ms", 8, "right"),
    Column("tpot", "TPOT ms", 7, "right", priority=5),
    Column("e2el", "E2EL ms", 8, "right", priority=6),
    Column("via", "replicas", 9, flex=1),
)


class RequestChoice(Modal[RequestFinished | None]):
    """Gives back the request, or None: the one of before stays."""

    DEFAULT_CSS = """
    RequestChoice > Vertical {
        width: 76; height: 90%; background: $surface; padding: 0 1;
        border: round $role-accent; border-title-color: $role-accent;
    }
    RequestChoice RowTable { height: 1fr; }
    RequestChoice Static { height: 1; color: $role-muted; }
    """
    ACTIONS: ClassVar = (
        Action("requests.sort", "sorts by TTFT", "The other way round again", ("s",), "requests"),
        LEAVE,
    )

    def __init__(
        self, requests: Sequence[RequestFinished], current: RequestFinished | None
    ) -> None:
        super().__init__()
        self._by_key = {str(r.seq): r for r in requests}
        self._current = current
        self._column: int | None = None
        self._descending = True

    def compose(self) -> ComposeResult:
        with Vertical() as box:
            box.border_title = f"The last {len(self._by_key)} requests"
            yield RowTable(_COLUMNS, empty="no request has finished yet")
            yield Static(f"enter takes it apart   {self.keys_line()}")

    def on_mount(self) -> None:
        table = self.query_one(RowTable)
        table.show_rows([*_rows(self._by_key)])
        if self._current is not None:
            table.move_to(str(self._current.seq))
        table.focus()

    def action_sort(self) -> None:
        self._sort(3)

    def on_row_table_heading(self, message: RowTable.Heading) -> None:
        self._sort(next(i for i, c in enumerate(_COLUMNS) if c.key == message.column))

    def _sort(self, column: int) -> None:
        self._descending = not self._descending if column == self._column else True
        self._column = column
        table = self.query_one(RowTable)
        rows = [*_rows(self._by_key)]
        table.show_order(_COLUMNS[column].key, self._descending)
        table.show_rows(sorted_rows(rows, column, descending=self._descending))
        table.action_top()

    def on_row_table_chosen(self, message: RowTable.Chosen) -> None:
        self.dismiss(self._by_key.get(message.key))


def _rows(requests: dict[str, RequestFinished]) -> Iterator[Row]:
    for key, r in requests.items():
        via = " → ".join(name for name in (r.prefill, r.decode) if name)
        role = "fail" if r.error else "text"
        yield Row(
            key,
            (
                Cell(str(r.index), role, float(r.index)),
                Cell(point_name(r.point), "muted"),
                Cell(r.phase, "muted"),
                _number(r.ttft_ms, 0),
                _number(r.tpot_ms, 1),
                _number(r.e2el_ms, 0),
                Cell(f"failed: {r.error}" if r.error else via, role),
            ),
        )


def _number(value: float | None, digits: int) -> Cell:
    return Cell("-", "muted") if value is None else Cell(f"{value:,.{digits}f}", "text", value)
