"""How long what is planned will take, told from what is recorded and how it was got. Pure.

Nothing here is a promise: a point takes as long as points of its load took before, a launch as long
as launches took. Where there is nothing to tell it from, it is unknown.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from statistics import median

import msgspec

from pdconsole.model.state import PointView, RunView, State
from pdconsole.model.workload import MeasurePolicy

# Of a window this young its pace says nothing.
LEAST_PROGRESS = 0.05

_POINT_OVER = frozenset({"done", "failed", "skipped"})
_RUN_OVER = frozenset({"done", "failed", "skipped"})
_ALIVE = frozenset({"starting", "running", "paused"})


class Estimate(msgspec.Struct, frozen=True):
    """`left_s` is its own time, `until_s` also what comes before it; None: unknown.

    `how` says what that was told from, or why it cannot be told.
    """

    left_s: float | None
    how: str
    until_s: float | None = None


class Outlook(msgspec.Struct, frozen=True):
    """What is still to be done of a session, from one moment on; what is over is not in it."""

    session: Estimate
    runs: Mapping[str, Estimate] = {}
    points: Mapping[tuple[str, str], Estimate] = {}  # by run and point

    @classmethod
    def none(cls) -> Outlook:
        return cls(Estimate(None, "the session does not run"))


class _Part(msgspec.Struct, frozen=True):
    seconds: float | None
    basis: str  # a key of _SAYS_ONE; where seconds is None: why


def outlook(state: State, t: float, policy: MeasurePolicy | None = None) -> Outlook:
    """At session second `t`, the second of `state` or a little later.

    Time while the session is paused is in no estimate. `policy` is the session's, where known.
    """
    if state.status not in _ALIVE:
        return Outlook.none()
    if not state.runs:
        return Outlook(Estimate(None, "nothing is planned yet"))
    seen = _Seen(state, t, policy)
    current = [run for run in state.runs if run.id == state.current_run]
    pending = [r for r in state.runs if r.status not in _RUN_OVER and r.id != state.current_run]
    runs: dict[str, Estimate] = {}
    points: dict[tuple[str, str], Estimate] = {}
    parts: list[_Part] = []
    launches: list[_Part] = []
    until: float | None = 0.0
    for run in (*current, *pending):
        launch, own, after = seen.launch(run), seen.points(run), seen.taking_down(run)
        begins = _sum((until, launch.seconds))
        for point, part in own:
            begins = _sum((begins, part.seconds))
            points[run.id, point.id] = Estimate(part.seconds, _how_one(part), begins)
        own_parts = [part for _, part in own]
        left = _sum((launch.seconds, *(p.seconds for p in own_parts), after))
        until = _sum((until, left))
        runs[run.id] = Estimate(left, _how(own_parts, [launch]), until)
        parts += own_parts
        launches.append(launch)
    total = _sum(run.left_s for run in runs.values())
    return Outlook(Estimate(total, _how(parts, launches), total), runs, points)


class _Seen:
    """What the session's own record says of how long things take."""

    def __init__(self, state: State, t: float, policy: MeasurePolicy | None) -> None:
        self._state = state
        self._t = t
        self._policy = policy
        self._took: dict[tuple[object, ...], list[float]] = {}
        self._known: dict[tuple[object, ...], _Part] = {}  # many points are alike
        launches: list[float] = []
        downs: list[float] = []
        for run in state.runs:
            for point in run.points:
                took = _took(point)
                if took is not None:
                    self._took.setdefault((*_kind(run), point.id), []).append(took)
            launches += _launch_times(run)
            downs += _taking_down_times(run)
        self._launch = median(launches) if launches else None
        self._down = median(downs) if downs else 0.0

    def launch(self, run: RunView) -> _Part:
        """Until its first point can begin."""
        if all(p.status in _POINT_OVER for p in run.points):
            return _Part(0.0, "")
        if run.status in ("ready", "measuring", "stopping"):
            return _Part(0.0, "")
        if self._launch is None:
            return _Part(None, "no layout has been launched yet")
        begun = run.started_t if run.status == "launching" else None
        since = self._t - begun if begun is not None else 0.0
        return _Part(max(0.0, self._launch - since), "launch")

    def taking_down(self, run: RunView) -> float:
        return self._down if run.status != "stopping" else 0.0

    def points(self, run: RunView) -> list[tuple[PointView, _Part]]:
        if run.status == "stopping":
            return []
        return [(p, self._point(run, p)) for p in run.points if p.status not in _POINT_OVER]

    def _point(self, run: RunView, point: PointView) -> _Part:
        t = self._t
        if point.status == "drain":
            return _Part(0.0, "draining")
        if point.status == "window" and point.window_t is not None:
            share = point.progress(t)
            if share >= LEAST_PROGRESS:
                return _Part(max(0.0, (t - point.window_t) * (1 / share - 1)), "window")
        whole = self._like(run, point)
        if whole.seconds is None or point.started_t is None:
            return whole
        # Longer than others already: its window is still to come, and has a least length.
        least = self._policy.min_window_s if self._policy else 0.0
        return _Part(max(whole.seconds - (t - point.started_t), least), whole.basis)

    def _like(self, run: RunView, point: PointView) -> _Part:
        """How long such a point takes from its warm-up to the end of its drain."""
        key = (*_kind(run), point.id)
        if key not in self._known:
            self._known[key] = self._look_up(_kind(run), point)
        return self._known[key]

    def _look_up(self, kind: tuple[object, ...], point: PointView) -> _Part:
        same = self._took.get((*kind, point.id))
        if same:
            return _Part(median(same), "same load")
        planned = self._planned(point)
        if planned is not None:
            return _Part(planned, "planned")
        way, level = _load(point.id)
        near = [
            (abs(math.log(level / other)), -other, took)
            for (*its_kind, name), took in self._took.items()
            for its_way, other in (_load(str(name)),)
            if tuple(its_kind) == kind and its_way == way
        ]
        if near:
            return _Part(median(min(near)[2]), "nearest load")
        return _Part(None, "no point like it has been measured yet")

    def _planned(self, point: PointView) -> float | None:
        """What the policy alone says: of an open loop, where the clock sets the pace."""
        policy = self._policy
        way, rate = _load(point.id)
        if policy is None or way != "rr" or policy.window != "steady":
            return None
        if policy.until_relative_ci is not None:
            return None
        return policy.warmup_s + max(policy.min_window_s, policy.min_requests / rate)


def _took(point: PointView) -> float | None:
    if point.status != "done" or point.started_t is None or point.ended_t is None:
        return None
    return point.ended_t - point.started_t


def _kind(run: RunView) -> tuple[object, ...]:
    return (run.plan.mode, run.plan.input_len, run.plan.output_len)


def _load(point: str) -> tuple[str, float]:
    """`("conc", 16.0)` of `conc16`."""
    way = point.rstrip("0123456789.e+-")
    return way, float(point[len(way) :])


def _launch_times(run: RunView) -> list[float]:
    began = run.started_t
    if began is None:
        return []
    # Points of an earlier epoch began before this launch.
    after = [p.started_t for p in run.points if p.started_t is not None and p.started_t >= began]
    return [min(after) - began] if after else []


def _taking_down_times(run: RunView) -> list[float]:
    ended = [p.ended_t for p in run.points if p.ended_t is not None]
    if run.ended_t is None or run.status != "done" or not ended:
        return []
    return [max(0.0, run.ended_t - max(ended))]


def _sum(parts: Iterable[float | None]) -> float | None:
    total = 0.0
    for part in parts:
        if part is None:
            return None
        total += part
    return total


def _how_one(part: _Part) -> str:
    return part.basis if part.seconds is None else _SAYS_ONE[part.basis]


_SAYS_ONE = {
    "window": "as its window goes",
    "draining": "its last requests end",
    "same load": "as this load took before",
    "nearest load": "as the nearest load measured took",
    "planned": "as planned: warm-up and window",
}
_SAYS_MANY = {
    "same load": "of known load",
    "nearest load": "by the nearest load",
    "planned": "as planned",
}


def _how(points: Sequence[_Part], launches: Sequence[_Part]) -> str:
    """`by the window's pace, 3 points of known load, 2 by the nearest load, 1 launch`."""
    unknown = next((p for p in (*points, *launches) if p.seconds is None), None)
    if unknown is not None:
        return unknown.basis
    said = ["the window's pace"] if any(p.basis == "window" for p in points) else []
    counts = {basis: sum(p.basis == basis for p in points) for basis in _SAYS_MANY}
    for basis, count in counts.items():
        if count:
            unit = "" if len(said) and "point" in said[-1] else " point" + "s" * (count > 1)
            said.append(f"{count}{unit} {_SAYS_MANY[basis]}")
    ahead = sum(p.basis == "launch" for p in launches)
    if ahead:
        said.append(f"{ahead} {'launch' if ahead == 1 else 'launches'}")
    return f"by {', '.join(said)}" if said else "only the end is left"
