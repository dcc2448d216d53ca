"""What the driver says: JSON lines as things happen, and the inter-token gaps in a file beside.

Kinds of line: `phase`, `tick` (once a second), `request` (one that is over), and last exactly one
`summary`, or `error` when the point could not be carried out. `node_t` is time.monotonic().

The gaps file holds one record a request line, in their order: little-endian uint32 index,
uint32 n, n float32 gaps between token events in ms.
"""

from __future__ import annotations

import json
import re
import struct
import sys
from array import array
from typing import Any, BinaryIO, Dict, List, Mapping, Optional, Sequence, Tuple

from pdconsole.agent.drive.histogram import Histogram
from pdconsole.agent.drive.streams import Flight
from pdconsole.agent.drive.target import Target

_encode = json.JSONEncoder(separators=(",", ":")).encode
_PAIR = re.compile(r"___prefill_addr_(.+?)___decode_addr_(.+)_[^_]*$")


class Tally:
    """Requests that are over, added up. `completed` leaves errors out."""

    def __init__(self) -> None:
        self.completed = self.errors = 0
        self.input_tokens = self.output_tokens = 0
        self.late = Histogram()
        self.worst_late_ms = 0.0

    def add(self, outcome: Outcome) -> None:
        self.late.add(outcome.late_ms)
        self.worst_late_ms = max(self.worst_late_ms, outcome.late_ms)
        if outcome.error:
            self.errors += 1
            return
        self.completed += 1
        self.input_tokens += outcome.input_tokens
        self.output_tokens += outcome.output_tokens


class Tick(Tally):
    """A second's requests, with their latencies."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = 0
        self.unseen_tokens = 0  # of events that held several
        self.ttft, self.tpot, self.e2el = Histogram(), Histogram(), Histogram()

    def add(self, outcome: Outcome) -> None:
        super().add(outcome)
        if outcome.error:
            return
        for histogram, value in (
            (self.ttft, outcome.ttft_ms),
            (self.tpot, outcome.tpot_ms),
            (self.e2el, outcome.e2el_ms),
        ):
            if value is not None:
                histogram.add(value)


class Outcome:
    """The figures of one flight that is over, by the definitions of `vllm bench serve`.

    TPOT is (E2EL - TTFT) / (output tokens - 1), None for a single token. A failed request has no
    TPOT and no E2EL. Token counts are the server's; events are counted where it names none.
    """

    def __init__(self, flight: Flight) -> None:
        answer = flight.answer
        self.error = flight.error
        self.late_ms = max(0.0, (flight.sent - flight.scheduled) * 1e3) if flight.sent else 0.0
        self.input_tokens = answer.prompt_tokens or 0
        counted = answer.completion_tokens
        self.output_tokens = answer.token_events if counted is None else counted
        self.ttft_ms = (answer.first - flight.sent) * 1e3 if answer.first else None
        self.e2el_ms: Optional[float] = None
        self.tpot_ms: Optional[float] = None
        if self.ttft_ms is not None and not flight.error:
            self.e2el_ms = (answer.last - flight.sent) * 1e3
            if self.output_tokens > 1:
                self.tpot_ms = (self.e2el_ms - self.ttft_ms) / (self.output_tokens - 1)


def pair_of(request_id: str) -> Tuple[str, str]:
    """The prefill and decode address that a router wrote into a request id; else two blanks."""
    found = _PAIR.search(request_id)
    return (found[1], found[2]) if found else ("", "")


class Report:
    def __init__(
        self,
        lines: BinaryIO,
        gaps: BinaryIO,
        replicas: Mapping[str, str],
        *,
        targets: Sequence[Target] = (),
        direct: str = "",
    ) -> None:
        """`direct` is the role of targets that are replicas, with no router to name them."""
        self._lines = lines
        self._gaps = gaps
        self._replicas = replicas
        self._direct = {
            index: target.host for index, target in enumerate(targets) if target.host in replicas
        }
        self._role = direct

    def emit(self, kind: str, **fields: Any) -> None:
        self._lines.write(_encode({"kind": kind, **fields}).encode() + b"\n")
        self._lines.flush()

    def phase(self, phase: str, node_t: float) -> None:
        self.emit("phase", phase=phase, node_t=round(node_t, 6))

    def request(self, flight: Flight, outcome: Outcome, phase: str) -> None:
        answer = flight.answer
        prefill, decode = pair_of(answer.request_id)
        if self._role == "prefill":
            prefill = prefill or self._direct.get(flight.target, "")
        elif self._role == "decode":
            decode = decode or self._direct.get(flight.target, "")
        self._write_gaps(flight.index, answer.gaps_ms)
        self.emit(
            "request",
            index=flight.index,
            phase=phase,
            request_id=answer.request_id,
            scheduled_node_t=round(flight.scheduled, 6),
            sent_node_t=round(flight.sent, 6),
            end_node_t=round(flight.end, 6),
            late_ms=_ms(outcome.late_ms),
            ttft_ms=_ms(outcome.ttft_ms),
            tpot_ms=_ms(outcome.tpot_ms),
            e2el_ms=_ms(outcome.e2el_ms),
            input_tokens=outcome.input_tokens,
            output_tokens=outcome.output_tokens,
            itl_count=len(answer.gaps_ms),
            error=flight.error,
            prefill=self._replicas.get(prefill, prefill),
            decode=self._replicas.get(decode, decode),
            prefill_addr=prefill,
            decode_addr=decode,
            stages_ms=_stages_ms(flight, outcome),
        )

    def tick(self, tick: Tick, itl: Histogram, **fields: Any) -> None:
        self._gaps.flush()
        histograms: Dict[str, List[List[int]]] = {
            "ttft": tick.ttft.pairs(),
            "tpot": tick.tpot.pairs(),
            "itl": itl.pairs(),
            "e2el": tick.e2el.pairs(),
        }
        self.emit(
            "tick",
            **fields,
            sent=tick.sent,
            finished=tick.completed,
            errors=tick.errors,
            input_tokens=tick.input_tokens,
            late_ms=_ms(tick.worst_late_ms),
            **histograms,
        )

    def _write_gaps(self, index: int, gaps_ms: array[float]) -> None:
        if sys.byteorder == "big":
            gaps_ms = gaps_ms[:]
            gaps_ms.byteswap()
        self._gaps.write(struct.pack("<II", index, len(gaps_ms)) + gaps_ms.tobytes())


def _stages_ms(flight: Flight, outcome: Outcome) -> Dict[str, float]:
    """What is known of where the TTFT went: `client`, until all of the request was handed to the
    network, and what the server that answered told."""
    if outcome.ttft_ms is None:
        return {}
    told = flight.answer.server_ms
    if flight.written:
        told = {"client": round((flight.written - flight.sent) * 1e3, 4), **told}
    return told


def _ms(value: Optional[float]) -> Optional[float]:
    return None if value is None else round(value, 4)
