"""A worker's log: vLLM's lines, each marked as simulated."""

from __future__ import annotations

import os
import sys
import time
from typing import Literal

from pdconsole.sim.engine import Replica
from pdconsole.sim.metrics import WorkerMetrics

Level = Literal["INFO", "WARNING", "ERROR"]


def log(message: str, *, level: Level = "INFO", source: str = "worker.py") -> None:
    """One line on stderr, where vLLM logs too."""
    stamp = time.strftime("%m-%d %H:%M:%S")
    print(  # noqa: T201
        f"(APIServer pid={os.getpid()}) {level} {stamp} [{source}] {message} (simulated)",
        file=sys.stderr,
        flush=True,
    )


class ThroughputLog:
    """The line on throughput, as often as it is asked for; silent while nothing happens."""

    def __init__(self, replica: Replica, metrics: WorkerMetrics, now: float) -> None:
        self._replica = replica
        self._metrics = metrics
        self._then = (now, 0, 0, 0, 0.0, 0.0)

    def write(self, now: float) -> None:
        metrics, counters = self._metrics, self._replica.counters
        then = self._then
        self._then = (
            now,
            metrics.prompt_tokens,
            metrics.generation_tokens,
            metrics.bytes.count,
            metrics.bytes.total,
            metrics.xfer.total,
        )
        span = now - then[0]
        prompt, generated = (self._then[1] - then[1]) / span, (self._then[2] - then[2]) / span
        if not (prompt or generated or self._replica.running):
            return
        hits = counters.prefix_hits / counters.prefix_queries if counters.prefix_queries else 0.0
        log(
            f"Engine 000: Avg prompt throughput: {prompt:.1f} tokens/s,"
            f" Avg generation throughput: {generated:.1f} tokens/s,"
            f" Running: {self._replica.running} reqs, Waiting: {self._replica.waiting} reqs,"
            f" GPU KV cache usage: {100 * self._replica.pool.usage:.1f}%,"
            f" Prefix cache hit rate: {100 * hits:.1f}%",
            source="loggers.py",
        )
        transfers = self._then[3] - then[3]
        if transfers:
            mib = (self._then[4] - then[4]) / 2**20
            seconds = self._then[5] - then[5]
            log(
                f"KV Transfer metrics: Num successful transfers={transfers},"
                f" Avg xfer time (ms)={1e3 * seconds / transfers:.3f},"
                f" Avg MB per transfer={mib / transfers:.3f},"
                f" Throughput (MB/s)={mib / seconds:.3f}",
                source="metrics.py",
            )
