"""An event as a line of text, for pipes, logs and `watch --plain`. Pure."""

from __future__ import annotations

import time
from collections.abc import Iterator

from pdconsole.model import events as ev
from pdconsole.model.layout import parse_layout
from pdconsole.model.state import LiveLatency, RunView, State

PROGRESS_EVERY_S = 5.0


def clock(wall: float) -> str:
    return time.strftime("%H:%M:%S", time.localtime(wall))


def printable(text: str) -> str:
    """Text from a node as data: control characters are shown, never obeyed."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def duration(seconds: float) -> str:
    """`43 s`, `12:40`, `1:02:40`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    hours, rest = divmod(whole, 3600)
    minutes, secs = divmod(rest, 60)
    return f"{hours}:{minutes:02}:{secs:02}" if hours else f"{minutes}:{secs:02}"


def counted(count: int, word: str) -> str:
    """`1 layout`, `2 layouts`."""
    return f"{count} {word}" if count == 1 else f"{count} {word}s"


def layout_name(slug: str) -> str:
    return str(parse_layout(slug))


def point_name(point: str) -> str:
    """`c=16` of `conc16`, `rr=4` of `rr4`."""
    return f"c={point[4:]}" if point.startswith("conc") else f"rr={point[2:]}"


def run_name(state: State, run: RunView) -> str:
    number = next((i for i, r in enumerate(state.runs, 1) if r.id == run.id), 0)
    plan = run.plan
    mode = "" if plan.mode == "mixed" else f" {plan.mode}"
    return (
        f"[{number}/{len(state.runs)}] {layout_name(plan.layout)}{mode}, "
        f"{plan.strategy} on {plan.network}"
    )


def _ms(value: float | None, digits: int = 0) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def live_text(live: LiveLatency) -> str:
    return (
        f"TTFT p50 {_ms(live.ttft_p50)} p99 {_ms(live.ttft_p99)} ms, "
        f"TPOT p50 {_ms(live.tpot_p50, 1)} ms, {live.requests_per_s:.1f} req/s, "
        f"{live.output_tokens_per_s:,.0f} output tok/s (last {live.window_s:.0f} s)"
    )


def unit_of(state: State) -> str:
    """What numbers are divided by: `slot` where it is CPU, and in older recordings of a shared GPU,
    whose slots were counted."""
    kind = "gpu" if state.opened is None else state.opened.slot_kind
    if kind != "gpu-share":
        return "slot" if kind == "cpu" else "GPU"
    results = [point.result for run in state.runs for point in run.points if point.result]
    return "slot" if any(result.gpus is None for result in results) else "GPU"


def result_text(result: ev.PointResult, unit: str = "GPU") -> str:
    return (
        f"{result.completed} requests in {result.window_s:.1f} s, "
        f"{result.request_throughput:.2f} req/s, {result.total_token_throughput:,.0f} tok/s "
        f"({result.tokens_per_s_per_gpu:,.0f} per {unit}), "
        f"TTFT p50 {_ms(result.ttft_ms.get('p50'))} p99 {_ms(result.ttft_ms.get('p99'))} ms, "
        f"TPOT p50 {_ms(result.tpot_ms.get('p50'), 2)} ms"
    )


def opening_lines(state: State) -> Iterator[str]:
    """What someone who joins late should know first."""
    opened = state.opened
    if opened is None:
        return
    mark = "  (simulated)" if opened.simulated else ""
    yield f"session    {opened.session}{mark}"
    yield f"cluster    {opened.cluster}, model {opened.model}"
    if opened.question:
        yield f"question   {opened.question}"
    points = sum(len(r.points) for r in opened.runs)
    yield f"plan       {counted(len(opened.runs), 'layout')}, {counted(points, 'point')}"


def joining_lines(state: State) -> Iterator[str]:
    """Where the session is, for someone who joins in the middle."""
    ended = f"{state.points_ended} of {counted(state.points_total, 'point')}"
    yield f"so far     {ended} in {duration(state.t)}"
    run = state.run(state.current_run)
    if run is not None:
        at = f", {point_name(state.current_point)}" if state.current_point else ""
        yield f"now        {run_name(state, run)}: {run.status}{at}"


class EventLines:
    """Lines of a stream of events; ticks are throttled by the recording's own clock."""

    def __init__(self) -> None:
        self._last_progress_t = float("-inf")

    def lines(self, event: ev.Event, state: State) -> Iterator[str]:
        """The lines of `event`; `state` is the state after it."""
        stamp = clock(event.wall)
        for text in self._texts(event, state):
            yield f"{stamp}  {text}"

    def _texts(self, event: ev.Event, state: State) -> Iterator[str]:
        match event:
            case ev.SessionState():
                yield f"session {event.status}" + _after(": ", event.message)
            case ev.EpochOpened() if event.epoch > 1:
                yield f"resumed (epoch {event.epoch})" + _after(": ", event.reason)
            case ev.CommandReceived():
                yield f"asked to {event.command}" + _after(" ", event.detail)
            case ev.Note():
                yield f"{event.level}: " + _before(event.subject, ": ") + printable(event.message)
            case ev.NodeLink():
                yield f"node {event.node} {event.status}" + _after(": ", event.message)
            case ev.CheckResult() if event.verdict in ("warn", "fail"):
                yield (
                    f"check {event.check} on {event.node}: {event.verdict}, {event.value}"
                    + _after("; ", event.advice)
                )
            case ev.RunState() if event.status not in ("ready", "measuring"):
                run = state.run(event.run)
                name = run_name(state, run) if run else event.run
                yield f"{name}: {event.status}" + _after(", ", event.message)
            case ev.KvValidated():
                yield f"  KV validation {event.verdict}: {printable(event.message)}"
                if event.smallest_caught:
                    yield f"    smallest corruption caught: {event.smallest_caught}"
            case ev.ProcessState():
                yield from self._process(event)
            case ev.PointState():
                yield from self._point(event)
            case ev.PointTick():
                yield from self._tick(event, state)
            case ev.PointResult():
                yield f"  {point_name(event.point)} done: {result_text(event, unit_of(state))}"
                for flag in event.flags:
                    yield f"  {point_name(event.point)}   flag {flag}"
            case _:
                return

    def _process(self, event: ev.ProcessState) -> Iterator[str]:
        # How the driver fares its point says itself.
        if event.status not in ("ready", "failed") or event.role == "driver":
            return
        slots = ",".join(str(s) for s in event.slots)
        where = f"{event.node}" + (f":{slots}" if slots else "")
        text = f"  {event.process} on {where} {event.status}" + _after(": ", event.message)
        yield printable(text)
        if event.status == "failed" and event.last_log:
            for line in event.last_log.splitlines()[-5:]:
                yield f"    | {printable(line)}"

    def _point(self, event: ev.PointState) -> Iterator[str]:
        name = point_name(event.point)
        again = f" (attempt {event.attempt})" if event.attempt > 1 else ""
        if event.status in ("warmup", "window"):
            word = "warm-up" if event.status == "warmup" else "window"
            yield f"  {name} {word}{again}"
        elif event.status in ("failed", "skipped"):
            yield f"  {name} {event.status}" + _after(": ", printable(event.message))

    def _tick(self, event: ev.PointTick, state: State) -> Iterator[str]:
        # A resumed session's t never goes back, so neither does this.
        if event.t - self._last_progress_t < PROGRESS_EVERY_S or event.phase != "window":
            return
        self._last_progress_t = event.t
        run = state.run(event.run)
        point = next((p for p in run.points if p.id == event.point), None) if run else None
        share = f" {point.progress(state.t):4.0%}" if point is not None else ""
        yield f"  {point_name(event.point)}{share}  {live_text(state.live)}"


def _after(separator: str, text: str) -> str:
    return f"{separator}{text}" if text else ""


def _before(text: str, separator: str) -> str:
    return f"{text}{separator}" if text else ""
