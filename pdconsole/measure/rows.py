"""The requests of a finished point as rows, with their inter-token gaps."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping

from pdconsole.measure.driver_log import Request
from pdconsole.measure.errors import MeasureError
from pdconsole.model.measurement import RequestRow
from pdconsole.model.stages import CLIENT, FIRST_TOKEN, QUEUE

_ENTRY = struct.Struct("<II")
_GAP_BYTES = 4


def parse_gaps(data: bytes) -> dict[int, tuple[float, ...]]:
    """The driver's gaps file: request index -> gaps in ms.

    An entry is little-endian: uint32 index, uint32 n, n float32. Raises MeasureError for a file
    that ends inside an entry.
    """
    gaps: dict[int, tuple[float, ...]] = {}
    at = 0
    while at < len(data):
        start = at + _ENTRY.size
        if start > len(data):
            raise _cut_off(data)
        index, count = _ENTRY.unpack_from(data, at)
        at = start + count * _GAP_BYTES
        if at > len(data):
            raise _cut_off(data)
        gaps[index] = struct.unpack_from(f"<{count}f", data, start)
    return gaps


def _cut_off(data: bytes) -> MeasureError:
    return MeasureError(
        f"The driver's file of inter-token gaps breaks off after {len(data)} bytes;"
        " is the disk of its node full?"
    )


def request_rows(
    requests: Iterable[Request], gaps: Mapping[int, tuple[float, ...]]
) -> tuple[RequestRow, ...]:
    """One row a request, in the order in which they finished."""
    return tuple(_row(request, gaps.get(request.index, ())) for request in requests)


def _row(r: Request, gaps_ms: tuple[float, ...]) -> RequestRow:
    first = None if r.ttft_ms is None else r.sent_node_t + r.ttft_ms / 1e3
    last = None if r.e2el_ms is None else r.sent_node_t + r.e2el_ms / 1e3
    return RequestRow(
        index=r.index,
        phase=r.phase,
        in_window=r.phase == "window" and not r.error,
        scheduled_node_t=r.scheduled_node_t or r.sent_node_t,
        sent_node_t=r.sent_node_t,
        first_token_node_t=first,
        last_token_node_t=last,
        late_ms=r.late_ms,
        ttft_ms=r.ttft_ms,
        tpot_ms=r.tpot_ms,
        e2el_ms=r.e2el_ms,
        input_tokens=r.input_tokens,
        output_tokens=r.output_tokens,
        error=r.error,
        request_id=r.request_id,
        prefill=r.prefill,
        decode=r.decode,
        client_ms=r.stages_ms.get(CLIENT),
        server_queue_ms=r.stages_ms.get(QUEUE),
        server_first_token_ms=r.stages_ms.get(FIRST_TOKEN),
        gaps_ms=gaps_ms,
    )
