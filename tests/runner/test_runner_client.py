"""Reaching a workspace's runner: starting one, and Ctrl-C while it is asked to begin."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from pdconsole import __version__
from pdconsole.model.request import PROTOCOL, Call, Reply, RunRequest
from pdconsole.runner import client
from pdconsole.runner.client import RunnerError, begin
from pdconsole.runner.socket_path import socket_path


@pytest.fixture(autouse=True)
def runtime(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = tmp_path_factory.mktemp("r")
    directory.chmod(0o700)
    monkeypatch.setenv("PDCONSOLE_RUNTIME_DIR", str(directory))


class FakeRunner:
    """Answers calls one after the other; `before` is called with each one first."""

    def __init__(self, workspace: Path, before: Callable[[str], str] = lambda _: "") -> None:
        self.calls: list[str] = []
        self._before = before
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(socket_path(workspace)))
        self._listener.listen()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection, connection.makefile("rb") as lines:
                for line in lines:
                    command = msgspec.json.decode(line, type=Call).command
                    self.calls.append(command)
                    error = self._before(command)
                    reply = Reply(error=error, version=__version__, protocol=PROTOCOL)
                    connection.sendall(msgspec.json.encode(reply) + b"\n")

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


RUN = Call(command="run", run=RunRequest(experiment="pd-ratio-sweep"))


@pytest.mark.usefixtures("ctrl_c")
@pytest.mark.parametrize(("refusal", "stopped"), [("", True), ("another one is running", False)])
def test_ctrl_c_while_a_session_is_begun_stops_it_and_no_other(
    tmp_path: Path, refusal: str, stopped: bool
) -> None:
    def interrupt(command: str) -> str:
        if command != "run":
            return ""
        os.kill(os.getpid(), signal.SIGINT)
        return refusal

    runner = FakeRunner(tmp_path, interrupt)
    try:
        with pytest.raises(KeyboardInterrupt if stopped else RunnerError):
            begin(tmp_path, RUN)
    finally:
        runner.close()
    assert runner.calls == ["hello", "run", "stop"] if stopped else ["hello", "run"]


def test_a_runner_that_is_just_ending_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While it still holds the lock, others that are started end at once, with exit code 0."""
    started: list[FakeRunner] = []

    class Ended:
        def poll(self) -> int | None:
            return 0

    def spawn(workspace: Path, _log: Path) -> Ended:
        attempts.append(workspace)
        if len(attempts) == 3:
            started.append(FakeRunner(workspace))
        return Ended()

    attempts: list[Path] = []
    monkeypatch.setattr(client, "_spawn", spawn)
    monkeypatch.setattr(client, "START_TIMEOUT_S", 5.0)
    begin(tmp_path, RUN)
    started[0].close()
    assert started[0].calls == ["run"]
