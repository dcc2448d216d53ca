"""The plan of an experiment as tables: layouts with their points, and the points of one. Pure.

Each takes a state, which may also be that of a plan nobody has started.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence

from pdconsole.model.eta import Estimate, Outlook
from pdconsole.model.grid import format_slots
from pdconsole.model.placement import Placement
from pdconsole.model.plan import ExperimentPlan, planned_run
from pdconsole.model.state import PointView, RunView, State
from pdconsole.ui.lines import clock, counted, duration, layout_name, point_name
from pdconsole.ui.widgets.frame_lines import Piece
from pdconsole.ui.widgets.point_strip import POINT_SIGNS, POINT_WORDS
from pdconsole.ui.widgets.row_table import GAP, Cell, Column, Row

RUN_ROLES = {
    "pending": "muted",
    "launching": "accent",
    "ready": "accent",
    "measuring": "accent",
    "stopping": "muted",
    "done": "ok",
    "failed": "fail",
    "skipped": "muted",
}
UNDER_WAY = frozenset({"warmup", "window", "drain"})
OVER = frozenset({"done", "failed", "skipped"})
BAR_CELLS = 10
MATRIX_CELL = 5

_BEFORE = (
    Column("number", "#", 2, "right"),
    Column("layout", "layout", 17, flex=2),
    Column("strategy", "place", 6, priority=3),
    Column("network", "network", 8, priority=3),
)
_MODE = Column("mode", "mode", 12, priority=4)
_STATE = Column("state", "state", 9)
_AFTER = (
    Column("done", "done", 5, "right", priority=8),
    Column("took", "took", 7, "right", priority=6),
    Column("left", "~left", 7, "right", priority=7),
    Column("ends", "~ends", 9, "right", priority=5),
    Column("flags", "flags", 5, priority=8),
    Column("where", "where", 14, flex=3, priority=2),
)
_LEAST = ("number", "layout", "state", "done", "took", "left", "flags")

POINT_COLUMNS = (
    Column("point", "point", 6),
    Column("state", "state", 9),
    Column("progress", "progress", BAR_CELLS + 5, priority=8),
    Column("took", "took", 7, "right", priority=7),
    Column("left", "~left", 7, "right", priority=7),
    Column("ends", "~ends", 9, "right", priority=4),
    Column("requests", "requests", 8, "right", priority=3),
    Column("errors", "errors", 6, "right", priority=3),
    Column("ttft", "TTFT p50", 8, "right", priority=2),
    Column("tpot", "TPOT p50", 8, "right", priority=2),
    Column("flags", "flags", 12, flex=1, priority=8),
)


def levels(state: State) -> tuple[str, ...]:
    """Every point id of the plan, in the order of its first use."""
    return tuple(dict.fromkeys(p.id for run in state.runs for p in run.points))


def layout_columns(state: State, width: int) -> tuple[Column, ...]:
    """A column for every point where all of them fit, else one sign a point in one column."""
    points = levels(state)
    before = (*_BEFORE, _MODE) if len({r.plan.mode for r in state.runs}) > 1 else _BEFORE
    fixed = sum(c.width + GAP for c in (*_BEFORE, _STATE, *_AFTER) if c.key in _LEAST)
    if fixed + len(points) * (MATRIX_CELL + GAP) <= width - 3:
        matrix = tuple(Column(p, point_name(p), MATRIX_CELL) for p in points)
    else:
        longest = max((len(run.points) for run in state.runs), default=0)
        matrix = (Column("points", "points", min(max(longest, 6), 24)),)
    return (*before, _STATE, *matrix, *_AFTER)


def layout_rows(
    state: State,
    t: float,
    outlook: Outlook,
    now: float,
    placements: Mapping[str, Placement],
    columns: Sequence[Column],
    refused: Collection[str] = (),
) -> list[Row]:
    """`now` is the Unix time of `t`; runs of `refused` cannot be started."""
    return [
        _layout_row(
            i, run, state, t, outlook.runs.get(run.id), now, placements, columns, run.id in refused
        )
        for i, run in enumerate(state.runs, 1)
    ]


def _layout_row(
    number: int,
    run: RunView,
    state: State,
    t: float,
    left: Estimate | None,
    now: float,
    placements: Mapping[str, Placement],
    columns: Sequence[Column],
    refused: bool,
) -> Row:
    plan = run.plan
    waits = run.status == "pending" and run.id != state.current_run
    role = "muted" if run.status in ("skipped", "pending") else "text"
    placement = placements.get(run.id)
    cells = {
        "number": Cell(str(number), "muted"),
        "layout": Cell(layout_name(plan.layout), "text" if run.status != "skipped" else "muted"),
        "strategy": Cell(plan.strategy, role),
        "network": Cell(plan.network, role),
        "mode": Cell(plan.mode, role),
        "state": _run_state(run, waits=waits, refused=refused, cut=left is None),
        "points": Cell("".join(POINT_SIGNS[p.status][0] for p in run.points), role),
        "done": Cell(f"{sum(p.status in OVER for p in run.points)}/{len(run.points)}", role),
        "took": _took(run.started_t, run.ended_t, t, over=run.status in OVER or waits),
        "left": _left(left, over=run.status in OVER),
        "ends": _ends(left, now, over=run.status in OVER, paused=state.status == "paused"),
        "flags": _flag_count(run.points),
        "where": Cell(
            format_slots(placement.slots, most_nodes=4) if placement else counted(plan.gpus, "GPU"),
            "muted",
        ),
    }
    by_id = {p.id: p for p in run.points}
    return Row(
        run.id,
        tuple(
            cells[c.key] if c.key in cells else _point_cell(by_id.get(c.key), t, cut=left is None)
            for c in columns
        ),
    )


def _run_state(run: RunView, *, waits: bool, refused: bool, cut: bool) -> Cell:
    """`cut`: the session is over and will not come to it, unless it is resumed."""
    if refused:
        return Cell("✗ refused", "fail")
    if cut and run.status not in OVER:
        return Cell("not begun", "muted") if waits else Cell("cut off", "warn")
    return Cell("waits" if waits else run.status, RUN_ROLES.get(run.status, "text"))


def _point_cell(point: PointView | None, t: float, *, cut: bool) -> Cell:
    if point is None:
        return Cell("")
    sign, role = POINT_SIGNS[point.status]
    if cut and point.status in UNDER_WAY:
        return Cell(sign, "warn")
    if point.status == "window":
        return Cell(f"{sign}{point.progress(t):4.0%}", role)
    flags = len(point.result.flags) if point.result else 0
    return Cell(f"{sign} ⚑{flags}" if flags else sign, "warn" if flags else role)


def _took(began: float | None, ended: float | None, t: float, *, over: bool) -> Cell:
    # What was skipped before it began was never under way.
    if began is None or ended == began or (ended is None and over):
        return Cell("-", "muted")
    return Cell(duration(max(0.0, (ended if ended is not None else t) - began)))


def _left(left: Estimate | None, *, over: bool) -> Cell:
    if over or left is None:
        return Cell("")
    if left.left_s is None:
        return Cell("?", "muted")
    return Cell(duration(left.left_s), "accent", left.left_s)


def _ends(left: Estimate | None, now: float, *, over: bool, paused: bool) -> Cell:
    if over or left is None:
        return Cell("")
    if left.until_s is None or paused:
        return Cell("?", "muted")
    return Cell(wall_text(now + left.until_s, now), "muted", left.until_s)


def wall_text(wall: float, now: float) -> str:
    """`14:02:31`; another day with its date in front, `25 14:02`."""
    if time.localtime(wall).tm_yday == time.localtime(now).tm_yday:
        return clock(wall)
    return time.strftime("%d %H:%M", time.localtime(wall))


def _flag_count(points: Sequence[PointView]) -> Cell:
    count = sum(len(p.result.flags) for p in points if p.result is not None)
    return Cell(f"⚑{count}", "warn", count) if count else Cell("")


# The points of one layout


def point_rows(run: RunView, state: State, t: float, outlook: Outlook, now: float) -> list[Row]:
    return [
        _point_row(point, t, outlook.points.get((run.id, point.id)), now, state)
        for point in run.points
    ]


def _point_row(point: PointView, t: float, left: Estimate | None, now: float, state: State) -> Row:
    role = POINT_SIGNS[point.status][1]
    over = point.status in OVER
    result = point.result
    waits = point.status == "pending"
    words = "waits" if waits else POINT_WORDS.get(point.status, point.status)
    if left is None and not over:  # the session is over, and did not come so far
        words, role = ("not begun", "muted") if waits else ("cut off", "warn")
    shown = "muted" if waits else "text"
    return Row(
        point.id,
        (
            Cell(point_name(point.id)),
            Cell(words, role),
            Cell(_bar(point, t), role),
            _took(point.started_t, point.ended_t, t, over=over),
            _left(left, over=over),
            _ends(left, now, over=over, paused=state.status == "paused"),
            Cell(str(result.completed if result else point.finished) if not waits else "", shown),
            Cell(str(point.errors) if point.errors else "", "fail"),
            _ms(result.ttft_ms if result else None, 0),
            _ms(result.tpot_ms if result else None, 1),
            _said(point),
        ),
    )


def _bar(point: PointView, t: float) -> str:
    if point.status == "done":
        share = 1.0
    elif point.status in ("window", "drain"):
        share = max(0.0, min(1.0, point.progress(t)))
    else:
        return ""
    full = int(share * BAR_CELLS)
    return f"{'━' * full}{'·' * (BAR_CELLS - full)} {share:4.0%}"


def _ms(values: dict[str, float] | None, digits: int) -> Cell:
    value = (values or {}).get("p50")
    return Cell("", "muted") if value is None else Cell(f"{value:,.{digits}f}", "text", value)


def _said(point: PointView) -> Cell:
    flags = point.result.flags if point.result else ()
    names = ", ".join(flag.partition(":")[0] for flag in flags)
    if names:
        return Cell(f"⚑ {names}", "warn")
    attempt = f"attempt {point.attempt}" if point.attempt > 1 else ""
    said = "; ".join(text for text in (point.message, attempt) if text)
    return Cell(said, "fail" if point.status == "failed" else "muted")


# The lines above


def progress_lines(state: State, t: float, left: Outlook, now: float) -> list[list[Piece]]:
    """How far it is: points, time, about how much is left; the fullest form first."""
    points = [Piece(f"{state.points_ended}/{state.points_total} points", "text", bold=True)]
    took = [Piece(f"  {duration(t)}", "muted")]
    if not left.runs:
        return [[*points, *took], points]
    left_s = left.session.left_s
    if left_s is None:
        unknown = [Piece("  time left unknown", "muted")]
        return [[*points, *took, *unknown], [*points, *unknown], points]
    about = [Piece(f"  about {duration(left_s)} left", "accent")]
    end = [Piece(f", to about {wall_text(now + left_s, now)}", "muted")]
    forms = [[*points, *took, *about], [*points, *about]]
    return forms if state.status == "paused" else [[*points, *took, *about, *end], *forms]


def how_text(outlook: Outlook, paused: bool) -> str:
    """What the time left was told from."""
    if not outlook.runs:
        return ""
    left = outlook.session
    if left.left_s is None:
        return f"time left: {left.how}"
    return f"left {left.how}{'; while it goes on' if paused else ''}"


def about_run(run: RunView, left: Estimate | None, placement: Placement | None) -> list[str]:
    """What the tables have no room for."""
    plan = run.plan
    lines = [
        f"{layout_name(plan.layout)}  {plan.strategy} on {plan.network}  "
        f"{plan.workload} {plan.input_len}:{plan.output_len} {plan.mode}  "
        f"{counted(plan.gpus, 'GPU')}  bm_results/{plan.result_dir}"
    ]
    if placement is not None:
        lines.append(str(placement))
    if run.message:
        lines.append(f"{run.status}: {run.message}")
    elif left is not None:
        lines.append(_about_left(left))
    return lines


def about_point(point: PointView, left: Estimate | None) -> list[str]:
    name = point_name(point.id)
    lines = []
    if point.result is not None:
        lines += [f"{name}  ⚑ {flag}" for flag in point.result.flags]
        lines.append(f"{name}  bm_results/{point.result.file}" if point.result.file else "")
    if point.message:
        lines.append(f"{name} {point.status}: {point.message}")
    if left is not None and point.status not in OVER:
        lines.append(f"{name}  {_about_left(left)}")
    return [line for line in lines if line]


def _about_left(left: Estimate) -> str:
    if left.left_s is None:
        return f"time unknown: {left.how}"
    return f"about {duration(left.left_s)}: {left.how}"


# A plan that nobody has started


def state_of_plan(plan: ExperimentPlan) -> State:
    """As the state of a session will be before anything of it has begun."""
    runs = tuple(
        RunView(plan=planned, points=tuple(PointView(id=p) for p in planned.points))
        for planned in (planned_run(run, plan.slot_kind) for run in plan.runs)
    )
    return State(runs=runs)
