"""How long a key takes to its frame, while a live sweep of 16 GPUs or of 1,000 nodes is watched.

    python benchmarks/console_keys.py [NODES …]        default 2 1000

The console runs in a pseudo-terminal of 120×40, another process records a sweep at real pace (see
synthetic_sweep.py). A key is sent at a random moment; its frame has come when the terminal has
been given the end of the frame in which the screen shows what the key does. So whatever the
console does of itself at that moment is in the times.

`wall` is from the key to its frame. `without a core` is how long the console's threads were ready
to run meanwhile and had to wait, because other work kept the cores busy; `own` is wall less that,
and the limit is held against it. `CPU` is user and system time of the console's process.
"""

from __future__ import annotations

import random
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from key_limit import LIMIT_MS, at
from synthetic_sweep import recorded_live
from terminal import ConsoleProcess

from pdconsole.ui.screen_list import SCREENS

ROUNDS = 30
PAUSE_S = (0.05, 0.2)
PAST_S = {2: 600.0}
LONG_PAST_S = 130.0
LOG_LINES = 200_000
Keys = Sequence[tuple[bytes, bytes]]  # a key, and what the screen says then

LIVE: Keys = (
    (b"+", b"1 min"),
    (b"-", b"2 min"),
    (b" ", b"PAUSED"),
    (b"e", b"LIVE"),
    (b"\x1b[6~", b"charts 2/2"),  # page down
    (b"\x1b[5~", b"charts 1/2"),
    (b"w", b"Where did this TTFT go?"),
    (b"w", b"derived from request ids"),
)
LOGS: Keys = (
    (b"g", b"line 1"),
    (b"j", b"line 2"),
    (b"k", b"line 1"),
    (b"e", b"info and worse"),
    (b"e", b"warnings and errors"),
    (b"e", b"errors"),
    (b"e", b"all levels"),
    (b"G", b"following"),
)


def number_of(screen: str) -> bytes:
    """The key that shows it."""
    return str([entry.name for entry in SCREENS].index(screen) + 1).encode()


class Pressed:
    """Milliseconds of every key of one kind."""

    def __init__(self) -> None:
        self.wall: list[float] = []
        self.waited: list[float] = []
        self.cpu: list[float] = []

    def press(self, console: ConsoleProcess, key: bytes, shows: bytes) -> None:
        cpu, waited = console.cpu_s(), console.waited_s()
        started = time.monotonic()
        console.type(key)
        try:
            took = console.read_until(shows, frame=True) - started
        except TimeoutError as e:
            print(f"  {e}"[:200])
            took = time.monotonic() - started
        self.wall.append(took * 1e3)
        self.waited.append((console.waited_s() - waited) * 1e3)
        self.cpu.append((console.cpu_s() - cpu) * 1e3)

    def report(self, name: str) -> bool:
        own = [max(a - b, 0.0) for a, b in zip(self.wall, self.waited, strict=True)]
        good = at(own, 0.99) <= LIMIT_MS
        parts = [f"{name:<22}{len(own):>5}"]
        parts += [f"{at(v, 0.5):7.1f} {at(v, 0.99):7.1f}" for v in (self.wall, own, self.cpu)]
        parts.append(f"{at(self.waited, 0.99):9.1f}  {'met' if good else 'MISSED'}")
        print("  ".join(parts), flush=True)
        return good


def walk(console: ConsoleProcess, keys: Keys, rng: random.Random) -> Pressed:
    pressed = Pressed()
    for _ in range(ROUNDS):
        for key, shows in keys:
            console.drain(rng.uniform(*PAUSE_S))
            pressed.press(console, key, shows)
    return pressed


def measure(nodes: int) -> bool:
    """True where every p99 is within the limit."""
    rng = random.Random(1)
    to_logs, to_live = (number_of("logs"), b" lines"), (number_of("live"), b"TTFT")
    with tempfile.TemporaryDirectory() as directory:
        workspace = Path(directory)
        past_s = PAST_S.get(nodes, LONG_PAST_S)
        with recorded_live(workspace, nodes=nodes, past_s=past_s, log_lines=LOG_LINES) as session:
            console = ConsoleProcess(workspace, "watch", session, home=workspace / "home")
            try:
                console.read_until(b"LIVE", within_s=60)
                console.drain(5.0)
                print(f"{nodes:,} nodes, {8 * nodes:,} GPUs")
                good = walk(console, LIVE, rng).report("  Live")
                for key, shows in (to_logs, *LOGS):  # all is read, and where the cursor is known
                    Pressed().press(console, key, shows)
                    console.drain(3.0 if key == to_logs[0] else 0.2)
                good &= walk(console, LOGS, rng).report("  Logs, 200,000 lines")
                good &= walk(console, (to_live, to_logs), rng).report("  from Logs to Live, back")
            finally:
                console.close()
    return good


def main() -> int:
    print("a key to its frame, ms")
    print(f"{'':22} keys     wall p50, p99      own p50, p99      CPU p50, p99  without a core p99")
    results = [measure(int(nodes)) for nodes in sys.argv[1:] or ("2", "1000")]
    print(f"limit {LIMIT_MS:.0f} ms for the p99")
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
