"""A simulated node without ssh: the zipapp's `connect` over pipes, in a HOME of its own."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pdconsole.remote.archive import agent_archive

Message = dict[str, Any]
PATIENCE_S = 30.0


def pythons() -> list[str]:
    """This Python, and the oldest one that nodes may have, where it is installed."""
    oldest = shutil.which("python3.9")
    usable = oldest and subprocess.run([oldest, "-c", ""], capture_output=True).returncode == 0
    return [sys.executable, *([oldest] if oldest and usable else [])]


def until(condition: Callable[[], Any], what: str) -> Any:
    """The condition's first true value; fails loudly, it is no timing assertion."""
    give_up = time.monotonic() + PATIENCE_S
    while not (value := condition()):
        if time.monotonic() > give_up:
            raise AssertionError(f"not within {PATIENCE_S:g} s: {what}")
        time.sleep(0.02)
    return value


def alive(pid: int) -> bool:
    """A zombie is dead."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return False
    return stat[stat.rfind(b")") + 2 :][:1] not in (b"Z", b"X")


def carriers(token: str, work_dir: Path) -> list[int]:
    """Processes with this token, found without the code under test."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and alive(int(entry.name)):
            with contextlib.suppress(OSError):
                words = (entry / "environ").read_bytes().split(b"\0")
                mine = f"PDCONSOLE_WORK_DIR={work_dir}".encode() in words
                if mine and f"PDCONSOLE_TOKEN={token}".encode() in words:
                    found.append(int(entry.name))
    return found


class Client:
    """One connection: requests with answers; news are collected."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self._answers: queue.Queue[Message] = queue.Queue()
        self._count = 0
        self.news: list[Message] = []
        self.closed = False
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            message = json.loads(line)
            if "news" in message:
                self.news.append(message)
            else:
                self._answers.put(message)
        self.closed = True

    def ask(self, op: str, **fields: Any) -> Message:
        """The whole answer: {"ok": ...} or {"error": ...}."""
        assert self._process.stdin is not None
        self._count += 1
        self._process.stdin.write(json.dumps({"id": self._count, "op": op, **fields}).encode())
        self._process.stdin.write(b"\n")
        self._process.stdin.flush()
        answer = self._answers.get(timeout=PATIENCE_S)
        assert answer["id"] == self._count
        return answer

    def ok(self, op: str, **fields: Any) -> Message:
        answer = self.ask(op, **fields)
        assert "ok" in answer, answer
        return answer["ok"]

    def error(self, op: str, **fields: Any) -> Message:
        answer = self.ask(op, **fields)
        assert "error" in answer, answer
        return answer["error"]

    def hello(self, *, lease_s: float = 60.0, client: str = "test", **fields: Any) -> Message:
        whole = {"follows": [], "running": [], "watch": {}, "lease_policy": "kill", **fields}
        return self.ok("hello", protocol=1, client=client, lease_s=lease_s, **whole)

    def start(self, token: str, *argv: str, **fields: Any) -> Message:
        return self.ok("start", **start_request(token, *argv, **fields))

    def log(self, token: str, name: str = "log") -> bytes:
        """What was followed so far, checked to be without gap or repeat."""
        chunks = [n for n in self.news if n["news"] == "bytes" and n["name"] == name]
        data = b""
        for chunk in [c for c in chunks if c["token"] == token]:
            if not data:
                first = chunk["offset"]
            assert chunk["offset"] == first + len(data)
            data += base64.b64decode(chunk["data"])
        return data

    def end_of(self, token: str) -> Message:
        """Waits for the news of the process's end."""

        def told() -> list[Message]:
            ends = [n["info"] for n in self.news if n["news"] == "process"]
            return [info for info in ends if info["token"] == token]

        info: Message = until(told, f"the end of {token} is told")[0]
        return info

    def kill(self) -> None:
        """As when the ssh connection breaks."""
        self._process.kill()
        self._process.wait()


def start_request(token: str, *argv: str, **fields: Any) -> Message:
    whole = {"env": {}, "slots": [], "files": {}, "records": False, "nonce": os.urandom(8).hex()}
    return {"token": token, "session": "s", "argv": list(argv), **whole, **fields}


class Node:
    def __init__(self, home: Path, python: str) -> None:
        self.home = home
        self.python = python
        self.work_dir = home / ".pdconsole"
        self.archive = home / "agent.pyz"
        self.archive.write_bytes(agent_archive().data)
        self.env: dict[str, str] = {"PDCONSOLE_SIM_NODE_DIR": str(home)}
        self._clients: list[Client] = []

    def connect(self, session: str = "s", **options: Any) -> Client:
        process = self.launch(session, **options)
        assert process.stdout is not None
        first = process.stdout.readline()
        assert b'"ready": true' in first, first
        client = Client(process)
        self._clients.append(client)
        return client

    def launch(self, session: str, **options: Any) -> subprocess.Popen[bytes]:
        spec = {
            "session": session,
            "work_dir": str(self.work_dir),
            "lease_s": 60,
            "lease_policy": "kill",
            "adopt_grace_s": 30,
            "end_grace_s": 0.5,
            "lock_dir": "",
            **options,
        }
        return subprocess.Popen(
            [self.python, "-I", str(self.archive), "connect", json.dumps(spec)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "HOME": str(self.home), **self.env},
        )

    def session_dir(self, session: str = "s") -> Path:
        for path in self.work_dir.glob("*/sessions/*/lock"):
            if json.loads(path.read_text() or "{}").get("session") == session:
                return path.parent
        raise AssertionError(f"no session {session}")

    def agent_pid(self, session: str = "s") -> int:
        return int(json.loads((self.session_dir(session) / "lock").read_text())["pid"])

    def kill_agent(self, session: str = "s") -> None:
        pid = self.agent_pid(session)
        os.kill(pid, signal.SIGKILL)
        until(lambda: not alive(pid), "the agent is dead")

    def clean_up(self) -> None:
        """Nothing of the test survives it."""
        for client in self._clients:
            client.kill()
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError):
                    if str(self.home).encode() in (entry / "environ").read_bytes():
                        os.kill(int(entry.name), signal.SIGKILL)


@contextlib.contextmanager
def running_node(home: Path, python: str = sys.executable) -> Iterator[Node]:
    home.mkdir(parents=True, exist_ok=True)
    node = Node(home, python)
    try:
        yield node
    finally:
        node.clean_up()
