"""The frontier of a panel in words: who is on it, who is nowhere on it and because of whom."""

from __future__ import annotations

from itertools import groupby

from pdconsole.results.letters import letters_of
from pdconsole.results.panel import Beaten, Panel, Placed

_NAMED = 3  # layouts that beat one


def frontier_lines(panel: Panel) -> list[str]:
    """Lines without breaks; empty where nothing can be placed."""
    if not panel.points:
        return []
    letters = letters_of(panel.labels)
    unit = panel.axes.throughput.unit(panel.setting.slot)
    lines = [f"frontier of {unit} against {panel.axes.latency.title}, {panel.axes.latency.unit}:"]
    for label, group in groupby(panel.best, key=lambda point: point.label):
        points = ", ".join(_point(panel, point) for point in group)
        lines.append(f"  {letters[label]} {label}: {points}")
    lines += [_beaten(panel, beaten, letters[beaten.label]) for beaten in panel.beaten]
    return lines


def slo_lines(panel: Panel) -> list[str]:
    """Which layout gives most within the promise."""
    slo = panel.axes.slo
    if slo is None or not panel.points:
        return []
    letters = letters_of(panel.labels)
    unit = panel.axes.throughput.unit(panel.setting.slot)
    best = panel.within_slo
    lines = [f"most {unit} with {slo}:" if best else f"no point has {slo}"]
    for point in best:
        lines.append(f"  {letters[point.label]} {point.label}: {_point(panel, point)}")
    without = [label for label in panel.labels if label not in {p.label for p in best}]
    if best and without:
        lines.append(f"  none of {', '.join(without)}")
    untold = sum(slo.met_by(point.row) is None for point in panel.points)
    if untold:
        lines.append(f"  of {untold} points it cannot be told")
    return lines


def _point(panel: Panel, point: Placed) -> str:
    """`c=16 2,790 ÷8 at 8.0`."""
    throughput = panel.axes.throughput
    divisor = "" if throughput.per == "deployment" else f" ÷{throughput.divisor(point.row)}"
    shown = f"{point.throughput:,.{panel.axes.digits()}f}{divisor}"
    return f"{point.row.point} {shown} at {point.latency:,.1f}"


def _beaten(panel: Panel, beaten: Beaten, letter: str) -> str:
    winners = beaten.winners
    named = ", ".join(winners[:_NAMED])
    more = f" and {len(winners) - _NAMED} more" if len(winners) > _NAMED else ""
    example, better = beaten.by[0]
    return (
        f"  {letter} {beaten.label}: dominated by {named}{more}, such as"
        f" {_point(panel, example)} by {better.label} {_point(panel, better)}"
    )
