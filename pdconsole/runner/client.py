"""Talk to a workspace's runner; start it where none runs. Imports model only, so it is quick."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import msgspec

from pdconsole import __version__
from pdconsole.model.request import PROTOCOL, Call, Reply
from pdconsole.runner.socket_path import log_path, socket_path
from pdconsole.runtime_dir import RuntimeDirError

START_TIMEOUT_S = 30.0
CALL_TIMEOUT_S = 120.0

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Reply)


class RunnerError(Exception):
    """The runner refused, is of another version, or could not be reached."""


class RunnerClient:
    """One connection; calls are answered in order."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._file = connection.makefile("rb")

    def call(self, call: Call) -> Reply:
        """Raises RunnerError with the runner's own sentence, or when it is gone."""
        try:
            self._socket.sendall(_encoder.encode(call) + b"\n")
            line = self._file.readline()
        except OSError as e:
            raise RunnerError(f"the runner does not answer ({e}); see `pdconsole sessions`") from e
        if not line:
            raise RunnerError("the runner ended before it answered; see `pdconsole sessions`")
        reply = _decoder.decode(line)
        if reply.error:
            raise RunnerError(reply.error)
        return reply

    def close(self) -> None:
        self._file.close()
        self._socket.close()

    def __enter__(self) -> RunnerClient:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def connect(workspace: Path) -> RunnerClient | None:
    """The running runner of this workspace, or None."""
    try:
        path = socket_path(workspace)
    except RuntimeDirError as e:
        raise RunnerError(str(e)) from e
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(CALL_TIMEOUT_S)
    try:
        connection.connect(str(path))
    except (FileNotFoundError, ConnectionRefusedError):
        connection.close()
        return None
    except OSError as e:
        connection.close()
        raise RunnerError(f"cannot reach the runner at {path}: {e}") from e
    return RunnerClient(connection)


def connect_or_start(workspace: Path) -> RunnerClient:
    """The runner of this workspace and this version, started where none runs."""
    client = connect(workspace)
    if client is not None:
        hello = client.call(Call(command="hello"))
        if hello.version == __version__ and hello.protocol == PROTOCOL:
            return client
        if hello.session:
            client.close()
            raise RunnerError(
                f"a runner of version {hello.version} carries out {hello.session}; "
                f"this is {__version__}. Let it finish, or stop it with the older version"
            )
        client.call(Call(command="shutdown"))
        client.close()
    return _start(workspace)


def begin(workspace: Path, call: Call) -> Reply:
    """Have the workspace's runner carry out `call`, which begins or resumes a session.

    On Ctrl-C meanwhile what was begun is stopped again. For the main thread.
    """
    with connect_or_start(workspace) as client:
        with _first_ctrl_c_kept() as pressed:
            reply = client.call(call)  # raises where it is refused: the session there is not ours
        if pressed:
            client.call(Call(command="stop"))
            raise KeyboardInterrupt
        return reply


@contextlib.contextmanager
def _first_ctrl_c_kept() -> Iterator[list[int]]:
    """What is yielded holds it; a second one is a KeyboardInterrupt at once."""
    kept: list[int] = []

    def keep(number: int, _frame: FrameType | None) -> None:
        if kept:
            raise KeyboardInterrupt
        kept.append(number)

    before = signal.signal(signal.SIGINT, keep)
    try:
        yield kept
    finally:
        signal.signal(signal.SIGINT, before)


def _start(workspace: Path) -> RunnerClient:
    log = log_path(workspace)
    process = _spawn(workspace, log)
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        client = connect(workspace)
        if client is not None:
            return client
        code = process.poll()
        if code == 0:  # another holds the lock: it was quicker, or is just ending
            process = _spawn(workspace, log)
        elif code is not None:
            break
        time.sleep(0.05)
    raise RunnerError(f"the runner did not start; its last words are in {log}")


def _spawn(workspace: Path, log: Path) -> subprocess.Popen[bytes]:
    """In a login session of its own: closing the terminal must not reach it."""
    try:
        with log.open("ab") as output:
            return subprocess.Popen(
                [sys.executable, "-m", "pdconsole.runner", str(workspace)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                cwd=workspace,
            )
    except OSError as e:
        raise RunnerError(f"cannot start the runner, whose log is {log}: {e}") from e
