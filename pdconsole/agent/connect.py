"""What an ssh connection runs: finds or starts the session's agent, then relays lines to it.

Until the relay begins, what is said on stdout are lines that start with MARK; anything else there
(a login script's banner) is noise.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from typing import Any, Dict, List

from pdconsole.agent import leftovers, paths
from pdconsole.agent.protocol import AgentError

MARK = "pdconsole-node "
# An agent that is ending, or that adopts, is waited for.
PATIENCE_S = 60.0
# Of the connection that started the agent, not of the agent.
SCRUBBED = ("SSH_AUTH_SOCK", "SSH_CLIENT", "SSH_CONNECTION", "SSH_TTY")


def main(argv: List[str]) -> int:
    options = json.loads(argv[0])
    try:
        options["work_dir"] = os.path.realpath(paths.private_dir(options["work_dir"]))
        directory = paths.private_dir(paths.session_dir(options["work_dir"], options["session"]))
        connection = _reach(options, directory)
    except AgentError as error:
        _say({"fatal": {"kind": error.kind, "message": error.sentence}})
        return 1
    except OSError as error:
        path = str(error.filename or options["work_dir"])
        refusal = paths.disk_error(path, error)
        _say({"fatal": {"kind": refusal.kind, "message": refusal.sentence}})
        return 1
    _say({"ready": True})
    _relay(connection)
    return 0


def _say(message: Dict[str, Any]) -> None:
    sys.stdout.write(f"{MARK}{json.dumps(message)}\n")
    sys.stdout.flush()


def _reach(options: Dict[str, Any], directory: str) -> socket.socket:
    until = time.monotonic() + PATIENCE_S
    while True:
        connection = paths.connect(os.path.join(directory, "socket"), timeout_s=5.0)
        if connection is not None:
            connection.settimeout(None)
            return connection
        said = _start_agent(options, directory)
        if said not in ("ready", "held"):
            raise AgentError(
                "agent",
                f"the agent died at its start: {said or 'it left no word'}; "
                f"see {directory}/agent.log on the node",
            )
        if time.monotonic() > until:
            pid = leftovers.agents(options["work_dir"]).get(options["session"], "?")
            raise AgentError(
                "agent",
                f"the agent of this session (pid {pid}) does not take connections; "
                "kill it on the node, then try again",
            )
        if said == "held":
            time.sleep(0.2)


def _start_agent(options: Dict[str, Any], directory: str) -> str:
    """Starts an agent in a login session of its own; returns its first word."""
    said, ready_fd = os.pipe()
    log_path = os.path.join(directory, "agent.log")
    log_fd = os.open(log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    began = os.fstat(log_fd).st_size
    words = [sys.executable, "-I", os.path.abspath(sys.argv[0]), "agent"]
    spec = json.dumps({**options, "ready_fd": ready_fd})
    env = {
        name: value
        for name, value in os.environ.items()
        if name not in SCRUBBED and not name.startswith(("PDCONSOLE_TOKEN", "PDCONSOLE_SESSION"))
    }
    starter = os.fork()
    if starter == 0:  # this one goes at once, so that the agent is nobody's child here
        subprocess.Popen(
            [*words, spec],
            pass_fds=[ready_fd],
            stdin=subprocess.DEVNULL,
            stdout=log_fd,
            stderr=log_fd,
            start_new_session=True,
            cwd="/",
            env=env,
        )
        os._exit(0)
    os.waitpid(starter, 0)
    os.close(ready_fd)
    with open(said, encoding="utf-8", errors="replace") as words_of_agent:
        word = words_of_agent.readline().strip()
    os.close(log_fd)
    return word or _last_words(log_path, began)


def _last_words(path: str, offset: int) -> str:
    with open(path, encoding="utf-8", errors="replace") as file:
        file.seek(offset)
        lines = [line.strip() for line in file if line.strip()]
    return lines[-1] if lines else ""


def _relay(connection: socket.socket) -> None:
    """Bytes both ways until either side ends."""

    def inward() -> None:
        _pump(0, connection.fileno())
        _shut(connection)

    threading.Thread(target=inward, daemon=True).start()
    _pump(connection.fileno(), 1)


def _pump(source: int, sink: int) -> None:
    """Until the source ends, or either side breaks."""
    try:
        while True:
            data = os.read(source, 1 << 16)
            if not data:
                return
            while data:
                data = data[os.write(sink, data) :]
    except OSError:
        return


def _shut(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_WR)
    except OSError:
        return
