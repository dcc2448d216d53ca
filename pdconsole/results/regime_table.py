"""Regimes as a table: over which latencies, and over which throughputs, which layout wins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from pdconsole.model.regimes import Axis, Certainty, Regime
from pdconsole.results.letters import letters_of
from pdconsole.results.panel import Panel
from pdconsole.results.table import aligned, wrapped

TITLES: dict[Axis, str] = {
    "latency": "most throughput within a latency",
    "throughput": "least latency at a throughput",
}
CERTAINTIES: dict[Certainty, str] = {
    "clear": "the 95 % intervals do not overlap",
    "tie": "they overlap",
    "unknown": "no intervals of one of the two: neither requests nor repeats tell how it scatters",
    "alone": "no other layout gets there",
}
BAD = "!"  # behind a layout with points that are no measurements
_MORE_DIGITS = 3
_LEFT = frozenset({"wins", "ahead of", "certainty"})


class ShownRegime(msgspec.Struct, frozen=True, kw_only=True):
    """A regime in the units of its axis."""

    low: float
    high: float
    winner: str
    certainty: Certainty
    runner_up: str
    margin: float | None  # how much more throughput, or how much less latency, as a share
    bad: tuple[str, ...] = ()  # those of the two that have points flagged `bad`


def shown_regimes(panel: Panel, axis: Axis) -> list[ShownRegime]:
    return [_shown(panel, axis, regime) for regime in panel.regimes(axis)]


def regime_lines(panel: Panel, axis: Axis, width: int = 120) -> list[str]:
    """A heading and a row a regime; empty where there is no second layout.

    Where there is no room for names the letters stand for them.
    """
    regimes = shown_regimes(panel, axis)
    if not regimes or len(panel.labels) < 2:
        return []
    letters = letters_of(panel.labels)
    names = {label: f"{letter} {label}" for label, letter in letters.items()}
    lines: list[str] = []
    for gain, named in (
        (_gain(panel, axis), names),
        (_gain(panel, axis).partition(" ")[0], names),
        (_gain(panel, axis).partition(" ")[0], letters),
    ):
        rows = [regime_cells(panel, axis, regime, named) for regime in regimes]
        lines = aligned([regime_heading(panel, axis, gain), *rows], "  ", _LEFT)
        if max(map(len, lines)) <= width:
            break
    return lines + wrapped(bad_lines(panel, regimes), width)


def bad_lines(panel: Panel, regimes: Sequence[ShownRegime]) -> list[str]:
    """What makes points of marked layouts no measurements."""
    marked = dict.fromkeys(label for regime in regimes for label in regime.bad)
    lines = []
    for label in marked:
        loads = [f"{load} ({', '.join(names)})" for load, names in panel.bad(label).items()]
        lines.append(f"{BAD} {label}: flagged bad, no measurement: {', '.join(loads)}")
    return lines


def regime_heading(panel: Panel, axis: Axis, gain: str) -> tuple[str, ...]:
    """Of the columns of `regime_cells`."""
    return (range_heading(panel, axis), "wins", "ahead of", gain, "certainty")


def regime_cells(
    panel: Panel, axis: Axis, regime: ShownRegime, names: Mapping[str, str]
) -> tuple[str, ...]:
    """`names` are how to call the panel's labels."""
    return (
        range_text(panel, axis, regime),
        _marked(regime, regime.winner, names.get(regime.winner, "nobody")),
        _marked(regime, regime.runner_up, names.get(regime.runner_up, "-")),
        "-" if regime.margin is None else f"{100 * regime.margin:.0f} %",
        regime.certainty,
    )


def _marked(regime: ShownRegime, label: str, name: str) -> str:
    return f"{name} {BAD}" if label in regime.bad else name


def _gain(panel: Panel, axis: Axis) -> str:
    """`more tok/s/GPU`, `less median TPOT`."""
    latency = panel.axes.latency
    if axis == "latency":
        return f"more {panel.axes.throughput.unit(panel.setting.slot)}"
    return f"more {latency.unit}" if latency.inverted else f"less {latency.title}"


def range_heading(panel: Panel, axis: Axis) -> str:
    if axis == "throughput":
        return panel.axes.throughput.unit(panel.setting.slot)
    return f"{panel.axes.latency.title}, {panel.axes.latency.unit}"


def certainty_lines(panel: Panel) -> list[str]:
    """What the words mean that occur."""
    if len(panel.labels) < 2:
        return []
    found = {regime.certainty for axis in TITLES for regime in panel.regimes(axis)}
    return [f"{word}: {meaning}" for word, meaning in CERTAINTIES.items() if word in found]


def _shown(panel: Panel, axis: Axis, regime: Regime) -> ShownRegime:
    low, high = regime.low, regime.high
    margin = regime.margin
    if axis == "latency":
        low, high = panel.axes.latency.turned_interval((low, high)) or (low, high)
    elif margin is not None and panel.axes.latency.inverted and margin < 1:
        margin = 1 / (1 - margin) - 1  # so much less time a token is so many more tokens a time
    return ShownRegime(
        low=low,
        high=high,
        winner=regime.winner,
        certainty=regime.certainty,
        runner_up=regime.runner_up,
        margin=margin,
        bad=tuple(x for x in (regime.winner, regime.runner_up) if x and panel.bad(x)),
    )


def range_text(panel: Panel, axis: Axis, regime: ShownRegime) -> str:
    """`6.1 to 7.8`, with more digits where the ends would read alike; one number of no range."""
    least = 1 if axis == "latency" else panel.axes.digits()
    for digits in range(least, least + _MORE_DIGITS + 1):
        low, high = f"{regime.low:,.{digits}f}", f"{regime.high:,.{digits}f}"
        if low != high:
            return f"{low} to {high}"
    return f"{regime.low:,.{least}f}"
