"""Where the run is: its points in their order, each with its state and flags. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain

from rich.cells import cell_len

from pdconsole.model.state import PointView, RunView, State
from pdconsole.ui.lines import duration, layout_name, point_name
from pdconsole.ui.widgets.frame_lines import Piece, spread

POINT_SIGNS = {
    "pending": ("·", "muted"),
    "warmup": ("▸", "warn"),
    "window": ("▶", "accent"),
    "drain": ("▸", "muted"),
    "done": ("✓", "ok"),
    "failed": ("✗", "fail"),
    "skipped": ("–", "muted"),
}
POINT_WORDS = {"warmup": "warm-up"}
_RUN_ROLES = {"failed": "fail", "skipped": "muted", "launching": "accent", "stopping": "muted"}


def shown_run(state: State) -> RunView | None:
    """The run under way, or else the one that was last."""
    current = state.run(state.current_run)
    if current is not None:
        return current
    begun = [run for run in state.runs if run.started_t is not None]
    return max(begun, key=lambda run: run.started_t or 0.0) if begun else None


def shown_point(state: State) -> PointView | None:
    """The point under way, or else the last one of that run that has ended."""
    run = shown_run(state)
    if run is None:
        return None
    begun = [p for p in run.points if p.started_t is not None]
    current = next((p for p in begun if p.id == state.current_point), None)
    return current or max(begun, key=lambda p: p.started_t or 0.0, default=None)


def headline(state: State, width: int) -> list[Piece]:
    """Which run, what it does now, and the numbers of the last seconds."""
    run = shown_run(state)
    if run is None:
        return [Piece(" nothing was launched yet", "muted")]
    number = next(i for i, r in enumerate(state.runs, 1) if r.id == run.id)
    plan = run.plan
    about = [
        [Piece(f" {number}/{len(state.runs)} ", "muted")],
        [Piece(layout_name(plan.layout), "text", bold=True)],
        [Piece(f"  {plan.strategy} on {plan.network}", "muted")],
        [Piece(f"  {plan.input_len}:{plan.output_len} {plan.mode}", "muted")],
    ]
    doing = [Piece("  "), *_doing(state, run)]
    while len(about) > 2 and _cells([*chain(*about), *doing]) > width - 1:
        about.pop()
    left = [*chain(*about), *doing]
    room = width - _cells(left) - 2
    forms = (_numbers(state, brief=False), _numbers(state, brief=True))
    right = next((f for f in forms if _cells(f) <= room), [])
    return spread(left, right, width)


def _cells(pieces: Iterable[Piece]) -> int:
    return sum(cell_len(p.text) for p in pieces)


def _doing(state: State, run: RunView) -> list[Piece]:
    if state.status == "broken-off":
        return [Piece(f"broken off: {state.message}", "fail")]
    point = next((p for p in run.points if p.id == state.current_point), None)
    if point is None or run.id != state.current_run:
        said = f": {run.message}" if run.message else ""
        return [Piece(f"{run.status}{said}", _RUN_ROLES.get(run.status, "text"))]
    pieces = [
        Piece(point_name(point.id), "text", bold=True),
        Piece(f" {POINT_WORDS.get(point.status, point.status)}", POINT_SIGNS[point.status][1]),
    ]
    if point.started_t is not None:
        pieces.append(Piece(f" {duration(state.t - point.started_t)}", "muted"))
    if point.errors:
        pieces.append(Piece(f"  {point.errors} errors", "fail"))
    return pieces


def _numbers(state: State, *, brief: bool) -> list[Piece]:
    """Of the last seconds; every number is as wide as the next one will be."""
    live = state.live
    if not state.current_point or not live.window_s:
        return []

    def ms(value: float | None, digits: int) -> str:
        return "-" if value is None else f"{value:,.{digits}f}"

    p99 = [Piece(" p99 ", "muted"), Piece(f"{ms(live.ttft_p99, 0):>6}")]
    return [
        Piece("TTFT ", "muted"),
        Piece(f"{ms(live.ttft_p50, 0):>6}", bold=True),
        *([] if brief else p99),
        Piece("  TPOT ", "muted"),
        Piece(f"{ms(live.tpot_p50, 1):>5}", bold=True),
        Piece(" ms  ", "muted"),
        Piece(f"{live.requests_per_s:>5.1f}", bold=True),
        Piece(" req/s", "muted"),
        Piece(f"  last {live.window_s:>2.0f} s ", "muted"),
    ]


def strip(state: State, width: int) -> list[Piece]:
    """The points of the run; a click goes to where one began. Those around the current one stay
    in sight where not all fit."""
    run = shown_run(state)
    if run is None:
        return [Piece(" no points yet", "muted")]
    here = shown_point(state)
    groups = [_point(state, point, here=point is here) for point in run.points]
    at = next((i for i, point in enumerate(run.points) if point is here), 0)
    first, last = _in_sight([_width(g) for g in groups], at, width - 4)
    pieces = [Piece(" " if first == 0 else "◂", "muted")]
    for group in groups[first:last]:
        pieces += [*group, Piece("  ")]
    if last < len(groups):
        pieces.append(Piece("▸", "muted"))
    return pieces


def _width(pieces: Sequence[Piece]) -> int:
    return _cells(pieces) + 2


def _in_sight(widths: Sequence[int], at: int, room: int) -> tuple[int, int]:
    """The largest stretch around `at` that fits, grown to either side in turn."""
    first, last, used = at, at + 1, widths[at] if widths else 0
    grown = True
    while grown:
        grown = False
        if last < len(widths) and used + widths[last] <= room:
            used += widths[last]
            last += 1
            grown = True
        if first > 0 and used + widths[first - 1] <= room:
            first -= 1
            used += widths[first]
            grown = True
    return first, last


def _point(state: State, point: PointView, *, here: bool) -> list[Piece]:
    sign, role = POINT_SIGNS[point.status]
    click = f"screen.seek_to({point.started_t!r})" if point.started_t is not None else ""
    pieces = [
        Piece(f"{sign} ", role, click),
        Piece(point_name(point.id), "text" if here else "muted", click, bold=here, reverse=here),
    ]
    if point.status == "window" and point.id == state.current_point:
        pieces.append(Piece(f" {point.progress(state.t):4.0%}", "accent", click))
    if point.result is not None and point.result.flags:
        pieces.append(Piece(f" ⚑{len(point.result.flags)}", "warn", click))
    return pieces
