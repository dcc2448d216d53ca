"""Readers of other programs: their own where they are installed, else what their schemas ask for.

`sh tests/peers/install` makes `.peers`, which has `llmd-benchmark-report` and `aiperf`: their
dependencies do not all go together with ours. `PDCONSOLE_PEERS` names other Python interpreters, as
PATH names directories, which are asked first.
The models here know only fields that pdconsole writes, so that a new one is looked up first.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field

PEERS = Path(__file__).resolve().parents[2] / ".peers/bin/python"


@cache
def interpreter_with(package: str) -> str | None:
    named = os.environ.get("PDCONSOLE_PEERS", "").split(os.pathsep)
    installed = [str(PEERS)] if PEERS.exists() else []
    look = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({package!r}) is None)"
    for python in filter(None, [*named, *installed, sys.executable]):
        if subprocess.run([python, "-c", look], timeout=60, check=False).returncode == 0:
            return python
    return None


def ask(package: str, script: str, directory: Path) -> Any:
    """What the script, run beside the package, writes of a directory as JSON. Skips the test
    without the package."""
    python = interpreter_with(package)
    if python is None:
        pytest.skip(f"no {package} here; install it with: sh tests/peers/install")
    done = subprocess.run(
        [python, "-c", script, str(directory)],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        cwd=directory,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


class Closed(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Statistics(Closed):
    units: str
    mean: float
    stddev: float = Field(0.0, ge=0)
    p50: float | None = None
    p90: float | None = None
    p95: float | None = None
    p99: float | None = None


class Count(Statistics):
    units: Literal["count"]


class Milliseconds(Statistics):
    units: Literal["ms"]


class MillisecondsPerToken(Statistics):
    units: Literal["ms/token"]


class TokensPerSecond(Statistics):
    units: Literal["tokens/s"]


class QueriesPerSecond(Statistics):
    units: Literal["queries/s"]


class Requests(Closed):
    total: int = Field(ge=0)
    failures: int | None = None
    input_length: Count | None = None
    output_length: Count | None = None


class Latency(Closed):
    time_to_first_token: Milliseconds | None = None
    time_per_output_token: MillisecondsPerToken | None = None
    inter_token_latency: MillisecondsPerToken | None = None
    request_latency: Milliseconds | None = None


class Throughput(Closed):
    input_token_rate: TokensPerSecond | None = None
    output_token_rate: TokensPerSecond | None = None
    total_token_rate: TokensPerSecond
    request_rate: QueriesPerSecond


class Aggregate(Closed):
    requests: Requests
    latency: Latency
    throughput: Throughput


class Parallelism(Closed):
    tp: int
    ep: int = Field(ge=1)
    workers: int


class Accelerator(Closed):
    model: str
    count: int
    parallelism: Parallelism


class Model(Closed):
    name: str


class Engine(Closed):
    kind: Literal["inference_engine"]
    tool: str
    tool_version: str
    role: Literal["replica", "prefill", "decode"]
    replicas: int = Field(ge=1)
    model: Model
    accelerator: Accelerator


class Label(Closed):
    label: str
    cfg_id: str


class Native(Closed):
    config: Any = None


class Component(Closed):
    metadata: Label
    standardized: Engine
    native: Native


class Length(Closed):
    distribution: Literal["fixed", "other"]
    value: float = Field(ge=0)


class LoadStandardized(Closed):
    tool: str
    tool_version: str
    source: Literal["random", "unknown"]
    input_seq_len: Length
    output_seq_len: Length | None = None
    rate_qps: float | None = Field(None, gt=0)
    concurrency: int | None = Field(None, ge=1)


class LoadMetadata(Closed):
    cfg_id: str
    description: str


class Load(Closed):
    metadata: LoadMetadata
    standardized: LoadStandardized
    native: Native


class Scenario(Closed):
    stack: list[Component] | None = None
    load: Load | None = None


class Time(Closed):
    duration: str = Field(pattern=r"^PT\d+\.\d+S$")
    start: str | None = None
    end: str | None = None


class Run(Closed):
    uid: str
    eid: str
    description: str
    keywords: list[str] | None = None
    time: Time


class RequestPerformance(Closed):
    aggregate: Aggregate


class Results(Closed):
    request_performance: RequestPerformance


class BenchmarkReport(Closed):
    """Of llm-d, 0.2."""

    version: Literal["0.2"]
    run: Run
    scenario: Scenario
    results: Results


class Metric(Closed):
    value: float | list[float]
    unit: str


class RecordMetadata(Closed):
    session_num: int
    x_request_id: str | None
    turn_index: int
    credit_issued_ns: int
    request_start_ns: int
    request_end_ns: int
    worker_id: str
    record_processor_id: str
    benchmark_phase: Literal["warmup", "profiling"]
    phase_name: str
    phase_kind: Literal["warmup", "profiling"]
    was_cancelled: bool


class Error(Closed):
    message: str


class AiperfRecord(Closed):
    """A line of aiperf's profile_export.jsonl, as of 0.13."""

    metadata: RecordMetadata
    metrics: dict[str, Metric]
    error: Error | None = None
