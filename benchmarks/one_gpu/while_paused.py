"""Runs a command on the servers of a session: `python while_paused.py WORKSPACE EXPERIMENT CMD...`.

The session is begun, and paused while it deploys its first layout, so that it holds before the
first point. Then the command runs; then the session goes on with its points, to its end. What the
command measured and what the session measured come from the same servers.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from pdconsole.model import events as ev

STARTED_S = 120.0
DEPLOYED_S = 420.0
SESSION_S = 420.0
ENDED = ("finished", "failed", "stopped")


def events(session: Path) -> list[ev.Event]:
    lines = (session / "events.jsonl").read_bytes().split(b"\n")[:-1]
    return [event for line in lines if (event := ev.decode(line)) is not None]


def until(session: Path, wanted: Callable[[list[ev.Event]], bool], limit_s: float) -> None:
    """Ends this program where the layout or the session ends before, or time is up."""
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        found = events(session)
        for event in found:
            if isinstance(event, ev.RunState) and event.status == "failed":
                sys.exit(f"the layout failed: {event.message}")
            if isinstance(event, ev.SessionState) and event.status in ENDED:
                sys.exit(f"the session ended: {event.message}")
        if wanted(found):
            return
        time.sleep(0.5)
    sys.exit(f"waited {limit_s:g} s for the session")


def launching(found: list[ev.Event]) -> bool:
    return any(isinstance(event, ev.RunState) and event.status == "launching" for event in found)


def held_before_a_point(found: list[ev.Event]) -> bool:
    is_ready = False
    for event in found:
        if isinstance(event, ev.RunState) and event.status == "ready":
            is_ready = True
        elif isinstance(event, ev.SessionState) and event.status == "paused" and is_ready:
            return True
    return False


def main() -> None:
    workspace, experiment, *command = sys.argv[1:]
    console = [sys.executable, "-m", "pdconsole", "-w", workspace]
    begun = subprocess.run(
        [*console, "run", experiment, "--detach", "--json"],
        check=True,
        capture_output=True,
        text=True,
    )
    session = Path(json.loads(begun.stdout)["path"])
    code = 1
    try:
        # Paused earlier it would hold before the layout, without a server.
        until(session, launching, STARTED_S)
        subprocess.run([*console, "pause"], check=True)
        until(session, held_before_a_point, DEPLOYED_S)
        code = subprocess.run(command, check=False).returncode
        subprocess.run([*console, "resume"], check=True)
        watched = subprocess.run(
            [*console, "watch", "--plain", session.name], check=False, timeout=SESSION_S
        )
        code = code or watched.returncode
    finally:
        if code:
            subprocess.run([*console, "stop"], check=False)
    sys.exit(code)


if __name__ == "__main__":
    main()
