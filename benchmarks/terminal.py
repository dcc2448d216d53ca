"""A pseudo-terminal with the console in it, as a terminal of today: it knows of whole frames.

Textual marks the beginning and the end of a frame where the terminal says that it takes frames as a
whole (mode 2026); this one does, so that a benchmark knows when a frame has come.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

ASKS_FOR_FRAMES = b"\x1b[?2026$p"
KNOWS_FRAMES = b"\x1b[?2026;2$y"
FRAME_END = b"\x1b[?2026l"
SOON_S = 10.0


class ConsoleProcess:
    """`pdconsole -w WORKSPACE WORDS…` at `size`, with settings and state of its own."""

    def __init__(
        self, workspace: Path, *words: str, size: tuple[int, int] = (120, 40), home: Path | None
    ) -> None:
        self._master, slave = pty.openpty()
        width, height = size
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))
        # Installed programs have their byte code; an environment that forbids it would not.
        env = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
        env |= {"TERM": "xterm-256color", "COLORTERM": "truecolor"}
        if home is not None:
            env |= {"XDG_CONFIG_HOME": str(home), "XDG_STATE_HOME": str(home / "state")}
        self.began = time.monotonic()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "pdconsole", "-w", str(workspace), *words],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=env,
            start_new_session=True,
        )
        os.close(slave)
        self.written = 0  # bytes it wrote
        self._asked = b""

    def type(self, keys: bytes) -> None:
        os.write(self._master, keys)

    def read(self, seconds: float) -> bytes:
        """What it writes next, b"" when nothing comes for so long or it has left."""
        if not select.select([self._master], [], [], max(seconds, 0.0))[0]:
            return b""
        try:
            data = os.read(self._master, 1 << 18)
        except OSError:
            return b""
        self.written += len(data)
        self._asked = (self._asked + data)[-4096:]
        if ASKS_FOR_FRAMES in self._asked:
            self._asked = b""
            self.type(KNOWS_FRAMES)
        return data

    def read_until(self, what: bytes, *, frame: bool = False, within_s: float = SOON_S) -> float:
        """`time.monotonic()` when `what` had been written, and the rest of its frame too.

        Raises TimeoutError with the end of what came instead.
        """
        seen = b""
        deadline = time.monotonic() + within_s
        while True:
            at = seen.find(what)
            if at >= 0 and (not frame or FRAME_END in seen[at:]):
                return time.monotonic()
            left = deadline - time.monotonic()
            if left <= 0 or self.process.poll() is not None:
                raise TimeoutError(f"{what!r} did not come in {within_s} s: {seen[-300:]!r}")
            seen += self.read(left)

    def drain(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0 and self.process.poll() is None:
            self.read(left)

    def cpu_s(self) -> float:
        """User and system time of the process until now."""
        return time.clock_gettime(-8 * (self.process.pid + 1) + 2)  # clock_getcpuclockid(3)

    def waited_s(self) -> float:
        """How long its threads were ready to run and had no core, as other processes had them."""
        tasks = Path(f"/proc/{self.process.pid}/task").iterdir()
        return sum(int((task / "schedstat").read_text().split()[1]) for task in tasks) / 1e9

    def leave(self) -> None:
        self.type(b"q")
        self.drain(SOON_S)
        self.close()

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        with contextlib.suppress(OSError):
            os.close(self._master)
