"""What a console costs that watches a live sweep of 16 GPUs, six charts on its screen.

    python benchmarks/console_live.py [SECONDS]        default 60 for each line

The console runs in a pseudo-terminal; another process records a sweep at real pace (see
synthetic_sweep.py): 2 nodes, 6 replicas, 20 requests a second, ten minutes of it before the
console opens. What is counted is user and system time of the console's process, so other work on
the machine matters little. At 120×40 the screen has six charts, at 200×60 nine.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from synthetic_sweep import recorded_live
from terminal import ConsoleProcess

SETTLE_S = 5.0
# (refreshes a second, size, percent of a core)
CASES = ((2, (120, 40), 5.0), (4, (120, 40), 10.0), (2, (200, 60), None), (4, (200, 60), None))


def watch(workspace: Path, session: str, hz: int, size: tuple[int, int], seconds: float) -> float:
    """Percent of a core."""
    home = workspace / f"home{hz}"
    (home / "pdconsole").mkdir(parents=True, exist_ok=True)
    (home / "pdconsole" / "settings.yaml").write_text(f"refresh_hz: {hz}\n")
    console = ConsoleProcess(workspace, "watch", session, size=size, home=home)
    try:
        console.read_until(b"LIVE")
        console.drain(SETTLE_S)
        cpu, written, started = console.cpu_s(), console.written, time.monotonic()
        console.drain(seconds)
        took = time.monotonic() - started
        share = (console.cpu_s() - cpu) / took * 100
        kilobytes = (console.written - written) / took / 1e3
    finally:
        console.close()
    print(
        f"{hz} Hz at {size[0]}×{size[1]:<4} {share:5.1f} % of a core  {kilobytes:4.1f} kB/s", end=""
    )
    return share


def main() -> int:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 60.0
    good = True
    with tempfile.TemporaryDirectory() as directory:
        workspace = Path(directory)
        with recorded_live(workspace) as session:
            for hz, size, limit in CASES:
                share = watch(workspace, session, hz, size, seconds)
                if limit is None:
                    print(flush=True)
                    continue
                met = share <= limit
                good &= met
                print(f"  limit {limit:.0f}: {'met' if met else 'MISSED'}", flush=True)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
