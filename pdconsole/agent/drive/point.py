"""One point: warm up, keep the load up through the window, drain, sum up."""

from __future__ import annotations

import gc
from time import monotonic, process_time
from typing import List, Optional, Protocol, Sequence, Tuple

from pdconsole.agent.drive.pacing import (
    ClosedLoop,
    OpenLoop,
    Pacing,
    poisson_offsets,
    until_enough,
)
from pdconsole.agent.drive.prompts import Bodies, Prompts
from pdconsole.agent.drive.report import Outcome, Report, Tally, Tick
from pdconsole.agent.drive.spec import DriveSpec
from pdconsole.agent.drive.streams import Flight, Streams
from pdconsole.agent.drive.target import DriveError, Target
from pdconsole.agent.drive.window import (
    ClosedWindow,
    Interval,
    OpenWindow,
    WholeWindow,
    Window,
)

TICK_S = 1.0
LEAST_ERROR_RUN = 20  # failures in a row, from which on the server is taken for gone
OPEN_LOOP_CACHED_PROMPTS = 32  # decode-only: prompts to draw from where no concurrency says it
INTERVAL_BATCH = 10  # answers a batch mean, where no concurrency says it
LEAD_S = 0.05  # between now and an open loop's time zero, so that its first sends are not late


class Stop(Protocol):
    requested: bool


class PointDrive:
    def __init__(
        self,
        spec: DriveSpec,
        targets: Sequence[Target],
        report: Report,
        *,
        stop: Stop,
        wake_fd: Optional[int] = None,
    ) -> None:
        self._spec = spec
        self._targets = targets
        self._report = report
        self._stop = stop
        prompts = Prompts(spec.seed, spec.input_len, spec.vocab)
        self._bodies = Bodies(prompts, spec.model)
        self._streams = Streams(targets, timeout_s=spec.timeout_s, wake_fd=wake_fd)
        self._unrecorded: List[Tuple[Flight, Outcome, str]] = []
        self._sent = 0
        self._tick = Tick()
        self._counted = Tally()  # the requests that count
        self._prompt_mismatches = self._output_mismatches = self._without_usage = 0
        self._errors_in_a_row = 0
        self._first_error = ""
        self._max_in_flight = self._abandoned = 0
        self._window_cpu: List[float] = []
        self._tick_from, self._tick_cpu = monotonic(), process_time()

    def run(self) -> None:
        """Carry the point out and report it. Raises DriveError when it cannot be measured."""
        # Nothing here makes cycles; a collection in the window would make a stamp late.
        gc.collect()
        gc.freeze()
        gc.disable()
        try:
            if self._spec.fills_caches:
                self._fill_prefix_caches()
            self._measure()
        finally:
            self._streams.close()
            gc.enable()
            gc.unfreeze()

    def _measure(self) -> None:
        pacing, window = _plan(self._spec, monotonic())
        phase = "warmup"
        self._tick_from, self._tick_cpu = monotonic(), process_time()
        while not self._stop.requested:
            if self._keeps_load_up(pacing, window):
                self._send_due(pacing, window)
            self._record_over()  # only now, for whoever is over must be replaced first
            window.on_time(monotonic())
            while phase != window.phase:
                phase = self._next_phase(phase, window)
            if phase == "drain" and not self._go_on_draining(window):
                break
            now = monotonic()
            if now >= self._tick_from + TICK_S:
                self._report_tick(now, phase)
            until = [self._tick_from + TICK_S, window.deadline]
            if phase == "drain":
                until.append((window.t1 or now) + self._spec.drain_timeout_s)
            within_budget = window.budget is None or self._sent < window.budget
            if within_budget and self._keeps_load_up(pacing, window):
                until.append(pacing.due)
            for flight in self._streams.run(min(t for t in until if t is not None)):
                self._over(flight, pacing, window)
        for flight in self._streams.flush():
            self._over(flight, pacing, window)
        self._record_over()
        self._finish(window, phase)

    def _keeps_load_up(self, pacing: Pacing, window: Window) -> bool:
        if window.phase != "drain":
            return True
        oldest = self._streams.oldest
        times = (pacing.due, oldest.scheduled if oldest else None)
        return any(window.awaits(t) for t in times if t is not None)

    def _send_due(self, pacing: Pacing, window: Window) -> None:
        now = monotonic()
        while window.budget is None or self._sent < window.budget:
            due = pacing.due
            if due is None or due > now or self._stop.requested:
                break
            self._send(self._sent, self._spec.max_tokens, pacing.take())
            self._sent += 1
            self._tick.sent += 1
            if window.phase == "window":
                self._max_in_flight = max(self._max_in_flight, self._streams.in_flight)

    def _send(self, index: int, max_tokens: int, scheduled: float) -> None:
        # A prompt that is cached must meet the replica that has it.
        prompt = index % self._cached_prompts if self._spec.fills_caches else index
        target = prompt % len(self._targets)
        body = self._bodies.streamed(prompt, max_tokens)
        self._streams.send(Flight(index, target, self._targets[target].message(body), scheduled))

    @property
    def _cached_prompts(self) -> int:
        """As many for each target, so that all get the same load."""
        least = self._spec.concurrency or OPEN_LOOP_CACHED_PROMPTS
        return -(-least // len(self._targets)) * len(self._targets)

    def _fill_prefix_caches(self) -> None:
        """Send every prompt once, so that what follows finds its prefix in the cache."""
        for index in range(self._cached_prompts):
            self._send(index, 1, monotonic())
        while self._streams.in_flight and not self._stop.requested:
            for flight in self._streams.run(monotonic() + TICK_S):
                if flight.error:
                    raise DriveError(
                        f"filling the prefix caches failed at prompt {flight.index}: {flight.error}"
                    )
        self._streams.take_arrivals()

    def _over(self, flight: Flight, pacing: Pacing, window: Window) -> None:
        outcome = Outcome(flight)
        phase = window.on_over(flight.end, flight.scheduled, outcome.e2el_ms)
        pacing.on_over(flight.end, not flight.error)
        self._unrecorded.append((flight, outcome, phase))
        if not flight.error:
            self._errors_in_a_row = 0
            return
        self._errors_in_a_row += 1
        limit = max(LEAST_ERROR_RUN, 2 * self._spec.concurrency)
        if self._errors_in_a_row >= limit and window.phase != "drain":
            self._record_over()
            raise DriveError(
                f"{limit} requests in a row failed in the {window.phase}, the last with: "
                f"{flight.error}. Look at the server's log; "
                f"{self._counted.completed} requests of the window had completed."
            )

    def _record_over(self) -> None:
        for flight, outcome, phase in self._unrecorded:
            self._record(flight, outcome, phase)
        self._unrecorded.clear()

    def _record(self, flight: Flight, outcome: Outcome, phase: str) -> None:
        answer, spec = flight.answer, self._spec
        self._report.request(flight, outcome, phase)
        self._tick.add(outcome)
        # Where events hold several tokens, the server's count makes up for what was not seen.
        self._tick.unseen_tokens += max(0, outcome.output_tokens - answer.token_events)
        if phase == "window":
            self._counted.add(outcome)
        if outcome.error:
            if phase != "drain":
                self._first_error = self._first_error or outcome.error
            return
        known = answer.prompt_tokens
        self._prompt_mismatches += known is not None and known != spec.input_len
        self._output_mismatches += outcome.output_tokens != spec.max_tokens
        self._without_usage += answer.completion_tokens is None

    def _next_phase(self, phase: str, window: Window) -> str:
        """Report that the phase after `phase` has begun."""
        cpu = process_time()
        self._window_cpu.append(cpu)
        if phase == "warmup":
            phase, since = "window", window.t0
            self._max_in_flight = self._streams.in_flight
        else:
            phase, since = "drain", window.t1
        assert since is not None
        self._report.phase(phase, since)
        return phase

    def _go_on_draining(self, window: Window) -> bool:
        assert window.t1 is not None
        if not self._streams.in_flight:
            return False
        if monotonic() < window.t1 + self._spec.drain_timeout_s:
            return True
        self._abandoned = self._streams.in_flight
        error = f"still in flight {self._spec.drain_timeout_s:g} s after the window"
        for flight in self._streams.abandon(error):
            outcome = Outcome(flight)
            phase = window.on_over(flight.end, flight.scheduled, outcome.e2el_ms)
            self._record(flight, outcome, phase)
        return False

    def _report_tick(self, now: float, phase: str) -> None:
        cpu, tick = process_time(), self._tick
        token_events, itl = self._streams.take_arrivals()
        self._report.tick(
            tick,
            itl,
            node_t=round(now, 6),
            dt_s=round(now - self._tick_from, 6),
            phase=phase,
            in_flight=self._streams.in_flight,
            output_tokens=token_events + tick.unseen_tokens,
            cpu_pct=_percent(cpu - self._tick_cpu, now - self._tick_from),
        )
        self._tick, self._tick_from, self._tick_cpu = Tick(), now, cpu

    def _finish(self, window: Window, phase: str) -> None:
        now = monotonic()
        self._report_tick(now, phase)
        t0, t1 = window.t0, window.t1 or now
        if t0 is None or t0 > t1:
            t0 = t1  # stopped before the window opened
        cpu = [*self._window_cpu, process_time()]
        counted = self._counted
        self._report.phase("done", now)
        self._report.emit(
            "summary",
            window_s=round(t1 - t0, 6),
            t0_node=round(t0, 6),
            t1_node=round(t1, 6),
            completed=counted.completed,
            errors=counted.errors,
            input_tokens=counted.input_tokens,
            output_tokens=counted.output_tokens,
            sent=self._sent,
            abandoned=self._abandoned or self._streams.in_flight,
            late_ms_p99=round(counted.late.percentile(99), 3),
            late_ms_max=round(counted.worst_late_ms, 3),
            cpu_pct=_percent(cpu[1] - cpu[0], t1 - t0) if len(cpu) > 1 else 0.0,
            max_in_flight=self._max_in_flight,
            first_error=self._first_error,
            prompt_tokens_mismatch=self._prompt_mismatches,
            output_tokens_mismatch=self._output_mismatches,
            usage_missing=self._without_usage,
            stopped=self._stop.requested,
        )


def _plan(spec: DriveSpec, now: float) -> Tuple[Pacing, Window]:
    """How this point paces its requests, and what of it counts."""
    pacing: Pacing
    start = now if spec.concurrency else now + LEAD_S
    if spec.concurrency:
        pacing = ClosedLoop(start, spec.concurrency)
    else:
        pacing = OpenLoop(start, poisson_offsets(spec.value, spec.seed))
    if spec.window == "whole":
        return pacing, WholeWindow(start, requests=spec.window_requests, max_s=spec.max_window_s)
    interval = None
    if spec.until_relative_ci is not None:
        interval = Interval(spec.concurrency or INTERVAL_BATCH, spec.until_relative_ci)
    if spec.concurrency:
        return pacing, ClosedWindow(
            start,
            concurrency=spec.concurrency,
            warmup_requests=spec.warmup_requests,
            window_requests=spec.window_requests,
            min_s=spec.min_window_s,
            max_s=spec.max_window_s,
            interval=interval,
        )
    opens = start + spec.warmup_s
    closes = opens + spec.max_window_s
    if interval is None:
        closes = start + until_enough(
            poisson_offsets(spec.value, spec.seed),
            opens=spec.warmup_s,
            requests=spec.window_requests,
            min_s=spec.min_window_s,
            max_s=spec.max_window_s,
        )
    return pacing, OpenWindow(
        opens=opens, closes=closes, min_s=spec.min_window_s, interval=interval
    )


def _percent(part_s: float, whole_s: float) -> float:
    return round(100 * part_s / whole_s, 2) if whole_s > 0 else 0.0
