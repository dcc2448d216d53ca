"""Records a made-up sweep as a runner records it, at real pace; others watch it.

    python benchmarks/synthetic_sweep.py WORKSPACE [--nodes 2] [--past 600] [--requests 20]
                                         [--log-lines 0]

Every node has 8 GPUs: with two of them one has four prefill replicas and the other two decode
replicas, with more each of the first 32 has two and one. Once a second come a sample of every
node's GPUs and NICs, of every worker and its transfers, and the load driver's tick; in between
`--requests` finished requests a second; the workers' logs begin with `--log-lines` lines. `live`
is printed when the `--past` seconds before now are written; from then on events come when they
happen, until the process is ended.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from pdconsole.journal import JournalWriter, ProcessLog, SeriesWriter, SessionDir
from pdconsole.journal.keyframes import KeyframeWriter
from pdconsole.model import events as ev
from pdconsole.model.statistics import histogram

GPUS = 8
BUSY_NODES = 32
FLUSH_S = 0.2  # as the runner flushes
POINTS = tuple(f"conc{c}" for c in (4, 8, 16, 32, 48, 64))
POINT_S, WARM_UP_S = 100, 15
LOG_EVERY_S = 5


class DueClock:
    """Shows the time at which the next event is due."""

    def __init__(self, past_s: float) -> None:
        self._ahead = time.time() - time.monotonic()
        self.now = time.monotonic() - past_s

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return self.now + self._ahead


class Worker:
    def __init__(self, name: str, node: str, slots: tuple[int, ...]) -> None:
        self.name, self.node, self.slots = name, node, slots
        self.role = "prefill" if name.startswith("P") else "decode"
        self.moved = 0.0


def grid(nodes: int) -> tuple[str, list[Worker]]:
    """The layout, and its workers where they are."""
    if nodes == 2:
        prefill = [Worker(f"P{i + 1}", "node1", (2 * i, 2 * i + 1)) for i in range(4)]
        decode = [Worker(f"D{i + 1}", "node2", tuple(range(4 * i, 4 * i + 4))) for i in range(2)]
        return "p4xtp2-d2xtp4", prefill + decode
    workers = []
    busy = min(nodes, BUSY_NODES)
    for n in range(busy):
        node = f"node{n + 1}"
        workers += [Worker(f"P{2 * n + i + 1}", node, (2 * i, 2 * i + 1)) for i in range(2)]
        workers.append(Worker(f"D{n + 1}", node, (4, 5, 6, 7)))
    return f"p{2 * busy}xtp2-d{busy}xtp4", workers


class Sweep:
    """Events with the second of the session at which they are due, in the order of time."""

    def __init__(self, nodes: int, requests_per_s: int) -> None:
        self.layout, self.workers = grid(nodes)
        self.nodes = [f"node{n + 1}" for n in range(nodes)]
        self.decoders = [w for w in self.workers if w.role == "decode"]
        self.prefillers = [w for w in self.workers if w.role == "prefill"]
        self.requests_per_s = requests_per_s
        self._rng = random.Random(1)
        self._phase = {name: self._rng.random() for name in (*self.nodes, "driver")}
        self._index = 0
        self._run, self._point = "", ""

    def events(self) -> Iterator[tuple[float, ev.Event]]:
        yield from ((0.0, event) for event in self._opening())
        t = 0
        for run in range(1, 1000):
            self._run = str(run)
            yield from ((float(t), event) for event in self._launch())
            for point in POINTS:
                self._point = point
                for second in range(POINT_S):
                    if second in (0, WARM_UP_S):
                        status = "window" if second else "warmup"
                        yield float(t), self._state(status)
                    phase = "window" if second >= WARM_UP_S else "warmup"
                    yield from sorted(self._second(float(t), phase), key=lambda due: due[0])
                    t += 1
                yield float(t), self._state("done")
            yield float(t), ev.RunState(run=self._run, status="done")

    def _opening(self) -> Iterator[ev.Event]:
        plans = tuple(
            ev.PlannedRun(
                run=str(run), layout=self.layout, strategy="spread", network="ucx-srd",
                workload="itl5000-otl250", input_len=5000, output_len=250, mode="mixed",
                gpus=sum(len(w.slots) for w in self.workers), points=POINTS, result_dir=f"r{run}",
            )
            for run in range(1, 13)
        )  # fmt: skip
        yield ev.SessionOpened(
            session="s", experiment="synthetic", cluster="c", model="gpt-oss-120b", simulated=True,
            runs=plans,
        )  # fmt: skip
        yield ev.EpochOpened(epoch=1, pid=1)
        yield ev.SessionState(status="running")
        for node in self.nodes:
            gpus = tuple(
                ev.GpuInfo(index=i, name="NVIDIA H100 80GB HBM3", memory_mib=81559)
                for i in range(GPUS)
            )
            yield ev.NodeLink(node=node, status="up")
            yield ev.NodeClock(node=node, offset_s=0.0, bound_s=0.001)
            yield ev.NodeInventory(node=node, hostname=node, gpus=gpus, versions={"vllm": "0.11.0"})

    def _launch(self) -> Iterator[ev.Event]:
        yield ev.RunState(run=self._run, status="launching")
        for worker in self.workers:
            worker.moved = 0.0
            yield ev.ProcessState(
                run=self._run, process=worker.name, node=worker.node, status="ready",
                role=worker.role, tp=len(worker.slots), slots=worker.slots,
            )  # fmt: skip
        for name in ("router", "driver"):
            yield ev.ProcessState(
                run=self._run, process=name, node=self.nodes[0], status="ready", role=name
            )
        yield ev.RunState(run=self._run, status="measuring")

    def _state(self, status: ev.PointStatus) -> ev.Event:
        return ev.PointState(
            run=self._run, point=self._point, status=status, target_s=float(POINT_S - WARM_UP_S)
        )

    def _second(self, t: float, phase: str) -> Iterator[tuple[float, ev.Event]]:
        rng, load = self._rng, 1 + 0.3 * math.sin(t / 20)
        for node in self.nodes:
            due = t + self._phase[node]
            gpus = tuple(
                ev.GpuSample(
                    index=i, util_pct=float(rng.randrange(60, 101)),
                    memory_used_mib=70_000.0 + i, temperature_c=float(rng.randrange(50, 70)),
                    power_w=round(rng.uniform(300, 700), 1),
                )
                for i in range(GPUS)
            )  # fmt: skip
            yield due, ev.GpusSampled(node=node, node_t=due, gpus=gpus)
            counters = {
                f"rdmap{i}s27": {"tx_bytes": int(due * 3e9 * load), "rx_bytes": int(due * 3e9)}
                for i in range(4)
            }
            yield due, ev.NicsSampled(node=node, node_t=due, counters=counters)
        for worker in self.workers:
            due = t + self._phase[worker.node]
            yield due, ev.WorkerSampled(
                run=self._run, process=worker.name, node_t=due,
                running=float(rng.randrange(4, 24)), waiting=float(rng.randrange(4)),
                kv_usage=min(0.4 * load + rng.random() / 20, 1.0), preemptions=0.0,
                prompt_tokens=due * 25_000, generation_tokens=due * 1_250,
                prefix_cache_queries=due * 25_000, prefix_cache_hits=0.0,
            )  # fmt: skip
            if worker.role == "decode":
                worker.moved += 1e9 * load * rng.uniform(0.8, 1.2)
                yield due, ev.NixlSampled(
                    run=self._run, process=worker.name, node_t=due, bytes=worker.moved,
                    transfers=worker.moved / 1e8, xfer_s=worker.moved / 4e9, post_s=t * 0.01,
                    failed_transfers=0.0, failed_notifications=0.0, expired=0.0,
                )  # fmt: skip
        yield from self._requests(t, phase, load)

    def _requests(self, t: float, phase: str, load: float) -> Iterator[tuple[float, ev.Event]]:
        rng, count = self._rng, self.requests_per_s
        ttft = [rng.gammavariate(4, 90 * load) for _ in range(count)]
        tpot = [rng.gauss(11, 1) * load for _ in range(count)]
        for i in range(count):
            due = t + (i + rng.random()) / count
            self._index += 1
            yield due, ev.RequestFinished(
                run=self._run, point=self._point, index=self._index, phase=phase,
                sent_node_t=due - 3, ttft_ms=ttft[i], tpot_ms=tpot[i],
                e2el_ms=ttft[i] + 250 * tpot[i], input_tokens=5000, output_tokens=250,
                prefill=rng.choice(self.prefillers).name, decode=rng.choice(self.decoders).name,
            )  # fmt: skip
        yield t + self._phase["driver"], ev.PointTick(
            run=self._run, point=self._point, node_t=t + self._phase["driver"], dt_s=1.0,
            phase=phase, in_flight=int(64 * load), sent=count, finished=count, errors=0,
            input_tokens=5000 * count, output_tokens=250 * count, ttft=histogram(ttft),
            tpot=histogram(tpot), itl=histogram(rng.gauss(11, 1) * load for _ in range(500)),
            e2el=histogram(a + 250 * b for a, b in zip(ttft, tpot, strict=True)), cpu_pct=30.0,
        )  # fmt: skip


class LogLines:
    """What the workers of a sweep say, each every few seconds."""

    def __init__(self, directory: SessionDir, sweep: Sweep) -> None:
        self._logs = [
            ProcessLog(directory.log_path(w.node, w.name, "1")) for w in sweep.workers[:64]
        ]
        self._said = 0

    def begin(self, wall: float, lines: int) -> None:
        """So many of all logs together."""
        each = lines // len(self._logs)
        block = b"".join(self._line(wall) for _ in range(each))
        for log in self._logs:
            log.append(log.next_offset, block)

    def write(self, wall: float) -> None:
        line = self._line(wall)
        for log in self._logs:
            log.append(log.next_offset, line)

    def _line(self, wall: float) -> bytes:
        self._said += 1
        stamp = time.strftime("%m-%d %H:%M:%S", time.localtime(wall))
        return (
            f"(APIServer pid=7) INFO {stamp} [loggers.py:127] Engine 000: Avg prompt throughput: "
            f"{25_000 + self._said % 977}.0 tokens/s, Running: {self._said % 24} reqs\n"
        ).encode()


def record(workspace: Path, sweep: Sweep, past_s: float, log_lines: int) -> None:
    """Until the process is ended."""
    clock = DueClock(past_s)
    directory = SessionDir.create(workspace, "synthetic", clock)
    directory.write_meta({"status": "running", "command": "pdconsole run synthetic"})
    logs = LogLines(directory, sweep)
    logs.begin(clock.wall(), log_lines)
    is_live = False
    began, flush_at, log_at = clock.now, clock.now, clock.now
    with (
        directory.hold(),
        JournalWriter(directory.events_path, clock=clock) as journal,
        SeriesWriter(directory.series_path) as series,
        KeyframeWriter(directory.keyframes_path, directory.events_path) as keyframes,
    ):
        for due, event in sweep.events():
            at = began + due
            if at >= flush_at:
                journal.flush()
                series.flush()
                keyframes.catch_up()
                while log_at <= at:
                    logs.write(clock.wall())
                    log_at += LOG_EVERY_S
                flush_at = at + FLUSH_S
                if (left := flush_at - time.monotonic()) > 0:
                    if not is_live:
                        print("live", directory.name, flush=True)
                        is_live = True
                    time.sleep(left)
            clock.now = at
            series.add(journal.append(event))


@contextlib.contextmanager
def recorded_live(
    workspace: Path,
    *,
    nodes: int = 2,
    past_s: float = 600,
    requests_per_s: int = 20,
    log_lines: int = 0,
) -> Iterator[str]:
    """The name of a session that another process records; it ends with the block."""
    words = ["--nodes", str(nodes), "--past", str(past_s), "--requests", str(requests_per_s)]
    words += ["--log-lines", str(log_lines)]
    process = subprocess.Popen(
        [sys.executable, __file__, str(workspace), *words], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        said = process.stdout.readline().split()
        if said[:1] != ["live"]:
            raise SystemExit("the session could not be recorded")
        yield said[1]
    finally:
        process.kill()
        process.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description="Record a made-up sweep at real pace.")
    parser.add_argument("workspace", type=Path)
    parser.add_argument("--nodes", type=int, default=2)
    parser.add_argument("--past", type=float, default=600.0)
    parser.add_argument("--requests", type=int, default=20)
    parser.add_argument("--log-lines", type=int, default=0)
    words = parser.parse_args()
    record(words.workspace, Sweep(words.nodes, words.requests), words.past, words.log_lines)


if __name__ == "__main__":
    main()
