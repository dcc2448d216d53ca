"""How long the console takes to its first paint, and what it costs while nobody touches it.

    python benchmarks/console_start.py [WORKSPACE]

In a pseudo-terminal of 120×40; the clock runs from before the process is started to the first
byte of a screen that says `Sessions`. The aim: 800 ms. CPU is user and system time of the process.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import select
import statistics
import struct
import subprocess
import sys
import tempfile
import termios
import time
from pathlib import Path

RUNS = 9
AIM_MS = 800.0
IDLE_S = 10.0


class Console:
    def __init__(self, workspace: Path) -> None:
        self.began = time.monotonic()
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
        # Installed programs have their byte code; an environment that forbids it would not.
        env = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "pdconsole", "-w", str(workspace)],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env={**env, "TERM": "xterm-256color", "COLORTERM": "truecolor"},
            start_new_session=True,
        )
        os.close(slave)

    def read_until(self, what: bytes) -> float:
        """Milliseconds from the start of the process."""
        seen = b""
        while what not in seen:
            select.select([self._master], [], [], 10.0)
            seen += os.read(self._master, 1 << 16)
        return (time.monotonic() - self.began) * 1e3

    def drain(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0 and self.process.poll() is None:
            if select.select([self._master], [], [], left)[0]:
                with contextlib.suppress(OSError):  # it has left
                    os.read(self._master, 1 << 16)

    def cpu_s(self) -> float:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def leave(self) -> None:
        os.write(self._master, b"q")
        self.drain(10.0)
        os.close(self._master)
        self.process.wait()


def main() -> None:
    with tempfile.TemporaryDirectory() as empty:
        workspace = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(empty)
        paints, costs = [], []
        for run in range(RUNS + 1):
            console = Console(workspace)
            paint = console.read_until(b"Sessions")
            cost = console.cpu_s() * 1e3
            if run:  # the first leaves byte code behind
                paints.append(paint)
                costs.append(cost)
            console.leave()
        middle = statistics.median(paints)
        print(f"first paint  best {min(paints):.0f} ms  median {middle:.0f} ms", end="")
        print(f"  of the aim {middle / AIM_MS:.0%}  CPU until then {min(costs):.0f} ms")
        console = Console(workspace)
        console.read_until(b"Sessions")
        console.drain(2.0)
        before = console.cpu_s()
        console.drain(IDLE_S)
        print(f"idle         {(console.cpu_s() - before) / IDLE_S:.1%} of one core")
        console.leave()


if __name__ == "__main__":
    main()
