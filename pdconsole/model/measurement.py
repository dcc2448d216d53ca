"""What one measured point leaves behind: its requests, its window, what the servers counted.

Times are the driver node's monotonic seconds, latencies milliseconds.
"""

from __future__ import annotations

import msgspec

from pdconsole.model.events import PointResult
from pdconsole.model.quality import Flag


class RequestRow(msgspec.Struct, frozen=True, kw_only=True):
    """One request of a point, as the client saw it.

    `in_window` tells whether the point's numbers count it: it finished inside the window
    (closed loop) or was scheduled inside it (open loop), and did not fail.
    `gaps_ms` are its inter-token gaps: one fewer than its token events.
    """

    index: int
    phase: str  # warmup | window | drain
    in_window: bool
    scheduled_node_t: float
    sent_node_t: float
    first_token_node_t: float | None = None
    last_token_node_t: float | None = None
    late_ms: float = 0.0
    ttft_ms: float | None = None
    tpot_ms: float | None = None
    e2el_ms: float | None = None
    input_tokens: int = 0
    output_tokens: int = 0
    error: str = ""
    request_id: str = ""
    prefill: str = ""  # derived from the request id, where the router tells
    decode: str = ""
    # Of the TTFT, where it is told: handing the request over; on the server that answered, in its
    # queue (on a decode replica until its KV had come) and from there to its first token.
    client_ms: float | None = None
    server_queue_ms: float | None = None
    server_first_token_ms: float | None = None
    gaps_ms: tuple[float, ...] = ()


class DriverFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What the load driver said about itself, over the window."""

    node: str
    sent: int = 0  # over the whole point
    max_in_flight: int = 0
    late_ms_p99: float | None = None  # open loop
    cpu_pct: float | None = None  # of one core
    first_error: str = ""


class PointMeasurement(msgspec.Struct, frozen=True, kw_only=True):
    """One finished point. Only rows with `in_window` went into `result`."""

    result: PointResult
    requests: tuple[RequestRow, ...]  # all phases, in the order they finished
    t0_node_t: float
    t1_node_t: float
    seed: str  # of the prompts
    started_wall: float  # Unix time the driver was started; the warm-up comes first
    flags: tuple[Flag, ...]
    driver: DriverFacts
    # process -> sample name with labels as exposed -> growth over the window (counters, histograms)
    worker_deltas: dict[str, dict[str, float]]
    # of all requests without error, counted or not: in the busiest second, and at one time
    max_output_tokens_per_s: float
    max_concurrent_requests: int
    drained: bool | None  # every worker idle and its KV released after the point; None: not known
    input_tokens: int  # of the counted requests
    output_tokens: int
    decode_only_by_prefix_cache: bool = False
    window_wall: float | None = None  # Unix time the window opened, as far as it could be told
    target: tuple[str, ...] = ()  # base URLs that were loaded
