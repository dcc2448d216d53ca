"""What a person may tell a session: the call, and the question that comes before it. Pure.

Each of these looks at the session as it is now and gives an `Order`, or a sentence that says why
there is none to give.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from pdconsole.model.placement import Placement
from pdconsole.model.plan import ExperimentPlan
from pdconsole.model.request import Call, PlacedLayout, RunRequest
from pdconsole.model.state import RunView, State
from pdconsole.model.survey import LaunchPlan
from pdconsole.ui.lines import counted, layout_name, point_name
from pdconsole.ui.touched import gpus_text, workers_text

Placements = Mapping[str, Placement]  # by run, as far as they are known

_BEGUN = frozenset({"launching", "ready", "measuring", "stopping"})


class Order(msgspec.Struct, frozen=True):
    """`question` "" means: nothing is lost by it, so nobody is asked."""

    call: Call
    done: str  # what to say once the runner has taken it
    question: str = ""
    about: str = ""
    yes: str = ""


def start(plan: ExperimentPlan, launches: Sequence[LaunchPlan], request: RunRequest) -> Order | str:
    """Begin a session of what is planned."""
    if not plan.runs:
        return f"{plan.experiment} has no layout to measure"
    refused = [launch for launch in launches if launch.refused]
    if refused and len(refused) == len(plan.runs):
        return f"no layout of {plan.experiment} can be started: {refused[0].refused}"
    slots = [slot for run in plan.runs for slot in run.placement.slots]
    points = sum(len(run.points) for run in plan.runs)
    mark = " (simulated)" if plan.simulated else ""
    lines = [
        f"{counted(len(plan.runs), 'layout')}, {counted(points, 'point')}, one after another, "
        f"{plan.model} on cluster {plan.cluster}{mark}.",
        f"It takes {gpus_text(slots)}.",
    ]
    if refused:
        lines.append(
            f"{counted(len(refused), 'layout')} cannot be started and will fail: "
            f"{refused[0].refused}"
        )
    return Order(
        call=Call(command="run", run=request),
        done=f"{plan.experiment} has begun",
        question=f"Start {plan.experiment}?",
        about="\n".join(lines),
        yes="Start",
    )


def pause(state: State) -> Order | str:
    """Hold after the point under way; workers stay up."""
    if state.status == "paused":
        return "it is paused; r goes on"
    if state.status == "stopping":
        return "it is stopping"
    if not state.current_point:
        return Order(Call(command="pause"), "pauses before the next point or layout; r goes on")
    held = workers_text(state)
    kept = f"; {held} stay up" if held else ""
    return Order(
        Call(command="pause"), f"pauses after {point_name(state.current_point)}{kept}; r goes on"
    )


def go_on(state: State) -> Order:
    """After a pause, also one that has not come yet."""
    return Order(Call(command="unpause"), f"{state.session} goes on")


def skip_point(state: State) -> Order | str:
    run = state.run(state.current_run)
    if run is None or not state.current_point:
        return "no point is being measured now; X skips a layout"
    point = point_name(state.current_point)
    workers = workers_text(state)
    return Order(
        call=Call(command="skip", scope="point"),
        done=f"{point} is skipped",
        question=f"Skip {point} of {layout_name(run.plan.layout)}?",
        about=f"What was measured of it is thrown away. {_stay(workers)}",
        yes="Skip",
    )


def _stay(workers: str) -> str:
    return f"{workers} stay up for the next point." if workers else "Its workers stay up."


def skip_layout(state: State, run_id: str, placements: Placements) -> Order | str:
    """The layout under way, or one that has not begun."""
    run = state.run(run_id)
    if run is None:
        return "no layout is chosen"
    name = _name(state, run)
    if run.id == state.current_run and run.status in _BEGUN:
        workers = workers_text(state)
        ended = f"{workers} are ended." if workers else "What was started of it is ended."
        return Order(
            call=Call(command="skip", scope="layout"),
            done=f"{name} is skipped",
            question=f"Skip the rest of {name}?",
            about=f"{ended} Points that are done stay.",
            yes="Skip",
        )
    if run.status != "pending":
        return f"{name} is {run.status}; only a layout that is not over can be skipped"
    placement = placements.get(run.id)
    where = f" It would have taken {gpus_text(placement.slots)}." if placement else ""
    return Order(
        call=Call(command="skip", scope="layout", runs=(run.id,)),
        done=f"{name} is skipped",
        question=f"Skip {name}?",
        about=f"It has not begun, so nothing is ended.{where}",
        yes="Skip",
    )


def stop(state: State, *, now: bool = False) -> Order:
    workers = workers_text(state)
    ended = f"{workers} are ended" if workers else "what was started on its nodes is ended"
    point = point_name(state.current_point) if state.current_point else ""
    given_up = f"{point} is given up and " if point else ""
    if now:
        about = (
            f"At once, without draining: {given_up}{ended}. What is measured stays, and the "
            "session can be resumed."
        )
    else:
        about = f"In order: {given_up}{ended}. What is measured stays; it can be resumed."
    return Order(
        call=Call(command="stop", now=now),
        done=f"{state.session} is stopping",
        question=f"Stop {state.session}{' at once' if now else ''}?",
        about=about,
        yes="Stop",
    )


def resume(state: State, session: str, placements: Placements) -> Order | str:
    """Go on with a session that has ended before its plan was through."""
    if state.status == "finished":
        return f"{session} finished; there is nothing left to do"
    left = [run for run in state.runs if run.status not in ("done", "skipped")]
    slots = [s for run in left if run.id in placements for s in placements[run.id].slots]
    where = f" It takes {gpus_text(slots)}." if slots else ""
    cluster = state.opened.cluster if state.opened else "its cluster"
    points = sum(p.status not in ("done", "skipped") for run in left for p in run.points)
    return Order(
        call=Call(command="resume", session=session),
        done=f"{session} goes on",
        question=f"Resume {session}?",
        about=f"{counted(points, 'point')} of {counted(len(left), 'layout')} are measured on "
        f"cluster {cluster}.{where}",
        yes="Resume",
    )


def pending_runs(state: State) -> tuple[str, ...]:
    """Those whose order can be changed."""
    return tuple(r.id for r in state.runs if r.status == "pending" and r.id != state.current_run)


def moved(order: Sequence[str], run: str, by: int) -> tuple[str, ...] | str:
    """`order` with `run` one place on, or back where `by` is negative."""
    if run not in order:
        return "only layouts that have not begun can be moved"
    at = list(order).index(run)
    to = at + by
    if not 0 <= to < len(order):
        return "it is the first of those that have not begun" if by < 0 else "it is the last one"
    changed = list(order)
    changed[at], changed[to] = changed[to], changed[at]
    return tuple(changed)


def with_order(state: State, order: Sequence[str]) -> State:
    """As `state` will be once its runs of `order` stand in that order, in the places they have."""
    by_id = {run.id: run for run in state.runs}
    turn = iter(order)
    runs = tuple(by_id[next(turn)] if run.id in order else run for run in state.runs)
    return msgspec.structs.replace(state, runs=runs)


def reorder(order: Sequence[str]) -> Call:
    return Call(command="reorder", runs=tuple(order))


def add(placed: PlacedLayout) -> Order:
    """The question was the line in which it was written."""
    name = layout_name(placed.layout) if placed.layout else placed.manual
    return Order(Call(command="add", placed=(placed,)), f"{name} is added at the end of the plan")


def _name(state: State, run: RunView) -> str:
    number = next((i for i, r in enumerate(state.runs, 1) if r.id == run.id), 0)
    return f"layout {number}, {layout_name(run.plan.layout)} {run.plan.strategy}"
