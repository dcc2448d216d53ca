"""How fast a recording is read: decoded only, and decoded and folded; memory while tailing.

    python benchmarks/reader.py [EVENTS]        default 1,000,000; the goal is 10 s for as many

The events are mixed as a sweep of a PD layout mixes them: mostly finished requests and samples of
workers, GPUs and NICs, one tick a second with histograms, now and then a change of state.
"""

from __future__ import annotations

import itertools
import os
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from pdconsole.journal.reader import JournalTail, read_events
from pdconsole.journal.writer import JournalWriter
from pdconsole.model import events as ev
from pdconsole.model.state import State, reduce
from pdconsole.model.statistics import histogram

GOAL_S_PER_MILLION = 10.0
NODES = ("node1", "node2")
WORKERS = {"P1": "node1", "D1": "node1", "D2": "node2", "D3": "node2"}
POINTS = tuple(f"conc{c}" for c in (4, 8, 16, 32, 48, 64))


def a_second(rng: random.Random, t: float, point: str) -> Iterator[ev.Event]:
    """What happens in a second of a window at about 10 requests/s."""
    for node in NODES:
        gpus = tuple(
            ev.GpuSample(
                index=i,
                util_pct=float(rng.randrange(101)),
                memory_used_mib=70_000.0 + i,
                temperature_c=55.0,
                power_w=rng.uniform(300, 700),
            )
            for i in range(8)
        )
        yield ev.GpusSampled(node=node, node_t=t, gpus=gpus)
        counters = {
            f"rdmap{i}s27": {"tx_bytes": rng.randrange(1 << 44), "rx_bytes": rng.randrange(1 << 44)}
            for i in range(4)
        }
        yield ev.NicsSampled(node=node, node_t=t, counters=counters)
    for worker in WORKERS:
        yield ev.WorkerSampled(
            run="1",
            process=worker,
            node_t=t,
            running=float(rng.randrange(32)),
            waiting=0.0,
            kv_usage=rng.random(),
            preemptions=0.0,
            prompt_tokens=t * 50_000,
            generation_tokens=t * 2_500,
            prefix_cache_queries=t * 50_000,
            prefix_cache_hits=0.0,
        )
        if worker != "P1":
            yield ev.NixlSampled(
                run="1", process=worker, node_t=t, bytes=t * 1e9, transfers=t * 3, xfer_s=t * 0.2
            )
    for i in range(10):
        yield ev.RequestFinished(
            run="1",
            point=point,
            index=i,
            phase="window",
            sent_node_t=t - 3,
            ttft_ms=rng.uniform(200, 900),
            tpot_ms=rng.uniform(8, 14),
            e2el_ms=rng.uniform(2500, 4000),
            input_tokens=5000,
            output_tokens=250,
            prefill="P1",
            decode=f"D{i % 3 + 1}",
        )
    yield ev.PointTick(
        run="1",
        point=point,
        node_t=t,
        dt_s=1.0,
        phase="window",
        in_flight=32,
        sent=10,
        finished=10,
        errors=0,
        input_tokens=50_000,
        output_tokens=2_500,
        ttft=histogram(rng.uniform(200, 900) for _ in range(10)),
        tpot=histogram(rng.uniform(8, 14) for _ in range(10)),
        itl=histogram(rng.gauss(11, 1) for _ in range(500)),
        e2el=histogram(rng.uniform(2500, 4000) for _ in range(10)),
    )


def a_session() -> Iterator[ev.Event]:
    rng = random.Random(1)
    run = ev.PlannedRun(
        run="1",
        layout="p1xtp2-d3xtp2",
        strategy="pack",
        network="srd",
        workload="w",
        input_len=5000,
        output_len=250,
        mode="mixed",
        gpus=8,
        points=POINTS,
        result_dir="r",
    )
    yield ev.SessionOpened(
        session="s", experiment="e", cluster="c", model="m", simulated=True, runs=(run,)
    )
    yield ev.EpochOpened(epoch=1, pid=1)
    yield ev.RunState(run="1", status="launching")
    for worker, node in WORKERS.items():
        yield ev.ProcessState(run="1", process=worker, node=node, status="ready")
    seconds = [list(a_second(rng, float(t), POINTS[0])) for t in range(200)]
    for t in itertools.count():
        if t % 120 == 0:
            yield ev.PointState(run="1", point=POINTS[0], status="warmup", attempt=t // 120 + 1)
        yield from seconds[t % len(seconds)]


def rss_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


def write(path: Path, count: int) -> float:
    started = time.process_time()
    with JournalWriter(path) as journal:
        for event in itertools.islice(a_session(), count - 1):
            journal.append(event)
    return time.process_time() - started


def decode(path: Path) -> float:
    started = time.process_time()
    for _ in read_events(path):
        pass
    return time.process_time() - started


def fold(path: Path) -> tuple[float, list[float], State]:
    """Seconds of CPU, the memory at each tenth of the file, and the state."""
    size = path.stat().st_size
    memory: list[float] = []
    state = State()
    started = time.process_time()
    with JournalTail(path) as tail:
        while events := tail.poll():
            for event in events:
                state = reduce(state, event)
            if tail.offset * 10 >= size * (len(memory) + 1):
                memory.append(rss_mib())
    return time.process_time() - started, memory, state


def main() -> int:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "events.jsonl"
        written = write(path, count)
        size = path.stat().st_size
        print(f"{count:,} events, {size / 1e6:.0f} MB, {size / count:.0f} bytes each")
        decoded = decode(path)
        folded, memory, state = fold(path)
        assert state.seq == count
        for name, seconds in (("write", written), ("decode", decoded), ("fold", folded)):
            print(f"{name:7} {seconds:6.2f} s of CPU {count / seconds:11,.0f} events/s")
        print("memory at each tenth, MiB:", " ".join(f"{m:.0f}" for m in memory))
    goal = GOAL_S_PER_MILLION * count / 1e6
    good = folded <= goal
    print(f"goal    {goal:6.2f} s for decoding and folding: {'met' if good else 'MISSED'}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
