"""What the load driver has said: its records, as events, and kept for the point's result."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from pdconsole.measure.errors import MeasureError
from pdconsole.model.events import Event, PointState, PointTick, RequestFinished


class Phase(msgspec.Struct, frozen=True, tag_field="kind", tag="phase"):
    phase: str  # warmup | window | drain | done
    node_t: float


class Request(msgspec.Struct, frozen=True, tag_field="kind", tag="request"):
    """A finished request. Its phase is the one it counts in, which for open-loop points is the
    one it was scheduled in."""

    index: int
    phase: str
    sent_node_t: float
    scheduled_node_t: float = 0.0
    late_ms: float = 0.0
    ttft_ms: float | None = None
    tpot_ms: float | None = None
    e2el_ms: float | None = None
    input_tokens: int = 0
    output_tokens: int = 0
    error: str = ""
    request_id: str = ""
    prefill: str = ""
    decode: str = ""
    itl_count: int = 0
    stages_ms: dict[str, float] = {}


class Summary(msgspec.Struct, frozen=True, tag_field="kind", tag="summary"):
    window_s: float
    t0_node: float
    t1_node: float
    completed: int = 0
    errors: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    sent: int = 0
    late_ms_p99: float | None = None
    cpu_pct: float | None = None
    max_in_flight: int = 0
    first_error: str = ""
    stopped: bool = False  # by a signal


class Fatal(msgspec.Struct, frozen=True, tag_field="kind", tag="error"):
    message: str


_KINDS = {"phase": Phase, "request": Request, "summary": Summary, "error": Fatal}


class DriverLog:
    """Takes the driver's lines in order. After the last one, `summary` or `fatal` is there."""

    def __init__(
        self, run: str, point: str, attempt: int, wall: Callable[[], float] = time.time
    ) -> None:
        self._run = run
        self._point = point
        self._attempt = attempt
        self._wall = wall
        # Unix time less the node's clock. Each line tells it and is late; the least late is right.
        self._offset: float | None = None
        self.phase = ""
        self.ticked = False
        self.requests: list[Request] = []
        self.summary: Summary | None = None
        self.fatal = ""

    @property
    def failed_requests(self) -> bool:
        return any(request.error for request in self.requests)

    def wall_of(self, node_t: float) -> float | None:
        """Unix time, by this machine's clock, of a moment of the node's."""
        return None if self._offset is None else self._offset + node_t

    def take(self, line: bytes) -> Iterator[Event]:
        """The events that one line makes. Kinds that this version does not know are passed over.

        Raises MeasureError for a line that is none of the driver's.
        """
        try:
            raw: dict[str, Any] = msgspec.json.decode(line, type=dict[str, Any])
            kind = raw.get("kind")
            if kind in ("tick", "phase"):
                self._learn_time(raw.get("node_t"))
            if kind == "tick":
                self.ticked = True
                tick = {**raw, "run": self._run, "point": self._point}
                yield msgspec.convert({**tick, "type": "point.tick"}, PointTick)
                return
            if kind not in _KINDS:
                return
            record = msgspec.convert(raw, _KINDS[kind])
        except msgspec.DecodeError as e:
            shown = line[:200].decode("utf-8", "replace")
            raise MeasureError(
                f"The load driver of point {self._point} wrote a line that cannot be read ({e}):"
                f" {shown}"
            ) from e
        match record:
            case Phase():
                self.phase = record.phase
                # Its warm-up was told when it was started; `done` is told when the files are there.
                if record.phase in ("window", "drain"):
                    yield self._state(record.phase)
            case Request():
                self.requests.append(record)
                yield self._finished(record)
            case Summary():
                self.summary = record
            case Fatal():
                self.fatal = record.message

    def _learn_time(self, node_t: Any) -> None:
        if isinstance(node_t, int | float):
            offset = self._wall() - node_t
            self._offset = offset if self._offset is None else min(self._offset, offset)

    def _state(self, status: Any) -> PointState:
        return PointState(run=self._run, point=self._point, status=status, attempt=self._attempt)

    def _finished(self, r: Request) -> RequestFinished:
        return RequestFinished(
            run=self._run,
            point=self._point,
            index=r.index,
            phase=r.phase,
            sent_node_t=r.sent_node_t,
            late_ms=r.late_ms,
            ttft_ms=r.ttft_ms,
            tpot_ms=r.tpot_ms,
            e2el_ms=r.e2el_ms,
            input_tokens=r.input_tokens,
            output_tokens=r.output_tokens,
            error=r.error,
            prefill=r.prefill,
            decode=r.decode,
            stages_ms=r.stages_ms,
        )
