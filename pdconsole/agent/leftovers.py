"""What pdconsole of this user left on this node, of any session under this work directory."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import time
from typing import Dict, List, Optional, Sequence

from pdconsole.agent import paths, sweep
from pdconsole.agent.protocol import AgentError, Message

AGENT_END_S = 60.0
AGENT = "/agent"  # an agent is named by its session and this


def take_session_lock(directory: str, session: str) -> Optional[int]:
    """The descriptor that makes this process the one agent of the session; None if there is one."""
    path = os.path.join(directory, "lock")
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    text = json.dumps({"session": session, "pid": os.getpid()})
    os.ftruncate(fd, 0)
    os.pwrite(fd, text.encode(), 0)
    return fd


def agents(work_dir: str) -> Dict[str, int]:
    """Live agents by session: their pids."""
    root = os.path.join(paths.node_dir(work_dir), "sessions")
    found = {}
    for name in os.listdir(root) if os.path.isdir(root) else []:
        path = os.path.join(root, name, "lock")
        if _is_held(path):
            holder = paths.read_json(path) or {}
            if "session" in holder:
                found[str(holder["session"])] = int(holder["pid"])
    return found


def _is_held(path: str) -> bool:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def find(work_dir: str, own_session: str) -> List[Message]:
    """One row a token that somebody carries, and one an agent of another session."""
    alive = agents(work_dir)
    rows: Dict[str, Message] = {}
    now = time.clock_gettime(time.CLOCK_BOOTTIME)
    skew = time.monotonic() - now
    ticks = os.sysconf("SC_CLK_TCK")
    for process in sweep.carriers(lambda variables: variables.get(sweep.WORK_DIR) == work_dir):
        variables = sweep.environment(process.pid)
        token = variables.get(sweep.TOKEN, "")
        if not token:
            continue  # gone meanwhile
        session = variables.get(sweep.SESSION, "")
        row = rows.setdefault(token, _row(token, session, session in alive))
        row["pids"].append(process.pid)
        started = process.start / ticks + skew
        if not row["pid"] or started < row["started_node_t"]:
            row["pid"], row["started_node_t"] = process.pid, started
    for session, pid in alive.items():
        if session != own_session:
            token = session + AGENT
            rows[token] = {**_row(token, session, True), "pid": pid, "pids": [pid]}
    return [rows[token] for token in sorted(rows)]


def _row(token: str, session: str, supervised: bool) -> Message:
    pids: List[int] = []
    return {
        "token": token,
        "session": session,
        "pid": 0,
        "state": "running",
        "started_node_t": 0.0,
        "pids": pids,
        "supervised": supervised,
    }


def clean(work_dir: str, tokens: Sequence[str], grace_s: float) -> None:
    """Ends agents first, which end what is theirs, then all that carries one of the tokens."""
    alive = agents(work_dir)
    for token in tokens:
        session = token[: -len(AGENT)] if token.endswith(AGENT) else ""
        if session in alive:
            _end_agent(work_dir, session, alive[session])
    left = sweep.end(sweep.of_tokens(tokens, work_dir), grace_s)
    if left:
        names = ", ".join(f"{p.pid} ({p.name})" for p in left)
        raise AgentError(
            "stuck",
            f"these processes do not die after KILL: {names}; they hang in the kernel, "
            "look at dmesg there, the node may need a reboot",
        )


def _end_agent(work_dir: str, session: str, pid: int) -> None:
    process = sweep.look(pid)
    if process is not None:
        sweep.send(process, signal.SIGTERM)
    until = time.monotonic() + AGENT_END_S
    while _is_held(os.path.join(paths.session_dir(work_dir, session), "lock")):
        if time.monotonic() > until:
            raise AgentError(
                "stuck", f"the agent of session {session} (pid {pid}) does not end; kill it there"
            )
        time.sleep(0.1)


def prune(work_dir: str, archive: str, older_than_s: float) -> None:
    """Removes what sessions long over left in the work directory, and zipapps long unused."""

    def is_old(path: str) -> bool:
        return time.time() - os.stat(path).st_mtime > older_than_s

    folder, own = os.path.split(archive)
    for name in os.listdir(folder):
        path = os.path.join(folder, name)
        if name.startswith("agent-") and name != own and is_old(path):
            os.unlink(path)
    root = os.path.join(paths.node_dir(work_dir), "sessions")
    for name in os.listdir(root):
        path = os.path.join(root, name)
        if is_old(path) and not _is_held(os.path.join(path, "lock")):
            shutil.rmtree(path, ignore_errors=True)
