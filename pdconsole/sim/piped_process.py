"""A process and its three pipes on an event loop.

asyncio's own subprocesses kill the process when their transport is closed or forgotten; here
nothing but a signal ends it.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections import deque
from collections.abc import Callable, Mapping, Sequence

_READ_BYTES = 1 << 18
_FULL_BYTES = 1 << 20  # of input waiting for the process
_FD_OUT, _FD_ERR = 1, 2


class PipedProcess:
    """`on_output(fd, data)` gets what it says, `on_input_full` whether input should wait for it,
    `on_ended(code)` its return code (negative: the signal) once nobody holds its output open.
    """

    def __init__(
        self,
        argv: Sequence[str],
        cwd: str,
        env: Mapping[str, str],
        *,
        on_output: Callable[[int, bytes], None],
        on_input_full: Callable[[bool], None],
        on_ended: Callable[[int], None],
    ) -> None:
        """Raises OSError where it cannot be run."""
        self._loop = asyncio.get_running_loop()
        self._on_output = on_output
        self._on_input_full = on_input_full
        self._on_ended = on_ended
        self._process = subprocess.Popen(
            argv,
            cwd=cwd,
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,
        )
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        self._outputs = {_FD_OUT: process.stdout, _FD_ERR: process.stderr}
        self._input = process.stdin
        self._pending: deque[bytes] = deque()
        self._pending_bytes = 0
        self._writing = False
        self._input_ends = False
        self._full = False
        for pipe in (*self._outputs.values(), self._input):
            os.set_blocking(pipe.fileno(), False)
        self._pidfd = os.pidfd_open(process.pid)
        self._loop.add_reader(self._pidfd, self._exited)
        self.resume_output()

    def signal_group(self, number: int) -> None:
        """To the process's group; what has left the group is not its own any longer."""
        if self._process.returncode is None:
            os.killpg(self._process.pid, number)

    # --- output ---

    def pause_output(self) -> None:
        for pipe in self._outputs.values():
            self._loop.remove_reader(pipe.fileno())

    def resume_output(self) -> None:
        for fd, pipe in self._outputs.items():
            self._loop.add_reader(pipe.fileno(), self._read, fd)

    def _read(self, fd: int) -> None:
        pipe = self._outputs[fd]
        try:
            data = os.read(pipe.fileno(), _READ_BYTES)
        except BlockingIOError:
            return
        if data:
            self._on_output(fd, data)
        else:
            self._close_output(fd)
            self._maybe_ended()

    def _close_output(self, fd: int) -> None:
        pipe = self._outputs.pop(fd)
        self._loop.remove_reader(pipe.fileno())
        pipe.close()

    # --- input ---

    def write(self, data: bytes) -> None:
        if self._input.closed or self._input_ends:
            return
        self._pending.append(data)
        self._pending_bytes += len(data)
        if not self._writing:
            self._flush()

    def write_eof(self) -> None:
        self._input_ends = True
        if not self._writing:
            self._flush()

    def _flush(self) -> None:
        if self._input.closed:
            return
        try:
            while self._pending:
                data = self._pending[0]
                sent = os.write(self._input.fileno(), data)
                self._pending_bytes -= sent
                if sent == len(data):
                    self._pending.popleft()
                else:
                    self._pending[0] = data[sent:]
        except BlockingIOError:
            self._wait_for_input()
            return
        except BrokenPipeError:
            self._close_input()  # it reads no more
            return
        self._stop_writing()
        self._tell_full(False)
        if self._input_ends:
            self._close_input()

    def _wait_for_input(self) -> None:
        if not self._writing:
            self._writing = True
            self._loop.add_writer(self._input.fileno(), self._flush)
        self._tell_full(self._pending_bytes > _FULL_BYTES)

    def _stop_writing(self) -> None:
        if self._writing:
            self._writing = False
            self._loop.remove_writer(self._input.fileno())

    def _tell_full(self, full: bool) -> None:
        if full != self._full:
            self._full = full
            self._on_input_full(full)

    def _close_input(self) -> None:
        if not self._input.closed:
            self._stop_writing()
            self._input.close()
            self._pending.clear()
            self._tell_full(False)

    # --- the end ---

    def close_pipes(self) -> None:
        """Nobody is there any longer to talk to it; it may go on."""
        self._close_input()
        for fd in list(self._outputs):
            self._close_output(fd)

    def _exited(self) -> None:
        self._loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        self._process.wait()
        self._close_input()
        self._maybe_ended()

    def _maybe_ended(self) -> None:
        if self._process.returncode is not None and not self._outputs:
            self._on_ended(self._process.returncode)
