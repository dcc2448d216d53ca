"""A deployment, its nodes and a load driver that only say what a test lets them say."""

from __future__ import annotations

import asyncio
import json
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from pdconsole.model.grid import Slot
from pdconsole.model.layout import parse_layout
from pdconsole.model.placement import Assignment, Placement
from pdconsole.model.plan import RunPlan
from pdconsole.model.workload import MeasurePolicy, Point, Workload
from pdconsole.profiles.schema import ClusterProfile, ModelProfile, NetworkProfile
from pdconsole.remote.errors import RemoteError
from pdconsole.remote.feed import NewsFeed
from pdconsole.remote.values import HttpReply, ProcessChanged, ProcessInfo, ProcessSpec, Records

SESSION = "20250101T000000Z_test"
POINT = Point("concurrency", 2.0)
POLICY = MeasurePolicy(
    warmup_rounds=1, window_rounds=2, min_requests=2, min_window_s=0, drain_timeout_s=1
)

CLUSTER = ClusterProfile.model_validate(
    {
        "name": "test",
        "fabric": "efa",
        "nodes": [
            {"name": n, "gpu_model": "NVIDIA H100 80GB HBM3", "gpu_memory_mib": 81559, "gpus": 8}
            for n in ("a", "b")
        ],
    }
)
MODEL = ModelProfile.model_validate(
    {
        "name": "m",
        "short_name": "m",
        "source": "org/m",
        "served_name": "m",
        "kv_bytes_per_token": 1024,
        "kv_heads": 8,
        "layers": 2,
        "head_size": 64,
        "max_model_len": 16000,
        "vocab": (1000, 30000),
    }
)


def network(name: str = "srd", **fields: Any) -> NetworkProfile:
    thresholds = {"good_gbps": 8.0, "bad_gbps": 1.0}
    return NetworkProfile.model_validate(
        {"name": name, "backend": "UCX", "thresholds": thresholds, **fields}
    )


def run_plan(
    layout: str = "1P-TP1+2D-TP1", mode: str = "mixed", on: Sequence[str] = ("a",), **workload: Any
) -> RunPlan:
    """The layout packed on the first of `on`; with two, decode replicas stand on the second."""
    parsed = parse_layout(layout)
    free = dict.fromkeys(on, 0)
    assignments = []
    counts: dict[str, int] = {}
    for group in parsed.groups:
        for _ in range(group.count):
            letter = group.role[0].upper()
            counts[letter] = counts.get(letter, 0) + 1
            node = on[-1] if group.role == "decode" else on[0]
            first = free[node]
            free[node] += group.tp
            slots = tuple(Slot(node, i) for i in range(first, first + group.tp))
            name = f"{letter}{counts[letter]}"
            assignments.append(Assignment(name, group.role, group.tp, group.ep, slots))
    return RunPlan(
        id="1",
        placement=Placement(parsed, "manual", tuple(assignments)),
        network="srd",
        workload=Workload(name="w", input_len=64, output_len=3, mode=mode, **workload),
        points=(POINT,),
        result_dir="r",
    )


@dataclass(frozen=True)
class FakeProcess:
    name: str
    role: str
    node: str
    tp: int
    url: str

    @property
    def metrics_url(self) -> str:
        return f"{self.url}/metrics"


@dataclass(frozen=True)
class FakeDeployment:
    processes: tuple[FakeProcess, ...]
    router_url: str = "http://10.0.0.1:8000"
    decodes_made_up_kv: bool = False

    @property
    def workers(self) -> tuple[FakeProcess, ...]:
        return tuple(p for p in self.processes if p.role != "router")


def deployment_of(run: RunPlan) -> FakeDeployment:
    workers = [
        FakeProcess(a.replica, a.role, a.slots[0].node, a.tp, f"http://10.0.0.1:81{i:02}")
        for i, a in enumerate(run.placement.assignments)
    ]
    return FakeDeployment(
        (*workers, FakeProcess("router", "router", "a", 0, "http://10.0.0.1:8000"))
    )


@dataclass
class Control:
    stop_requested: asyncio.Event = field(default_factory=asyncio.Event)
    skip_requested: asyncio.Event = field(default_factory=asyncio.Event)


Script = Callable[["FakeNode", str], Iterator[Any]]


class FakeNode:
    """A NodeClient whose driver does what `script` yields: lines, news, or an int to exit with."""

    def __init__(self, name: str, feed: NewsFeed, script: Script, metrics: dict[str, str]) -> None:
        self.name = name
        self.feed = feed
        self.script = script
        self.metrics = metrics  # url -> exposition text
        self.started: list[ProcessSpec] = []
        self.stopped: list[str] = []
        self.infos: list[ProcessInfo] = []
        self.gaps = b""
        self._task: asyncio.Task[None] | None = None

    async def start(self, spec: ProcessSpec) -> ProcessInfo:
        self.started.append(spec)
        return ProcessInfo(token=spec.token, pid=1, state="running")

    async def follow(self, token: str, **offsets: int) -> None:
        self._task = asyncio.create_task(self._play(token))

    async def _play(self, token: str) -> None:
        for item in self.script(self, token):
            await asyncio.sleep(0)
            if isinstance(item, bytes):
                self.feed.publish(Records(self.name, token, 0, [item]))
            elif isinstance(item, int):
                info = ProcessInfo(token=token, pid=1, state="exited", exit_code=item)
                self.feed.publish(ProcessChanged(self.name, info))
            elif isinstance(item, ProcessInfo):
                self.feed.publish(ProcessChanged(self.name, item))
            else:
                self.feed.publish(item)

    async def stop(self, tokens: Sequence[str], grace_s: float = 10.0) -> list[ProcessInfo]:
        if self._task is not None:
            self._task.cancel()
        self.stopped += tokens
        return [
            ProcessInfo(token=t, pid=1, state="killed", last_log="driver's log") for t in tokens
        ]

    async def processes(self) -> list[ProcessInfo]:
        return self.infos

    async def http(self, method: str, url: str, **kwargs: Any) -> HttpReply:
        text = self.metrics.get(url)
        if text is None:
            raise RemoteError(self.name, "http", f"nothing listens at {url}")
        return HttpReply(status=200, body=text.encode(), elapsed_ms=1.0)

    async def read(self, token: str, name: str, offset: int = 0, limit: int = 1 << 20) -> bytes:
        assert name == "gaps.bin"
        return self.gaps[offset : offset + 5]


def line(kind: str, **fields: Any) -> bytes:
    return json.dumps({"kind": kind, **fields}).encode()


def request_line(index: int, phase: str, at: float, **changes: Any) -> bytes:
    """A request as the driver reports it: 3 tokens, 30 ms to the first and 10 ms between."""
    fields = {
        "index": index,
        "phase": phase,
        "request_id": f"cmpl-{index}",
        "scheduled_node_t": at,
        "sent_node_t": at,
        "end_node_t": at + 0.05,
        "late_ms": 0.1,
        "ttft_ms": 30.0,
        "tpot_ms": 10.0,
        "e2el_ms": 50.0,
        "input_tokens": 64,
        "output_tokens": 3,
        "itl_count": 2,
        "error": "",
        "prefill": "P1",
        "decode": f"D{1 + index % 2}",
        "prefill_addr": "10.0.0.1:8100",
    }
    return line("request", **{**fields, **changes})


def tick_line(node_t: float, phase: str, **changes: Any) -> bytes:
    fields = {
        "node_t": node_t,
        "dt_s": 1.0,
        "phase": phase,
        "in_flight": 2,
        "sent": 2,
        "finished": 2,
        "errors": 0,
        "input_tokens": 128,
        "output_tokens": 6,
        "late_ms": 0.1,
        "cpu_pct": 3.0,
        "ttft": [[341, 2]],
        "tpot": [[231, 2]],
        "itl": [[231, 4]],
        "e2el": [[393, 2]],
    }
    return line("tick", **{**fields, **changes})


def summary_line(**changes: Any) -> bytes:
    fields = {
        "window_s": 0.5,
        "t0_node": 100.0,
        "t1_node": 100.5,
        "completed": 4,
        "errors": 0,
        "input_tokens": 256,
        "output_tokens": 12,
        "sent": 8,
        "late_ms_p99": 0.1,
        "cpu_pct": 3.0,
        "max_in_flight": 2,
        "first_error": "",
        "stopped": False,
    }
    return line("summary", **{**fields, **changes})


def gaps_entry(index: int, *gaps: float) -> bytes:
    return struct.pack(f"<II{len(gaps)}f", index, len(gaps), *gaps)


def whole_point(node: FakeNode, token: str) -> Iterator[Any]:
    """Warm-up of 2 requests, 4 in the window, 2 in the drain; exit 0."""
    yield line("phase", phase="warmup", node_t=99.0)
    for index in range(2):
        yield request_line(index, "warmup", 99.9)
    yield line("phase", phase="window", node_t=100.0)
    yield tick_line(100.2, "window")
    for index in range(2, 6):
        yield request_line(index, "window", 100.0 + 0.1 * (index - 2))
    yield line("phase", phase="drain", node_t=100.5)
    for index in range(6, 8):
        yield request_line(index, "drain", 100.45)
    yield line("phase", phase="done", node_t=100.6)
    yield summary_line()
    node.gaps = b"".join(gaps_entry(index, 10.0, 10.0) for index in range(8))
    yield 0
