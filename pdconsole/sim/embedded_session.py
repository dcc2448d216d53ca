"""One command on a simulated node: an ssh session whose ends are the pipes of a real process.

As with a real sshd, a lost connection closes the pipes and kills nothing, and the session lasts
until the command has ended and nobody holds its output open.
"""

from __future__ import annotations

import signal
from collections.abc import Mapping
from typing import Any

import asyncssh

from pdconsole.sim.piped_process import PipedProcess

_STDOUT = 1

# Of `asyncssh.listen`, for a server of such sessions: commands by key alone, bytes as they are.
SERVER_OPTIONS: Mapping[str, Any] = {
    "encoding": None,
    "compression_algs": None,
    "allow_pty": False,
    "allow_scp": False,
    "agent_forwarding": False,
    "x11_forwarding": False,
    "gss_host": None,
    "password_auth": False,
    "kbdint_auth": False,
    "keepalive_interval": 15,
    "login_timeout": 30,
}


class CommandSession(asyncssh.SSHServerSession[bytes]):
    """Runs what the client asks for by `/bin/sh -c`."""

    def __init__(self, cwd: str, env: Mapping[str, str]) -> None:
        self._cwd = cwd
        self._env = env
        self._command: str | None = None
        self._channel: asyncssh.SSHServerChannel[bytes] | None = None
        self._process: PipedProcess | None = None

    # --- of the ssh channel ---

    def connection_made(self, chan: asyncssh.SSHServerChannel[bytes]) -> None:
        self._channel = chan

    def shell_requested(self) -> bool:
        return True

    def exec_requested(self, command: str) -> bool:
        self._command = command
        return True

    def session_started(self) -> None:
        argv = ["/bin/sh"] if self._command is None else ["/bin/sh", "-c", self._command]
        try:
            self._process = PipedProcess(
                argv,
                self._cwd,
                self._env,
                on_output=self._output,
                on_input_full=self._input_full,
                on_ended=self._ended,
            )
        except OSError as error:
            assert self._channel is not None
            self._channel.write_stderr(f"cannot run a command: {error}\n".encode())
            self._channel.exit(127)

    def data_received(self, data: bytes, datatype: asyncssh.DataType) -> None:
        if self._process is not None:
            self._process.write(data)

    def eof_received(self) -> bool:
        if self._process is not None:
            self._process.write_eof()
        return True  # the output goes on

    def signal_received(self, signal: str) -> None:
        self._signal(signal)

    def _signal(self, name: str) -> None:
        number = getattr(signal, f"SIG{name}", None)
        if number is not None and self._process is not None:
            self._process.signal_group(number)

    def pause_writing(self) -> None:
        """The client does not keep up."""
        if self._process is not None:
            self._process.pause_output()

    def resume_writing(self) -> None:
        if self._process is not None:
            self._process.resume_output()

    def connection_lost(self, exc: Exception | None) -> None:
        self._channel = None
        if self._process is not None:
            self._process.close_pipes()

    # --- of the process ---

    def _output(self, fd: int, data: bytes) -> None:
        if self._channel is None:
            return
        if fd == _STDOUT:
            self._channel.write(data)
        else:
            self._channel.write_stderr(data)

    def _input_full(self, full: bool) -> None:
        if self._channel is None:
            return
        if full:
            self._channel.pause_reading()
        else:
            self._channel.resume_reading()

    def _ended(self, code: int) -> None:
        self._process = None
        if self._channel is None:
            return
        if code < 0:
            self._channel.exit_with_signal(signal.Signals(-code).name.removeprefix("SIG"))
        else:
            self._channel.exit(code)
