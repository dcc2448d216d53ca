"""The colours of a chart's inks in the theme of now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
from rich.style import Style
from textual.color import Color, ColorParseError

from pdconsole.ui.widgets.chart_cells import SELECTED, Ink
from pdconsole.ui.widgets.chart_data import SeriesStyle

FAINT, QUIET = 0.28, 0.6  # shares of a colour over the background


class ChartStyles(msgspec.Struct, frozen=True):
    """A style for each ink, by its number."""

    of_ink: tuple[Style, ...]


def chart_styles(
    variables: Mapping[str, str],
    background: Color,
    series: Sequence[SeriesStyle],
    *,
    focused: bool,
    stale: bool,
    no_colour: bool,
) -> ChartStyles:
    """`variables` are the theme's. Lines of a stale chart are paler."""

    def colour(name: str) -> Color:
        for known in (f"role-{name}", name, "foreground"):
            if known in variables:
                try:
                    return Color.parse(variables[known])
                except ColorParseError:
                    continue  # `auto 87%` and the like say nothing without their widget
        return background.get_contrast_text(1.0)

    def ink(name: str, share: float = 1.0, *, bold: bool = False, under: bool = False) -> Style:
        shown = colour(name)
        if share < 1:
            shown = background.blend(shown, share)
        return Style(
            color=shown.rich_color,
            bgcolor=background.rich_color,
            bold=bold or None,
            underline=under or None,
        )

    blank = Style(bgcolor=background.rich_color)
    styles = [blank] * SELECTED
    styles[Ink.TITLE] = ink("accent" if focused else "text", bold=True, under=focused)
    styles[Ink.UNIT] = ink("muted")
    styles[Ink.AXIS] = ink("muted", QUIET)
    styles[Ink.TICK] = ink("muted")
    styles[Ink.GRID] = ink("muted", FAINT)
    styles[Ink.GUIDE] = ink("muted", QUIET)
    styles[Ink.CURSOR] = ink("text", QUIET)
    styles[Ink.CURSOR_TIME] = ink("text", bold=True)
    styles[Ink.MARK] = ink("text")
    styles[Ink.FLAG] = ink("warn", bold=True)
    styles[Ink.VALUE] = ink("text")
    styles[Ink.SIMULATED] = ink("simulated")
    styles[Ink.STALE] = ink("fail", bold=True) + Style(reverse=True)
    styles[Ink.WARM_UP] = ink("warn", bold=True)
    for i, s in enumerate(series[: SELECTED - Ink.SERIES]):
        styles[Ink.SERIES + i] = ink(s.colour, QUIET if stale else 1.0)
    # Without colours a changed background would not be seen.
    behind = (
        colour("row-cursor")
        if "row-cursor" in variables
        else background.blend(colour("accent"), FAINT)
    )
    chosen = Style(reverse=True) if no_colour else Style(bgcolor=behind.rich_color)
    return ChartStyles((*styles, *(style + chosen for style in styles)))
