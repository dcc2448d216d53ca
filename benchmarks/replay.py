"""How fast a long recording is opened and looked back into, and the memory that takes.

    python benchmarks/replay.py [EVENTS]         default 5,000,000: more than two days of a sweep

It is recorded into a temporary directory as a runner records, with keyframes and series beside it
(2 GB, some minutes), then opened in a process of its own, which prints its figures beside the
limits; at last without its keyframes, which are made anew.
"""

from __future__ import annotations

import itertools
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from reader import WORKERS, a_session

from pdconsole.journal.history import History
from pdconsole.journal.keyframes import KeyframeWriter
from pdconsole.journal.series import SeriesWriter
from pdconsole.journal.session import SessionDir
from pdconsole.journal.writer import JournalWriter

EVENTS_PER_S = 22
FLUSH_EVENTS = 5
SEEKS = 1000
WINDOW_S = 600.0
COLUMNS = 240

OPEN_LIMIT_MS = 1000.0
SEEK_LIMIT_MS = 50.0
MEMORY_LIMIT_MIB = 300.0

CHARTS = (
    *(f"point/1/conc4/live_{name}_p{q}" for name in ("ttft", "tpot", "itl") for q in (50, 90, 99)),
    *(f"point/1/conc4/live_{name}_per_s" for name in ("requests", "output_tokens")),
    *(f"worker/1/{worker}/kv_usage" for worker in WORKERS),
    *(f"nixl/1/{worker}/live_wire_bytes_per_s" for worker in WORKERS if worker != "P1"),
    *(f"nics/{node}/live_tx_bytes_per_s" for node in ("node1", "node2")),
)


class PacedClock:
    """Passes as the events of the session would come."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return self.now


def record(session: SessionDir, count: int) -> float:
    """Seconds of CPU that keeping the keyframes took, of all."""
    clock = PacedClock()
    keyframes_s = 0.0
    with (
        JournalWriter(session.events_path, clock=clock) as journal,
        SeriesWriter(session.series_path) as series,
        KeyframeWriter(session.keyframes_path, session.events_path) as keyframes,
    ):
        for i, event in enumerate(itertools.islice(a_session(), count - 1)):
            clock.now += 1 / EVENTS_PER_S
            series.add(journal.append(event))
            if i % FLUSH_EVENTS == 0:
                journal.flush()
                series.flush()
                started = time.process_time()
                keyframes.catch_up()
                keyframes_s += time.process_time() - started
        journal.flush()
        keyframes.catch_up()
    return keyframes_s


def timed(action: Callable[[], object]) -> float:
    """Milliseconds."""
    started = time.perf_counter()
    action()
    return (time.perf_counter() - started) * 1e3


def report(name: str, values: list[float], limit: float | None = None) -> bool:
    values = sorted(values)
    p50, p99 = values[len(values) // 2], values[int(len(values) * 0.99)]
    good = limit is None or values[-1] <= limit
    of = "" if limit is None else f"   limit {limit:.0f}: {'met' if good else 'MISSED'}"
    print(f"{name:34} p50 {p50:7.2f}  p99 {p99:7.2f}  max {values[-1]:7.2f} ms{of}")
    return good


def memory_mib(name: str) -> float:
    """`VmRSS` now, `VmHWM` at most."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(name))


def look_back(session: SessionDir) -> bool:
    began = memory_mib("VmRSS")
    started = time.perf_counter()
    history = History.open(session)
    open_ms = (time.perf_counter() - started) * 1e3
    good = open_ms <= OPEN_LIMIT_MS
    print(
        f"{'open':34} {open_ms:.0f} ms   limit {OPEN_LIMIT_MS:.0f}: {'met' if good else 'MISSED'}"
    )
    rng = random.Random(1)
    end = history.end_t
    times = [rng.uniform(0, end) for _ in range(SEEKS)]

    def charts(t0: float, t1: float) -> None:
        for key in CHARTS:
            history.series(key, t0, t1, COLUMNS)

    def frame(t: float) -> None:
        history.state_at(t)
        history.requests(t)
        history.marks(t - WINDOW_S, t)
        charts(t - WINDOW_S, t)

    good &= report(
        "seek: state", [timed(lambda t=t: history.state_at(t)) for t in times], SEEK_LIMIT_MS
    )
    seeks = [timed(lambda t=t: frame(t)) for t in times]
    good &= report(f"seek: state, requests, {len(CHARTS)} series", seeks, SEEK_LIMIT_MS)
    plays = [timed(lambda i=i: frame(end / 2 + 32 * i)) for i in range(SEEKS)]
    report("play at 64x, two frames a second", plays)
    report("the whole session, first", [timed(lambda: charts(0, end))])
    report("the whole session, again", [timed(lambda: charts(0, end)) for _ in range(20)])
    report("poll, nothing new", [timed(history.poll) for _ in range(100)])
    most = memory_mib("VmHWM")
    ok = most <= MEMORY_LIMIT_MIB
    print(
        f"{'memory':34} {most:.0f} MiB at most, {began:.0f} before it was opened"
        f"   limit {MEMORY_LIMIT_MIB:.0f}: {'met' if ok else 'MISSED'}"
    )
    return good and ok


def rebuild(session: SessionDir) -> None:
    session.keyframes_path.unlink()
    started = time.perf_counter()
    History.open(session).close()
    seconds = time.perf_counter() - started
    print(f"keyframes made anew                {seconds:.1f} s, {memory_mib('VmHWM'):.0f} MiB")


def main() -> int:
    if sys.argv[1:2] == ["--look-back"]:
        return 0 if look_back(SessionDir.open(Path(sys.argv[2]))) else 1
    if sys.argv[1:2] == ["--rebuild"]:
        rebuild(SessionDir.open(Path(sys.argv[2])))
        return 0
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 5_000_000
    with tempfile.TemporaryDirectory() as directory:
        session = SessionDir.create(Path(directory), "replay")
        started = time.perf_counter()
        keyframes_s = record(session, count)
        print(f"{count:,} events recorded in {time.perf_counter() - started:.0f} s")
        print(f"keyframes took {keyframes_s / count * 1e6:.1f} us of CPU an event")
        for path in (session.events_path, session.series_path, session.keyframes_path):
            print(f"{path.name:34} {path.stat().st_size / 1e6:.0f} MB", flush=True)
        ends = [
            subprocess.run([sys.executable, __file__, what, str(session.path)], check=False)
            for what in ("--look-back", "--rebuild")
        ]
    return max(end.returncode for end in ends)


if __name__ == "__main__":
    sys.exit(main())
