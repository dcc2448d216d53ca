"""The state of a session: one immutable value, and the one pure function that changes it.

Live, watch and replay all fold the same events with `reduce`. Time series are not in here; only
what is true now, and the last `LIVE_WINDOW_S` seconds of latency aggregates.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from pdconsole.model import events as ev
from pdconsole.model.statistics import (
    count_of_histogram,
    mean_of_histogram,
    merge_histograms,
    percentiles_of_histogram,
)

LIVE_WINDOW_S = 10.0
NOTES_KEPT = 50

_replace = msgspec.structs.replace


class NodeState(msgspec.Struct, frozen=True):
    name: str
    link: ev.LinkStatus = "connecting"
    message: str = ""
    inventory: ev.NodeInventory | None = None
    clock: ev.NodeClock | None = None
    gpus: ev.GpusSampled | None = None
    nics: ev.NicsSampled | None = None


class SampledWindow(msgspec.Struct, frozen=True):
    """What a process's counters said as a point's warm-up or window opened, and said last in it."""

    first: ev.WorkerSampled | None = None
    last: ev.WorkerSampled | None = None
    nixl_first: ev.NixlSampled | None = None
    nixl_last: ev.NixlSampled | None = None
    open: bool = False


class ProcessView(msgspec.Struct, frozen=True):
    """A worker, the router or the driver; `state` and `sample` are its latest events."""

    name: str
    state: ev.ProcessState
    sample: ev.WorkerSampled | None = None
    nixl: ev.NixlSampled | None = None
    window: SampledWindow = SampledWindow()


class PointView(msgspec.Struct, frozen=True):
    id: str
    status: ev.PointStatus = "pending"
    attempt: int = 0
    target_requests: int | None = None
    target_s: float | None = None
    message: str = ""
    started_t: float | None = None
    window_t: float | None = None  # when the window opened
    ended_t: float | None = None
    finished: int = 0  # requests, all phases of this attempt
    window_finished: int = 0
    errors: int = 0
    ttft_sum_ms: float = 0.0  # of the `ttfts` requests of the window, or of the warm-up before it
    ttfts: int = 0
    result: ev.PointResult | None = None

    def progress(self, t: float) -> float:
        """Share of the window that is over, 0 to 1: requests or time, whichever is behind."""
        if self.window_t is None:
            return 0.0
        shares = [1.0]
        if self.target_requests:
            shares.append(self.window_finished / self.target_requests)
        if self.target_s:
            shares.append((t - self.window_t) / self.target_s)
        return min(shares)


class RunView(msgspec.Struct, frozen=True):
    plan: ev.PlannedRun
    status: ev.RunStatus = "pending"
    message: str = ""
    points: tuple[PointView, ...] = ()
    started_t: float | None = None
    ended_t: float | None = None

    @property
    def id(self) -> str:
        return self.plan.run


class LiveLatency(msgspec.Struct, frozen=True):
    """Percentiles over the last `window_s` seconds of ticks, ms; None where nothing was seen."""

    window_s: float = 0.0
    ttft_p50: float | None = None
    ttft_p90: float | None = None
    ttft_p99: float | None = None
    tpot_p50: float | None = None
    tpot_p90: float | None = None
    tpot_p99: float | None = None
    itl_p50: float | None = None
    itl_p90: float | None = None
    itl_p99: float | None = None
    requests_per_s: float = 0.0
    input_tokens_per_s: float = 0.0
    output_tokens_per_s: float = 0.0


class State(msgspec.Struct, frozen=True):
    session: str = ""
    opened: ev.SessionOpened | None = None
    status: ev.SessionStatus = "starting"
    message: str = ""
    epoch: int = 0
    seq: int = 0
    t: float = 0.0
    wall: float = 0.0
    nodes: Mapping[str, NodeState] = {}
    checks: Mapping[tuple[str, str], ev.CheckResult] = {}
    runs: tuple[RunView, ...] = ()
    processes: Mapping[str, ProcessView] = {}  # of the current run
    current_run: str = ""
    current_point: str = ""
    ticks: tuple[ev.PointTick, ...] = ()  # the last LIVE_WINDOW_S seconds of the current point
    notes: tuple[ev.Note, ...] = ()
    validations: Mapping[str, ev.KvValidated] = {}  # by run, the latest
    network_tests: Mapping[str, ev.NetBenchResult] = {}  # by run, the latest

    @property
    def live(self) -> LiveLatency:
        """Made from the ticks when it is asked for: most states of a replay are never looked at."""
        return _live(self.ticks)

    @property
    def simulated(self) -> bool:
        return self.opened is not None and self.opened.simulated

    def run(self, run_id: str) -> RunView | None:
        return next((r for r in self.runs if r.id == run_id), None)

    @property
    def points_total(self) -> int:
        return sum(len(r.points) for r in self.runs)

    @property
    def points_ended(self) -> int:
        ended = {"done", "failed", "skipped"}
        return sum(
            p.status in ended or r.status in ("failed", "skipped")
            for r in self.runs
            for p in r.points
        )


def reduce(state: State, event: ev.Event) -> State:
    """The state after `event`. Events of unknown kinds leave it as it was."""
    step = _REDUCERS.get(type(event))
    if step is None:
        return state
    return step(state, event)


def fold(events: Iterable[ev.Event], state: State | None = None) -> State:
    result = state if state is not None else State()
    for event in events:
        result = reduce(result, event)
    return result


def _stamped(state: State, event: ev.Event, **changes: Any) -> State:
    return _replace(
        state, seq=event.seq, t=max(state.t, event.t), wall=max(state.wall, event.wall), **changes
    )


def _header(state: State, event: ev.Header) -> State:
    return _stamped(state, event, session=event.session)


def _opened(state: State, event: ev.SessionOpened) -> State:
    known = {r.id: r for r in state.runs}
    runs = tuple(known.get(p.run) or _new_run(p) for p in event.runs)
    return _stamped(state, event, session=event.session, opened=event, runs=runs)


def _plan_changed(state: State, event: ev.PlanChanged) -> State:
    """The order and the new runs are the event's; what is known of a run stays."""
    known = {r.id: r for r in state.runs}
    runs = tuple(known.get(p.run) or _new_run(p) for p in event.runs)
    return _stamped(state, event, runs=runs)


def _new_run(plan: ev.PlannedRun) -> RunView:
    return RunView(plan=plan, points=tuple(PointView(id=i) for i in plan.points))


def _epoch(state: State, event: ev.EpochOpened) -> State:
    """What a lost runner left open is open no more."""
    if event.epoch == 1:
        return _stamped(state, event, epoch=1)
    runs = tuple(_reopened(r) for r in state.runs)
    return _stamped(
        state,
        event,
        epoch=event.epoch,
        status="starting",
        message="",
        runs=runs,
        processes={},
        current_run="",
        current_point="",
        ticks=(),
    )


def _reopened(run: RunView) -> RunView:
    if run.status in ("done", "skipped"):
        return run
    points = tuple(
        p if p.status in ("done", "skipped") else PointView(id=p.id, attempt=p.attempt)
        for p in run.points
    )
    return _replace(run, status="pending", message="", points=points, ended_t=None)


def _session_state(state: State, event: ev.SessionState) -> State:
    return _stamped(state, event, status=event.status, message=event.message)


def _note(state: State, event: ev.Note) -> State:
    return _stamped(state, event, notes=(*state.notes, event)[-NOTES_KEPT:])


def _with_node(state: State, event: ev.Event, name: str, **changes: Any) -> State:
    node = state.nodes.get(name) or NodeState(name=name)
    return _stamped(state, event, nodes={**state.nodes, name: _replace(node, **changes)})


def _node_link(state: State, event: ev.NodeLink) -> State:
    return _with_node(state, event, event.node, link=event.status, message=event.message)


def _node_clock(state: State, event: ev.NodeClock) -> State:
    return _with_node(state, event, event.node, clock=event)


def _node_inventory(state: State, event: ev.NodeInventory) -> State:
    return _with_node(state, event, event.node, inventory=event)


def _node_gpus(state: State, event: ev.GpusSampled) -> State:
    return _with_node(state, event, event.node, gpus=event)


def _node_nics(state: State, event: ev.NicsSampled) -> State:
    return _with_node(state, event, event.node, nics=event)


def _check(state: State, event: ev.CheckResult) -> State:
    return _stamped(state, event, checks={**state.checks, (event.node, event.check): event})


def _with_run(state: State, event: ev.Event, run: RunView, **changes: Any) -> State:
    runs = tuple(run if r.id == run.id else r for r in state.runs)
    return _stamped(state, event, runs=runs, **changes)


def _kv_validated(state: State, event: ev.KvValidated) -> State:
    return _stamped(state, event, validations={**state.validations, event.run: event})


def _net_bench(state: State, event: ev.NetBenchResult) -> State:
    return _stamped(state, event, network_tests={**state.network_tests, event.run: event})


_RUN_ENDED = frozenset({"done", "failed", "skipped"})
_POINT_ENDED = frozenset({"done", "failed", "skipped"})


def _run_state(state: State, event: ev.RunState) -> State:
    run = state.run(event.run)
    if run is None:
        return state
    started = run.started_t
    processes = state.processes
    if event.status == "launching":
        started = event.t
        processes = {}
    ended = event.t if event.status in _RUN_ENDED else None
    run = _replace(
        run, status=event.status, message=event.message, started_t=started, ended_t=ended
    )
    return _with_run(
        state,
        event,
        run,
        processes=processes,
        current_run="" if ended is not None else event.run,
    )


def _process_state(state: State, event: ev.ProcessState) -> State:
    old = state.processes.get(event.process)
    view = _replace(old, state=event) if old else ProcessView(name=event.process, state=event)
    return _stamped(state, event, processes={**state.processes, event.process: view})


def _worker_sample(state: State, event: ev.WorkerSampled) -> State:
    view = state.processes.get(event.process)
    if view is None:
        return state
    window = view.window
    if window.open:
        window = _replace(window, first=window.first or event, last=event)
    view = _replace(view, sample=event, window=window)
    return _stamped(state, event, processes={**state.processes, event.process: view})


def _nixl_sample(state: State, event: ev.NixlSampled) -> State:
    view = state.processes.get(event.process)
    if view is None:
        return state
    window = view.window
    if window.open:
        window = _replace(window, nixl_first=window.nixl_first or event, nixl_last=event)
    view = _replace(view, nixl=event, window=window)
    return _stamped(state, event, processes={**state.processes, event.process: view})


def _change_point(
    state: State, run_id: str, point_id: str, change: Callable[[PointView], PointView]
) -> RunView | None:
    run = state.run(run_id)
    if run is None:
        return None
    points = tuple(change(p) if p.id == point_id else p for p in run.points)
    return _replace(run, points=points)


def _point_state(state: State, event: ev.PointState) -> State:
    ended = event.status in _POINT_ENDED

    def change(p: PointView) -> PointView:
        if event.status == "warmup" or event.attempt != p.attempt:
            p = PointView(id=p.id, started_t=event.t)
        if event.status == "window":
            p = _replace(p, ttft_sum_ms=0.0, ttfts=0)
        return _replace(
            p,
            status=event.status,
            attempt=event.attempt,
            target_requests=event.target_requests or p.target_requests,
            target_s=event.target_s or p.target_s,
            window_t=event.t if event.status == "window" else p.window_t,
            message=event.message,
            ended_t=event.t if ended else None,
        )

    run = _change_point(state, event.run, event.point, change)
    if run is None:
        return state
    fresh = event.status == "warmup"
    return _with_run(
        state,
        event,
        run,
        current_point="" if ended else event.point,
        ticks=() if fresh else state.ticks,
        processes={
            name: _replace(view, window=_window_of(view, event.status))
            for name, view in state.processes.items()
        },
    )


def _window_of(view: ProcessView, status: ev.PointStatus) -> SampledWindow:
    """Another one where a phase opens; what was sampled last before belongs to its beginning."""
    if status in ("warmup", "window"):
        return SampledWindow(view.sample, view.sample, view.nixl, view.nixl, open=True)
    return _replace(view.window, open=False)


def _tick(state: State, event: ev.PointTick) -> State:
    ticks = (*state.ticks, event)
    oldest = event.node_t - LIVE_WINDOW_S
    ticks = tuple(x for x in ticks if x.node_t > oldest)

    def change(p: PointView) -> PointView:
        in_window = event.finished if event.phase == "window" else 0
        counts = event.phase == p.status != "drain"
        ttfts = count_of_histogram(event.ttft) if counts else 0
        sum_ms = (mean_of_histogram(event.ttft) or 0.0) * ttfts
        return _replace(
            p,
            finished=p.finished + event.finished,
            window_finished=p.window_finished + in_window,
            errors=p.errors + event.errors,
            ttft_sum_ms=p.ttft_sum_ms + sum_ms,
            ttfts=p.ttfts + ttfts,
        )

    run = _change_point(state, event.run, event.point, change)
    if run is None:
        return state
    return _with_run(state, event, run, ticks=ticks)


def _live(ticks: tuple[ev.PointTick, ...]) -> LiveLatency:
    span = sum(x.dt_s for x in ticks)
    ttft, tpot, itl = (
        percentiles_of_histogram(merge_histograms(part), (50, 90, 99))
        for part in (
            (x.ttft for x in ticks),
            (x.tpot for x in ticks),
            (x.itl for x in ticks),
        )
    )

    def rate(total: int) -> float:
        return total / span if span > 0 else 0.0

    return LiveLatency(
        window_s=span,
        ttft_p50=ttft[0],
        ttft_p90=ttft[1],
        ttft_p99=ttft[2],
        tpot_p50=tpot[0],
        tpot_p90=tpot[1],
        tpot_p99=tpot[2],
        itl_p50=itl[0],
        itl_p90=itl[1],
        itl_p99=itl[2],
        requests_per_s=rate(sum(x.finished for x in ticks)),
        input_tokens_per_s=rate(sum(x.input_tokens for x in ticks)),
        output_tokens_per_s=rate(sum(x.output_tokens for x in ticks)),
    )


def _request(state: State, event: ev.RequestFinished) -> State:
    # Counted by the ticks; the line itself is for the request table and the result files.
    return _stamped(state, event)


def _point_result(state: State, event: ev.PointResult) -> State:
    run = _change_point(state, event.run, event.point, lambda p: _replace(p, result=event))
    return state if run is None else _with_run(state, event, run)


_Step = Callable[[State, Any], State]

_REDUCERS: dict[type[ev.Event], _Step] = {
    ev.Header: _header,
    ev.SessionOpened: _opened,
    ev.PlanChanged: _plan_changed,
    ev.EpochOpened: _epoch,
    ev.SessionState: _session_state,
    ev.CommandReceived: _stamped,
    ev.Note: _note,
    ev.NodeLink: _node_link,
    ev.NodeClock: _node_clock,
    ev.NodeInventory: _node_inventory,
    ev.CheckResult: _check,
    ev.GpusSampled: _node_gpus,
    ev.NicsSampled: _node_nics,
    ev.RunState: _run_state,
    ev.ProcessState: _process_state,
    ev.WorkerSampled: _worker_sample,
    ev.NixlSampled: _nixl_sample,
    ev.PointState: _point_state,
    ev.KvValidated: _kv_validated,
    ev.NetBenchResult: _net_bench,
    ev.PointTick: _tick,
    ev.RequestFinished: _request,
    ev.PointResult: _point_result,
}
