"""Where a time to first token goes: its stages, which of them are told, and by whom; pure.

Of one request three things are told. Its client knows until when it handed the request over. The
server that answers it tells how long the request waited there to be scheduled, and how long from
then until its first token: vLLM's `queue_time_ms` and `time_to_first_token_ms`, which 0.25 and
later give under --enable-per-request-metrics (docs/features/per_request_metrics.md there; read in
0.32.0: v1/metrics/stats.py, entrypoints/generate/base/serving.py).

Through prefill and decode the answer is the decode replica's, which schedules a request only once
its KV has arrived (v1/core/sched/scheduler.py, 0.32.0): its queue time holds the transfer. What lay
before is a remainder that nobody divides for a single request. For all requests of a window the
replicas' histograms do, on average: means add up, so they are the only whole division there is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal, TypeAlias

import msgspec

from pdconsole.model.events import PlannedRun, RequestFinished
from pdconsole.model.layout import parse_layout
from pdconsole.model.state import PointView, ProcessView, State

# What is told of one request: the keys of `RequestFinished.stages_ms`.
CLIENT, QUEUE, FIRST_TOKEN = TOLD = ("client", "queue", "first_token")

ROUTER = "router"
P_QUEUE = "p_queue"
PREFILL = "prefill"
POST = "post"
TRANSFER = "transfer"
D_QUEUE = "d_queue"
FIRST_STEP = "first_step"

# Through the router to P and D; through it to a collocated replica; straight to one replica.
Path: TypeAlias = Literal["pd", "routed", "direct"]
STAGES: Mapping[Path, tuple[str, ...]] = {
    "pd": (CLIENT, ROUTER, P_QUEUE, PREFILL, POST, TRANSFER, D_QUEUE, FIRST_STEP),
    "routed": (CLIENT, ROUTER, QUEUE, PREFILL),
    "direct": (CLIENT, QUEUE, PREFILL),
}
_ON_D = (POST, TRANSFER, D_QUEUE)

# told: of this request, or, in means, by the replicas' histograms. rest: what is left of the TTFT.
# unknown: as `rest`, where too little is told to leave out the stages that one might know.
Source: TypeAlias = Literal["told", "rest", "unknown"]


class Part(msgspec.Struct, frozen=True):
    """A stretch of a TTFT: of one stage, or of several that are not told apart.

    No stage at all: what lies between them, networks and the front ends of servers.
    """

    stages: tuple[str, ...]
    ms: float
    source: Source


class StageMeans(msgspec.Struct, frozen=True):
    """Mean times over one phase of a point. A stage that its histograms do not give is absent."""

    phase: str = ""  # warm-up | window: since it began, until it ended
    ms: Mapping[str, float] = {}
    ttft_ms: float | None = None  # the client's


def path_of(plan: PlannedRun) -> Path:
    """Which way the requests of a run go, as measure.driver_spec.target_of has it."""
    is_pd = parse_layout(plan.layout).is_pd
    if plan.mode == "decode-only" or (is_pd and plan.mode == "prefill-only"):
        return "direct"
    return "pd" if is_pd else "routed"


def parts_of(request: RequestFinished, path: Path) -> tuple[Part, ...]:
    """The request's TTFT in its order; the parts add up to it. Empty without a TTFT."""
    ttft, told = request.ttft_ms, request.stages_ms
    if ttft is None:
        return ()
    client, queue, first = (told.get(name) for name in TOLD)
    if queue is None or first is None:
        known = {} if client is None else {CLIENT: client}
        return _with_rest(ttft, STAGES[path], known, "unknown")
    known = {} if client is None else {CLIENT: client}
    if path == "pd":
        known |= {D_QUEUE: queue, FIRST_STEP: first}
        return _with_rest(ttft, STAGES[path], known, "rest", {D_QUEUE: _ON_D})
    return _with_rest(ttft, STAGES[path], known | {QUEUE: queue, PREFILL: first}, "rest")


def parts_of_means(means: StageMeans, path: Path) -> tuple[Part, ...]:
    """The mean TTFT of a phase; what the histograms do not give is its remainder."""
    if means.ttft_ms is None:
        return ()
    return _with_rest(means.ttft_ms, STAGES[path], means.ms, "rest" if means.ms else "unknown")


def _with_rest(
    ttft_ms: float,
    stages: tuple[str, ...],
    known: Mapping[str, float],
    source: Source,
    together: Mapping[str, tuple[str, ...]] | None = None,
) -> tuple[Part, ...]:
    """What is known in the stages' order, and one remainder, where its first stage stands.

    `together`: a stage whose time is that of several.
    """
    groups = {name: (together or {}).get(name, (name,)) for name in known}
    covered = {stage for group in groups.values() for stage in group}
    unseen = tuple(s for s in stages if s not in covered)
    # Also what lies between. By the clocks of two machines it may come out below nothing.
    left = max(ttft_ms - sum(known.values()), 0.0)
    where = unseen[0] if unseen else stages[1]
    parts: list[Part] = []
    for stage in stages:
        if stage == where and (unseen or left > 0):
            parts.append(Part(unseen, left, source))
        named = next((n for n, group in groups.items() if group[0] == stage), None)
        if named is not None:
            parts.append(Part(groups[named], known[named], "told"))
    return tuple(parts)


def window_means(
    state: State, run: str, point_id: str, path: Path, *, prefill: str = "", decode: str = ""
) -> StageMeans:
    """Of the point that began last: its window, or its warm-up while there is no window yet. Empty
    for points of before, whose counters nobody keeps.

    By the named replicas only, or by all of a role. `ttft_ms` is always of all requests. NIXL's
    times are counted by rank: a rank's mean is near its replica's.
    """
    point = _point(state, run)
    if point is None or point.id != point_id or state.current_run not in ("", run):
        return StageMeans()
    views = [v for v in state.processes.values() if v.state.run == run]
    means: dict[str, float] = {}
    if path == "pd":
        p = _requests(_of(views, "prefill", prefill))
        d = _requests(_of(views, "decode", decode))
        post, transfer = _transfers(_of(views, "decode", decode))
        _put(means, P_QUEUE, p[0])
        _put(means, PREFILL, p[1])
        _put(means, POST, post)
        _put(means, TRANSFER, None if transfer is None else max(transfer - (post or 0.0), 0.0))
        if d[0] is not None and transfer is not None:
            _put(means, D_QUEUE, max(d[0] - transfer, 0.0))
        _put(means, FIRST_STEP, d[1])
    else:
        name = prefill or decode
        queue, first = _requests([v for v in views if not name or v.name == name])
        _put(means, QUEUE, queue)
        _put(means, PREFILL, first)
    phase = "window" if point.window_t is not None else "warm-up"
    return StageMeans(phase=phase, ms=means, ttft_ms=_ttft(point))


def _point(state: State, run: str) -> PointView | None:
    """The point that the processes' windows are of: the one that began last."""
    view = state.run(run)
    if view is None:
        return None
    begun = [p for p in view.points if p.started_t is not None]
    return max(begun, key=lambda p: p.started_t or 0.0, default=None)


def _ttft(point: PointView) -> float | None:
    if point.result is not None:
        return point.result.ttft_ms.get("mean")
    return point.ttft_sum_ms / point.ttfts if point.ttfts else None


def _of(views: Iterable[ProcessView], role: str, name: str) -> list[ProcessView]:
    return [v for v in views if v.state.role == role and (not name or v.name == name)]


def _requests(views: Iterable[ProcessView]) -> tuple[float | None, float | None]:
    """Mean ms queued, and from scheduled to first token, of the requests that these finished."""
    count = queued = ran = 0.0
    for view in views:
        first, last = view.window.first, view.window.last
        if first is None or last is None or None in (last.queue_s, last.prefill_s):
            continue  # Ray's exporter counts requests, and has no sums of their times
        count += _grown(first.finished, last.finished)
        queued += _grown(first.queue_s, last.queue_s)
        ran += _grown(first.prefill_s, last.prefill_s)
    return (queued / count * 1e3, ran / count * 1e3) if count > 0 else (None, None)


def _transfers(views: Iterable[ProcessView]) -> tuple[float | None, float | None]:
    """Mean ms to post a transfer, and of a whole transfer with its posting."""
    count = posted = moved = 0.0
    tells_post = False
    for view in views:
        first, last = view.window.nixl_first, view.window.nixl_last
        if first is None or last is None or last.xfer_s is None:
            continue
        count += _grown(first.transfers, last.transfers)
        moved += _grown(first.xfer_s, last.xfer_s)
        posted += _grown(first.post_s, last.post_s)
        tells_post = tells_post or last.post_s is not None
    if count <= 0:
        return None, None
    return (posted / count * 1e3 if tells_post else None), moved / count * 1e3


def _grown(before: float | None, after: float | None) -> float:
    return 0.0 if before is None or after is None else max(after - before, 0.0)


def _put(means: dict[str, float], stage: str, ms: float | None) -> None:
    if ms is not None:
        means[stage] = ms
