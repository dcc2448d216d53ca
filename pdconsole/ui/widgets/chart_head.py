"""The rows above the plot: title, unit, legend, badges. Pure."""

from __future__ import annotations

from rich.cells import cell_len

from pdconsole.ui.widgets import chart_legend as legend
from pdconsole.ui.widgets.chart_cells import Cells, Ink
from pdconsole.ui.widgets.chart_data import BADGES
from pdconsole.ui.widgets.chart_layout import Look

ROOMY_WIDTH = 60
ROOMY_HEIGHT = 10  # from here on the legend may have rows of its own

_INKS = {"simulated": Ink.SIMULATED, "stale": Ink.STALE, "warm-up": Ink.WARM_UP}
_SHORT = {"simulated": "sim", "warm-up": "warm"}


def draw_head(cells: Cells, look: Look, badge: str, shown: tuple[str, ...]) -> int:
    """Write it; `shown` are the numbers of the legend. How many rows it took."""
    roomy = cells.width >= ROOMY_WIDTH
    end = _badges(cells, badge, short=not roomy)
    x = cells.put(0, 0, look.title, Ink.TITLE, limit=end)
    if look.unit:
        x = cells.put(x + 1, 0, look.unit, Ink.UNIT, limit=end)
    x += 3 if roomy else 1
    plain = look.ascii_only
    if cells.height >= ROOMY_HEIGHT and not _fits(look, end - x - 1):
        full = legend.items(look.series, shown, ascii_only=plain, form=0)
        below = list(legend.rows(full, cells.width))
        if len(below) > cells.height // ROOMY_HEIGHT:
            below = [legend.one_row(look.series, shown, cells.width, ascii_only=plain)]
        for y, row in enumerate(below, 1):
            _put_row(cells, 0, y, row, cells.width)
        return 1 + len(below)
    row = legend.one_row(look.series, shown, end - x - 1, ascii_only=plain)
    _put_row(cells, x, 0, row, end)
    return 1


def _fits(look: Look, room: int) -> bool:
    """Whether the legend does beside the title, whatever the numbers: the plot must not jump."""
    usual = legend.items(look.series, [""] * len(look.series), ascii_only=look.ascii_only, form=0)
    return sum(legend.width_of(item) + 2 for item in usual) - 2 <= room


def _put_row(cells: Cells, x: int, y: int, row: legend.Row, limit: int) -> None:
    for item in row.items:
        for text, ink in item:
            x = cells.put(x, y, text, ink, limit=limit)
        x += row.space
    if not row.whole:
        cells.put(x, y, "…", Ink.UNIT, limit=limit)


def _badges(cells: Cells, badge: str, *, short: bool) -> int:
    """At the right end, the gravest leftmost; the column where they begin, less a blank."""
    end = cells.width
    given = badge.split()
    for name in reversed(BADGES):
        if name not in given:
            continue
        text = _SHORT.get(name, name) if short else f"[{name}]"
        begin = max(0, end - cell_len(text))
        cells.put(begin, 0, text, _INKS[name], limit=end)
        end = max(0, begin - 1)
    return end
