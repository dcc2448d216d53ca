"""The installed command in a workspace of its own, with a runner and embedded nodes of its own."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import yaml

from pdconsole.model import events as ev
from pdconsole.profiles import shipped_profiles

T = TypeVar("T")


class Console:
    """`pdconsole` run as its users run it: a process, a workspace, an environment."""

    def __init__(self, root: Path) -> None:
        self.workspace = root / "w"
        self.runtime = root / "r"
        for path in (self.workspace, self.runtime):
            path.mkdir(mode=0o700)
        self.env = {**os.environ, "PDCONSOLE_RUNTIME_DIR": str(self.runtime), "COLUMNS": "120"}
        self.env.pop("PDCONSOLE_WORKSPACE", None)

    def start(self, *words: str, **how: Any) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "pdconsole", *words],
            cwd=self.workspace,
            env=self.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
            **how,
        )

    def run(self, *words: str, timeout_s: float = 240.0) -> subprocess.CompletedProcess[str]:
        process = self.start(*words)
        try:
            out, err = process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
        return subprocess.CompletedProcess(words, process.returncode, out, err)

    def change(self, kind: str, name: str, **fields: Any) -> None:
        """A profile of the workspace in place of the shipped one, which differs in `fields`."""
        shipped = shipped_profiles() / kind / f"{name}.yaml"
        profile = {**yaml.safe_load(shipped.read_text()), **fields}
        path = self.workspace / "profiles" / kind / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump(profile))

    def profile(self, kind: str, name: str) -> dict[str, Any]:
        """As it was changed, else as shipped."""
        path = self.workspace / "profiles" / kind / f"{name}.yaml"
        if not path.exists():
            path = shipped_profiles() / kind / f"{name}.yaml"
        found: dict[str, Any] = yaml.safe_load(path.read_text())
        return found

    def small_requests(self) -> None:
        """A tenth of the main job's lengths, for tests that look at anything but numbers."""
        self.change("workloads", "itl5000-otl250", input_len=500, output_len=25)

    # --- what was recorded ---

    def session(self) -> Path:
        """The newest session directory."""
        return max((self.workspace / "sessions").glob("2*"), key=lambda p: p.name)

    def events(self) -> list[ev.Event]:
        lines = (self.session() / "events.jsonl").read_bytes().split(b"\n")
        return [e for line in lines[:-1] if (e := ev.decode(line)) is not None]

    def wait_for(self, what: Callable[[list[ev.Event]], T | None], timeout_s: float = 90.0) -> T:
        """What `what` finds in the recording, as soon as it finds it."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            try:
                found = what(self.events())
            except (ValueError, FileNotFoundError):
                found = None  # no session yet
            if found:
                return found
            time.sleep(0.1)
        raise AssertionError(f"not seen within {timeout_s} s; {self.tail()}")

    def tail(self) -> str:
        lines = [repr(e)[:300] for e in self.events()[-5:]]
        logs = [p.read_text()[-2000:] for p in self.runtime.rglob("*.log")]
        return "\n".join(lines + logs)

    # --- what runs ---

    def ours(self) -> dict[int, str]:
        """Every process started on this console's nodes: pid -> token."""
        found = {}
        for pid, env in environments():
            token = env.get("PDCONSOLE_TOKEN")
            if token and str(self.runtime) in env.get("HOME", "") + env.get(
                "PDCONSOLE_SIM_NODE_DIR", ""
            ):
                found[pid] = token
        return found

    def runner_pid(self) -> int:
        opened = [e for e in self.events() if isinstance(e, ev.EpochOpened)]
        return opened[-1].pid

    def end(self) -> None:
        """Runner and nodes of this console; both are found by our runtime directory."""
        self.run("stop", "--now", timeout_s=30)
        for pid, env in environments():
            if env.get("PDCONSOLE_RUNTIME_DIR") == str(self.runtime) or str(
                self.runtime
            ) in env.get("HOME", ""):
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue


@contextlib.contextmanager
def own_console() -> Iterator[Console]:
    """A console that is ended, in a directory that goes with it."""
    # A short path: UNIX sockets hold 108 bytes.
    root = Path(tempfile.mkdtemp(prefix="pdc-"))
    made = Console(root)
    try:
        yield made
    finally:
        made.end()
        shutil.rmtree(root, ignore_errors=True)


def environments() -> Iterator[tuple[int, dict[str, str]]]:
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            raw = (entry / "environ").read_bytes()
        except OSError:
            continue
        pairs = (item.partition("=") for item in raw.decode(errors="replace").split("\0") if item)
        yield int(entry.name), {key: value for key, _, value in pairs}
