"""The directory of one session, and the list of a workspace's sessions."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import msgspec

from pdconsole.journal.clock import SYSTEM_CLOCK, Clock
from pdconsole.journal.errors import JournalError
from pdconsole.journal.files import replace_file, sync_directory, write_error
from pdconsole.journal.reader import JournalTail, last_line, read_header
from pdconsole.model.events import SessionOpened, SessionStatus

SESSIONS = "sessions"
META = "session.yaml"
EVENTS = "events.jsonl"
LOCK = ".runner.lock"

# In these a runner must be alive; if none is, the session broke off.
ALIVE: frozenset[str] = frozenset({"starting", "running", "paused", "stopping"})
_STATUSES: frozenset[str] = ALIVE | {"finished", "failed", "stopped", "broken-off"}

# A list of sessions tests each lock for an instant; a runner that meets that tries again.
_LOCK_TRIES = 5
_LOCK_PAUSE_S = 0.02


class SessionDir:
    """`<workspace>/sessions/<utc stamp>_<experiment>/` and the paths in it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def create(cls, workspace: Path, experiment: str, clock: Clock = SYSTEM_CLOCK) -> SessionDir:
        """Make a new directory, never one that exists. Raises JournalError if it cannot."""
        stamp = datetime.fromtimestamp(clock.wall(), UTC).strftime("%Y%m%dT%H%M%SZ")
        name = f"{stamp}_{re.sub(r'[^A-Za-z0-9._-]+', '-', experiment)}"
        sessions = workspace / SESSIONS
        try:
            sessions.mkdir(parents=True, exist_ok=True)
            path = _make_unused(sessions, name)
            for part in ("series", "logs"):
                (path / part).mkdir()
            sync_directory(sessions)
        except OSError as e:
            raise write_error(sessions / name, e) from e
        return cls(path)

    @classmethod
    def open(cls, path: Path) -> SessionDir:
        """An existing one. Raises JournalError if there is no session at `path`."""
        if not ((path / EVENTS).is_file() or (path / META).is_file()):
            raise JournalError(f"no session at {path}; `pdconsole sessions` lists those there are")
        return cls(path)

    @classmethod
    def find(cls, workspace: Path, name: str = "") -> SessionDir:
        """By its name, any unambiguous piece of it, or a path; without a name the newest.

        Raises JournalError that says which there are.
        """
        if "/" in name:
            return cls.open(Path(name))
        names = sorted(path.name for path in _session_paths(workspace))
        found = [n for n in names if n == name] or [n for n in names if name in n]
        if not name:
            found = names[-1:]
        if len(found) == 1:
            return cls(workspace / SESSIONS / found[0])
        if not names:
            raise JournalError(
                f"no sessions in {workspace / SESSIONS}; `pdconsole run EXPERIMENT` makes one"
            )
        what = "is more than one session" if found else "is no session"
        raise JournalError(f"`{name}` {what}; choose from: {', '.join((found or names)[-8:])}")

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def events_path(self) -> Path:
        return self.path / EVENTS

    @property
    def meta_path(self) -> Path:
        return self.path / META

    @property
    def series_path(self) -> Path:
        return self.path / "series" / "series.bin"

    @property
    def keyframes_path(self) -> Path:
        return self.path / "keyframes.bin"

    def serve_config_path(self, run: str) -> Path:
        """What Ray Serve was given for a run: `serve deploy` takes it by hand."""
        return self.path / "serve" / f"{run}.yaml"

    def log_path(self, node: str, process: str, run: str = "") -> Path:
        """`logs/<node>/<run>-<process>.log`: `P1` of one run is not the `P1` of the next."""
        name = f"{run}-{process}.log" if run else f"{process}.log"
        for part in (node, name):
            if "/" in part or part.startswith("."):
                raise ValueError(f"not a name for a file: {part!r}")
        return self.path / "logs" / node / name

    def write_meta(self, meta: Mapping[str, Any]) -> None:
        """Replace session.yaml. Raises JournalError; the old file then stays."""
        import yaml

        text = yaml.safe_dump(dict(meta), sort_keys=False, allow_unicode=True, width=100)
        replace_file(self.meta_path, text.encode())

    def read_meta(self) -> dict[str, Any]:
        """session.yaml. Raises JournalError when there is none, or it is no mapping."""
        import yaml

        try:
            meta = yaml.safe_load(self.meta_path.read_text("utf-8"))
        except OSError as e:
            raise JournalError(f"cannot read {self.meta_path}: {e.strerror}") from e
        except (yaml.YAMLError, UnicodeDecodeError) as e:
            raise JournalError(f"{self.meta_path} is damaged: {e}") from e
        if not isinstance(meta, dict):
            raise JournalError(f"{self.meta_path} is damaged: it holds no mapping")
        return cast("dict[str, Any]", meta)

    def write_status(self, status: SessionStatus, message: str = "") -> None:
        """Change the status in session.yaml and leave the rest."""
        self.write_meta({**self.read_meta(), "status": status, "message": message})

    @contextlib.contextmanager
    def hold(self) -> Iterator[None]:
        """Be the runner of this session; the lock goes with the process, however it ends.

        Raises JournalError when another process is.
        """
        path = self.path / LOCK
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as e:
            raise write_error(path, e) from e
        try:
            if not _lock(fd):
                holder = os.pread(fd, 32, 0).decode("ascii", "replace").strip()
                raise JournalError(
                    f"{self.name} is being carried out by process {holder}; "
                    "watch it with `pdconsole watch`, end it with `pdconsole stop`"
                )
            os.ftruncate(fd, 0)
            os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
            yield
        finally:
            os.close(fd)

    def is_held(self) -> bool:
        """Whether a runner is carrying out this session."""
        try:
            fd = os.open(self.path / LOCK, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(fd)
        return False


class SessionSummary(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a list of sessions. `problem` says what could not be read."""

    name: str
    path: str
    status: SessionStatus
    message: str = ""
    experiment: str = ""
    question: str = ""
    cluster: str = ""
    model: str = ""
    simulated: bool = False
    layouts: tuple[str, ...] = ()  # slugs, each once, in their order
    started_wall: float | None = None
    duration_s: float | None = None  # from its start to its last event
    size_bytes: int = 0
    problem: str = ""


def list_sessions(workspace: Path) -> list[SessionSummary]:
    """The sessions of a workspace, the newest first."""
    paths = sorted(_session_paths(workspace), key=lambda p: p.name, reverse=True)
    return [summarize(SessionDir(path)) for path in paths]


def summarize(session: SessionDir) -> SessionSummary:
    """What a list says about a session. Damage is told in `problem`, never raised."""
    found: dict[str, Any] = {}
    problems: list[str] = []
    try:
        found |= _from_events(session.events_path)
    except (JournalError, OSError) as e:
        problems.append(str(e))
    status: str = "starting"
    try:
        meta = session.read_meta()
        status = str(meta.get("status", status))
        found["message"] = str(meta.get("message", ""))
    except JournalError as e:
        problems.append(str(e))
    if status not in _STATUSES or (status in ALIVE and not session.is_held()):
        status = "broken-off"
    return SessionSummary(
        name=session.name,
        path=str(session.path),
        status=cast("SessionStatus", status),
        size_bytes=sum(f.stat().st_size for f in session.path.rglob("*") if f.is_file()),
        problem="; ".join(problems),
        **found,
    )


def _from_events(path: Path) -> dict[str, Any]:
    """What the first and the last lines of a recording say."""
    with JournalTail(path, chunk=1 << 16) as tail:
        first = tail.poll()
    last = last_line(path)
    if not first or last is None:
        return {}
    header = read_header(path)
    found: dict[str, Any] = {
        "started_wall": header.wall - header.t,
        "duration_s": last[0].t,
    }
    opened = next((e for e in first if isinstance(e, SessionOpened)), None)
    if opened is not None:
        found |= {
            "experiment": opened.experiment,
            "question": opened.question,
            "cluster": opened.cluster,
            "model": opened.model,
            "simulated": opened.simulated,
            "layouts": tuple(dict.fromkeys(run.layout for run in opened.runs)),
        }
    return found


def _session_paths(workspace: Path) -> Iterator[Path]:
    sessions = workspace / SESSIONS
    if not sessions.is_dir():
        return
    for path in sessions.iterdir():
        if not path.name.startswith(".") and ((path / EVENTS).exists() or (path / META).exists()):
            yield path


def _make_unused(parent: Path, name: str) -> Path:
    number = 1
    while True:
        path = parent / (name if number == 1 else f"{name}_{number}")
        try:
            path.mkdir()
        except FileExistsError:
            number += 1
            continue
        return path


def _lock(fd: int) -> bool:
    for _ in range(_LOCK_TRIES):
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(_LOCK_PAUSE_S)
            continue
        return True
    return False
