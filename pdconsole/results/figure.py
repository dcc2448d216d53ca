"""A comparison at print quality: PNG, SVG or PDF by matplotlib, a page or a row a panel."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pdconsole.results.comparison import Comparison
from pdconsole.results.errors import ResultError
from pdconsole.results.figure_panel import draw_panel
from pdconsole.results.figure_style import SETTINGS
from pdconsole.results.panel import Panel

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = (".png", ".svg", ".pdf")
WIDTH_IN, HEIGHT_IN = 9.5, 5.4
LEGEND_ROW_IN = 0.18
DPI = 200


def write_figure(comparison: Comparison, path: Path) -> None:
    """All panels that have points: pages of a PDF, else one below the other.

    Raises ResultError where there is nothing to draw, or the file cannot be written.
    """
    if path.suffix.lower() not in FORMATS:
        raise ResultError(f"{path}: a figure is {', '.join(FORMATS)}")
    panels = [panel for panel in comparison.panels if panel.points]
    if not panels:
        raise ResultError(f"no figure at {path}: no point has a place on these axes")
    import matplotlib as mpl

    with mpl.rc_context(SETTINGS):
        try:
            if path.suffix.lower() == ".pdf":
                _write_pages(comparison, panels, path)
            else:
                metadata = {"Date": None} if path.suffix.lower() == ".svg" else {}
                _figure(comparison, panels).savefig(path, dpi=DPI, metadata=metadata)
        except OSError as e:
            raise ResultError(f"cannot write {path}: {e.strerror or e}") from e


def _write_pages(comparison: Comparison, panels: Sequence[Panel], path: Path) -> None:
    from matplotlib.backends.backend_pdf import PdfPages

    with PdfPages(path, metadata={"CreationDate": None}) as pages:
        for panel in panels:
            pages.savefig(_figure(comparison, [panel]))


def _figure(comparison: Comparison, panels: Sequence[Panel]) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    heights = [_height_in(panel) for panel in panels]
    figure = Figure(figsize=(WIDTH_IN, sum(heights)), layout="constrained")
    FigureCanvasAgg(figure)
    found: Any = figure.subfigures(len(panels), 1, squeeze=False, height_ratios=heights)
    parts = found[:, 0]
    labels = []
    for panel, part in zip(panels, parts, strict=True):
        labels.append(draw_panel(part, panel, comparison.heading(panel)))
        note = "\n".join(textwrap.wrap(_note(comparison, panel), 150))
        part.supxlabel(note, fontsize=6.5, color="#555555", x=0.01, ha="left")
    # Labels go where there is room, which is known once everything else has its place.
    figure.draw_without_rendering()
    for put in labels:
        put()
    return figure


def _height_in(panel: Panel) -> float:
    """As much as its legend needs beside it."""
    doubts = {name for point in panel.points for name in panel.doubts(point.row)}
    return max(HEIGHT_IN, (len(panel.labels) + len(doubts) + 9) * LEGEND_ROW_IN)


def _note(comparison: Comparison, panel: Panel) -> str:
    parts = [comparison.axes.throughput.explanation(panel.setting.slot, panel.rows)]
    if panel.shared_flags:
        parts.append(f"all points: {', '.join(panel.shared_flags)}")
    if comparison.axes.slo:
        parts.append(f"faint: outside of {comparison.axes.slo}")
    return "; ".join([*parts, *comparison.notes])
