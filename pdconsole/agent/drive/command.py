"""The driver's process: its one argument, its signals, its limits, its two outputs."""

from __future__ import annotations

import resource
import signal
import socket
import sys
from pathlib import Path
from time import monotonic
from types import FrameType
from typing import BinaryIO, List, Optional

from pdconsole.agent.drive.point import PointDrive
from pdconsole.agent.drive.report import Report
from pdconsole.agent.drive.spec import DriveSpec, read_spec
from pdconsole.agent.drive.target import DriveError, find_target, reason_of


class StopSignal:
    """SIGTERM or SIGINT came. Its file descriptor becomes readable then, so that epoll wakes."""

    def __init__(self) -> None:
        self.requested = False
        self._read, self._write = socket.socketpair()
        self._read.setblocking(False)
        self._write.setblocking(False)

    @property
    def fd(self) -> int:
        return self._read.fileno()

    def install(self) -> None:
        signal.set_wakeup_fd(self._write.fileno())
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._request)

    def _request(self, number: int, frame: Optional[FrameType]) -> None:
        self.requested = True


def drive_command(argv: List[str]) -> int:
    if len(argv) != 1:
        print("usage: drive SPEC.json", file=sys.stderr)
        return 2
    stop = StopSignal()
    stop.install()
    _raise_file_limit()
    lines = sys.stdout.buffer
    try:
        spec = read_spec(Path(argv[0]))
        with spec.gaps.open("wb") as gaps:
            drive(spec, lines, gaps, stop)
    except DriveError as error:
        _fail(lines, str(error))
        return 1
    except BrokenPipeError:
        return 1  # nobody reads any more, so there is nobody to tell
    except OSError as error:
        _fail(lines, f"the load driver cannot go on: {error.filename or ''} {reason_of(error)}")
        return 1
    return 0


def drive(spec: DriveSpec, lines: BinaryIO, gaps: BinaryIO, stop: StopSignal) -> None:
    """Carry the point out. Raises DriveError."""
    targets = [find_target(url) for url in spec.urls]
    direct = {"prefill-only": "prefill", "decode-only": "decode"}.get(spec.mode, "")
    report = Report(lines, gaps, spec.replicas, targets=targets, direct=direct)
    report.phase("warmup", monotonic())
    if spec.warm_pairs is not None:
        from pdconsole.agent.drive.pairs import warm_pairs  # http.client takes its time to load

        warm_pairs(spec, spec.warm_pairs, stop)
    PointDrive(spec, targets, report, stop=stop, wake_fd=stop.fd).run()


def _fail(lines: BinaryIO, message: str) -> None:
    Report(lines, lines, {}).emit("error", message=message)
    print(message, file=sys.stderr)


def _raise_file_limit() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
