"""One measured point, whoever wrote it."""

from __future__ import annotations

import math
from pathlib import Path

import msgspec

LATENCIES = ("ttft", "tpot", "itl", "e2el")
STATISTICS = ("mean", "std", "p50", "p90", "p95", "p99")


class PointRow(msgspec.Struct, frozen=True, kw_only=True):
    """One measured point. None and "" where the file does not tell.

    Latencies in ms, throughputs a second; `gpus` is the denominator of `tokens_per_s_per_gpu`:
    the GPUs that were loaded, which on a PD layout with prefill-only are those of P alone.
    """

    file: str
    source: str  # pdconsole | vllm bench serve | aiperf | guidellm | genai-bench | llm-d
    layout: str  # slug; "?" when neither file nor name tells
    gpus: int | None
    placement: str
    network: str
    model: str
    gpu_model: str = ""
    input_len: int | None
    output_len: int | None
    mode: str
    kind: str  # concurrency | request_rate
    value: float | None
    duration_s: float
    completed: int
    failed: int | None
    request_throughput: float
    output_throughput: float | None
    total_token_throughput: float
    tokens_per_s_per_gpu: float | None
    ttft_mean_ms: float | None = None
    ttft_std_ms: float | None = None
    ttft_p50_ms: float | None = None
    ttft_p90_ms: float | None = None
    ttft_p95_ms: float | None = None
    ttft_p99_ms: float | None = None
    tpot_mean_ms: float | None = None
    tpot_std_ms: float | None = None
    tpot_p50_ms: float | None = None
    tpot_p90_ms: float | None = None
    tpot_p95_ms: float | None = None
    tpot_p99_ms: float | None = None
    itl_mean_ms: float | None = None
    itl_std_ms: float | None = None
    itl_p50_ms: float | None = None
    itl_p90_ms: float | None = None
    itl_p95_ms: float | None = None
    itl_p99_ms: float | None = None
    e2el_mean_ms: float | None = None
    e2el_std_ms: float | None = None
    e2el_p50_ms: float | None = None
    e2el_p90_ms: float | None = None
    e2el_p95_ms: float | None = None
    e2el_p99_ms: float | None = None
    ci: dict[str, tuple[float, float]] = {}  # 95 %, under the name of the field: ttft_p50_ms
    input_tokens: int | None = None  # of all requests that count
    output_tokens: int | None = None
    num_prompts: int | None = None  # asked for; completed + failed where all were sent
    max_concurrency: int | None = None  # the cap; an open loop can have one too
    peak_concurrency: int | None = None  # most requests in flight, as measured
    burstiness: float | None = None  # 1 = Poisson arrivals
    gpus_all: int | None = None  # of the layout, loaded or not
    nodes: int | None = None
    # Unix time from when on requests count (of our older files, when the driver was started, before
    # the warm-up). Files tell local time without its zone, which is
    # taken as UTC: differences between points are right, the hour of the day may not be.
    started_wall: float | None = None
    repeat: int = 1  # which run of the same, from `_r2` or `run=1`
    group: str = ""  # the directory whose points belong together, where it is not the file's own
    simulated: bool = False
    slot_kind: str = "gpu"
    flags: dict[str, str] = {}  # name -> evidence
    bad: tuple[str, ...] = ()  # of the flags those that make the number no measurement
    session: str = ""
    date: str = ""

    @property
    def directory(self) -> str:
        """Where the points of the same run are."""
        return self.group or str(Path(self.file).parent)

    @property
    def gpus_loaded(self) -> int | None:
        """The denominator of numbers per GPU."""
        return self.gpus

    @property
    def point(self) -> str:
        """`c=16`, `rr=4`."""
        if self.value is None:
            return "?"
        return f"{'c' if self.kind == 'concurrency' else 'rr'}={self.value:g}"

    @property
    def workload(self) -> str:
        """`itl5000 otl250 mixed`, as far as it is known."""
        lengths = (("itl", self.input_len), ("otl", self.output_len))
        parts = [f"{name}{value}" for name, value in lengths if value is not None]
        return " ".join([*parts, self.mode]).strip() or "unknown workload"

    @property
    def input_throughput(self) -> float | None:
        """Prompt tokens a second."""
        if self.output_throughput is None:
            return None
        return self.total_token_throughput - self.output_throughput

    def latency(self, name: str, statistic: str = "p50") -> float | None:
        """`latency("ttft", "p99")` in ms."""
        value: float | None = getattr(self, f"{name}_{statistic}_ms")
        return value

    @property
    def requests_file(self) -> Path | None:
        """The Parquet file of its requests, which ours have beside them; None without one."""
        path = Path(self.file)
        requests = path.parent / "requests" / f"{path.stem}.parquet"
        return requests if requests.is_file() else None


def per_gpu(tokens_per_s: float, gpus: int | None) -> float | None:
    return tokens_per_s / gpus if gpus and math.isfinite(tokens_per_s) else None
