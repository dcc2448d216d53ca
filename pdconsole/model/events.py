"""The one stream of events: everything that happens in a session.

An event is a frozen struct; on disk it is one JSON object a line with `seq`, `t`, `wall`, `type`
and the event's own fields. `seq` orders the file, `t` (seconds since the session's start) orders
charts, `wall` is Unix time. The journal stamps all three; whoever makes an event leaves them out.
Readers skip types they do not know, and fields they do not know.

Names carry their units. Latencies are milliseconds, times are seconds, sizes are bytes.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias, get_args

import msgspec

SCHEMA_VERSION = 1

# Latency histograms in events are sparse and logarithmic: bucket i counts values x (ms) with
# GROWTH**i <= x < GROWTH**(i+1); the representative value is the geometric middle. About 1 % wide.
HISTOGRAM_GROWTH = 1.01
# [[bucket, count], ...] in ascending bucket order
Histogram: TypeAlias = tuple[tuple[int, int], ...]

SessionStatus = Literal[
    "starting", "running", "paused", "stopping", "finished", "failed", "stopped", "broken-off"
]
LinkStatus = Literal["connecting", "up", "lost", "unreachable", "closed"]
RunStatus = Literal[
    "pending", "launching", "ready", "measuring", "stopping", "done", "failed", "skipped"
]
PointStatus = Literal["pending", "warmup", "window", "drain", "done", "failed", "skipped"]
ProcessStatus = Literal["starting", "loading", "ready", "stopping", "stopped", "failed"]
Verdict = Literal["ok", "warn", "fail", "unknown"]


class Event(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", omit_defaults=True):
    seq: int = 0
    t: float = 0.0
    wall: float = 0.0


class Header(Event, frozen=True, kw_only=True, tag="header"):
    """Line 1 of events.jsonl."""

    schema: int  # SCHEMA_VERSION of who wrote it; without a default, so that it is always written
    session: str
    pdconsole: str  # version that wrote it


class PlannedRun(msgspec.Struct, frozen=True, kw_only=True):
    run: str
    layout: str  # canonical slug
    strategy: str
    network: str
    workload: str
    input_len: int
    output_len: int
    mode: str
    gpus: int
    points: tuple[str, ...]  # point ids, "conc16"
    result_dir: str


class SessionOpened(Event, frozen=True, kw_only=True, tag="session.opened"):
    session: str
    experiment: str
    question: str = ""
    expectation: str = ""
    cluster: str
    model: str
    simulated: bool
    command: str = ""  # what reproduces it
    slot_kind: Literal["gpu", "gpu-share", "cpu"] = "gpu"
    runs: tuple[PlannedRun, ...]


class PlanChanged(Event, frozen=True, kw_only=True, tag="plan.changed"):
    """All runs of the session in their new order; those that were there keep their ids."""

    runs: tuple[PlannedRun, ...]
    reason: str = ""


class EpochOpened(Event, frozen=True, kw_only=True, tag="epoch.opened"):
    """A runner (re)opened the session; 1 is the first."""

    epoch: int
    pid: int
    reason: str = ""


class SessionState(Event, frozen=True, kw_only=True, tag="session.state"):
    status: SessionStatus
    message: str = ""


class CommandReceived(Event, frozen=True, kw_only=True, tag="command.received"):
    command: str
    detail: str = ""


class Note(Event, frozen=True, kw_only=True, tag="note"):
    """Something a person should know; `subject` is the node, replica or file it is about."""

    level: Literal["info", "warning", "error"]
    message: str
    subject: str = ""


class NodeLink(Event, frozen=True, kw_only=True, tag="node.link"):
    node: str
    status: LinkStatus
    message: str = ""


class NodeClock(Event, frozen=True, kw_only=True, tag="node.clock"):
    """node monotonic time = session time t + offset_s, to within bound_s."""

    node: str
    offset_s: float
    bound_s: float


class GpuInfo(msgspec.Struct, frozen=True, kw_only=True):
    index: int
    name: str
    memory_mib: int
    uuid: str = ""


class NodeInventory(Event, frozen=True, kw_only=True, tag="node.inventory"):
    node: str
    hostname: str
    gpus: tuple[GpuInfo, ...]
    versions: dict[str, str]  # python, vllm, nixl, vllm-router, driver, ...
    nics: tuple[str, ...] = ()
    simulated: bool = False


class CheckResult(Event, frozen=True, kw_only=True, tag="check.result"):
    node: str
    check: str
    verdict: Verdict
    value: str = ""
    threshold: str = ""
    advice: str = ""
    hard: bool = False  # a failed hard check refuses the run


class GpuSample(msgspec.Struct, frozen=True, kw_only=True):
    index: int
    util_pct: float | None = None
    memory_used_mib: float | None = None
    temperature_c: float | None = None
    power_w: float | None = None


class GpusSampled(Event, frozen=True, kw_only=True, tag="node.gpus"):
    node: str
    node_t: float
    gpus: tuple[GpuSample, ...]


class NicsSampled(Event, frozen=True, kw_only=True, tag="node.nics"):
    """Cumulative hardware counters by device; a counter that the device lacks is absent."""

    node: str
    node_t: float
    counters: dict[str, dict[str, int]]


class RunState(Event, frozen=True, kw_only=True, tag="run.state"):
    run: str
    status: RunStatus
    message: str = ""


class ProcessState(Event, frozen=True, kw_only=True, tag="process.state"):
    """A worker (`P1`, `D2`, `C3`), the `router` or the `driver` of a run."""

    run: str
    process: str
    node: str
    status: ProcessStatus
    role: str = ""  # prefill, decode, collocated, router, ray, driver
    tp: int = 0
    slots: tuple[int, ...] = ()
    url: str = ""
    message: str = ""
    last_log: str = ""


class WorkerSampled(Event, frozen=True, kw_only=True, tag="worker.sample"):
    """What a worker's own /metrics said; the server's view. Counters are cumulative."""

    run: str
    process: str
    node_t: float
    running: float | None = None
    waiting: float | None = None
    kv_usage: float | None = None  # 0 to 1
    preemptions: float | None = None
    prompt_tokens: float | None = None
    generation_tokens: float | None = None
    prefix_cache_queries: float | None = None
    prefix_cache_hits: float | None = None
    local_compute_tokens: float | None = None  # prompt_tokens_by_source{source="local_compute"}
    # Of its finished requests, from its histograms: how many, and the seconds of all together that
    # they queued (on a decode replica until their KV had come) and then ran up to the first token.
    finished: float | None = None
    queue_s: float | None = None
    prefill_s: float | None = None
    late_ms: float | None = None  # simulated workers: lateness against the model's clock, p99


class NixlSampled(Event, frozen=True, kw_only=True, tag="nixl.sample"):
    """NIXL counters of a decode replica (the reader), cumulative. From the log of vLLM 0.11.0 there
    are only `transfers`, from Ray's exporter no sums (bytes, seconds, descriptors); a count that a
    version lacks is None."""

    run: str
    process: str
    node_t: float
    bytes: float | None = None
    transfers: float
    xfer_s: float | None = None
    post_s: float | None = None
    descriptors: float | None = None
    failed_transfers: float | None = None
    failed_notifications: float | None = None
    expired: float | None = None
    notifications_after_expiry: float | None = None
    source: str = "metrics"  # metrics | log | ray (its exporter)


class PointState(Event, frozen=True, kw_only=True, tag="point.state"):
    run: str
    point: str
    status: PointStatus
    attempt: int = 1
    target_requests: int | None = None  # the window holds at least so many,
    target_s: float | None = None  # and lasts at least so long
    message: str = ""


class KvValidated(Event, frozen=True, kw_only=True, tag="kv.validated"):
    """Whether a deployment's decode replicas continue from the KV they were handed; see
    model.validation. Deviations are of log-probabilities, nats a token, teacher-forced."""

    run: str
    verdict: Verdict  # unknown: not judged, and `message` says why
    message: str  # the finding, or where it went wrong: prompt, position, replicas, backend
    backend: str = ""  # "UCX over cuda-ipc"
    reference: str = ""  # the replica that scored, alone
    pairs: tuple[str, ...] = ()  # "P1>D2": that were tried
    prompts: int = 0  # transfers judged; of them under load:
    under_load: int = 0
    lengths: tuple[int, ...] = ()  # of the prompts, tokens
    deviation: float | None = None  # the worst prompt's mean, what the verdict is about,
    tolerance: float | None = None  # against this,
    self_deviation: float | None = None  # made from what a replica alone deviates from itself
    worst_token: float | None = None  # the largest of a single token
    control: float | None = None  # D given another prompt's blocks; must exceed it by far
    caught: tuple[str, ...] = ()  # corruptions made on purpose that exceeded the tolerance
    missed: tuple[str, ...] = ()  # and that did not: the check is blind to them
    smallest_caught: str = ""
    other_network: str = ""  # the same compared with P to D over it,
    other_deviation: float | None = None  # token by token
    took_s: float = 0.0


class NetBenchShape(msgspec.Struct, frozen=True, kw_only=True):
    """One shape of a network test: `blocks` of each region of a KV cache, read at once."""

    name: str
    layers: int
    block_tokens: int
    block_bytes: int  # of one region: one descriptor
    blocks: int
    pool_blocks: int  # that there are in each region
    scattered: bool
    descriptors: int
    bytes: int  # of a transfer
    transfers: int  # timed
    gbps: float  # bytes / median time
    transfer_p50_ms: float  # from posting to the end
    transfer_p99_ms: float
    post_p50_ms: float  # of that, until it was posted
    make_p50_ms: float  # before it
    first_ms: float  # the first transfer, which also connects
    posted_descriptors: int | None = None  # after NIXL merged neighbours; None: it does not tell
    checked_blocks: int = 0  # by checksum
    bad_blocks: int = 0
    first_bad: str = ""
    note: str = ""


class NetBenchResult(Event, frozen=True, kw_only=True, tag="net.bench"):
    """What NIXL alone reached between two slots on a network; see model.netbench."""

    run: str
    network: str
    backend: str  # UCX, LIBFABRIC
    source: str  # "node1:0", whose memory is read,
    reader: str  # "node2:0", by this one
    memory: str  # VRAM | DRAM
    verdict: Verdict
    message: str
    advice: str = ""
    gbps: float | None = None  # what the verdict is about,
    good_gbps: float  # against these
    bad_gbps: float
    transport: str = ""  # that UCX said it reads such blocks by
    proof: tuple[str, ...] = ()  # in its own words
    nixl: str = ""  # version
    shapes: tuple[NetBenchShape, ...] = ()
    took_s: float = 0.0
    file: str = ""  # under bm_results/


class PointTick(Event, frozen=True, kw_only=True, tag="point.tick"):
    """Once a second, what the load driver saw in (t0, t1], node monotonic time."""

    run: str
    point: str
    node_t: float
    dt_s: float
    phase: str  # warmup | window | drain
    in_flight: int
    sent: int  # in this tick
    finished: int
    errors: int
    input_tokens: int  # of requests that finished in this tick
    output_tokens: int  # that arrived in this tick
    ttft: Histogram = ()
    tpot: Histogram = ()
    itl: Histogram = ()
    e2el: Histogram = ()
    late_ms: float | None = None  # open loop: how late the sends were, worst in this tick
    cpu_pct: float | None = None  # of the driver's core


class RequestFinished(Event, frozen=True, kw_only=True, tag="request.finished"):
    """One finished request, as the client saw it. Times in ms after `sent`, node clock."""

    run: str
    point: str
    index: int
    phase: str
    sent_node_t: float
    late_ms: float = 0.0
    ttft_ms: float | None = None
    tpot_ms: float | None = None
    e2el_ms: float | None = None
    input_tokens: int = 0
    output_tokens: int = 0
    error: str = ""
    prefill: str = ""  # derived from the request id, where the router tells
    decode: str = ""
    # Of the TTFT, ms, what is told of this one request: the TOLD of model.stages.
    stages_ms: dict[str, float] = {}


class PointResult(Event, frozen=True, kw_only=True, tag="point.result"):
    run: str
    point: str
    attempt: int
    window_s: float
    completed: int
    errors: int
    request_throughput: float
    input_throughput: float  # prompt tokens/s of the requests finished in the window
    output_throughput: float
    total_token_throughput: float
    tokens_per_s_per_gpu: float
    ttft_ms: dict[str, float]  # mean, p50, p90, p99
    tpot_ms: dict[str, float]
    itl_ms: dict[str, float]
    e2el_ms: dict[str, float]
    flags: tuple[str, ...] = ()  # "name: evidence"
    pairs: dict[str, int] = {}  # "P1>D2": requests; derived
    file: str = ""  # under bm_results/
    # What the number per GPU is divided by, a shared GPU counted once; None in older recordings,
    # which count its slots.
    gpus: int | None = None


AnyEvent: TypeAlias = (
    Header
    | SessionOpened
    | PlanChanged
    | EpochOpened
    | SessionState
    | CommandReceived
    | Note
    | NodeLink
    | NodeClock
    | NodeInventory
    | CheckResult
    | GpusSampled
    | NicsSampled
    | RunState
    | ProcessState
    | WorkerSampled
    | NixlSampled
    | PointState
    | KvValidated
    | NetBenchResult
    | PointTick
    | RequestFinished
    | PointResult
)

_decoder: msgspec.json.Decoder[AnyEvent] = msgspec.json.Decoder(AnyEvent)
_encoder = msgspec.json.Encoder()


def encode(event: Event) -> bytes:
    """One line without its newline."""
    return _encoder.encode(event)


def decode(line: bytes) -> AnyEvent | None:
    """The event of one line; None for a type this version does not know.

    Raises msgspec.DecodeError for a line that is not JSON, or whose fields do not fit.
    """
    try:
        return _decoder.decode(line)
    except msgspec.ValidationError:
        raw: Any = msgspec.json.decode(line)
        known = isinstance(raw, dict) and raw.get("type") in KNOWN_TYPES
        if known:
            raise
        return None


KNOWN_TYPES = frozenset(str(kind.__struct_config__.tag) for kind in get_args(AnyEvent))
