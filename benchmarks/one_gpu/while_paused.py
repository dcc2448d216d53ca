"""Runs a command on the servers of a session: `python while_paused.py WORKSPACE EXPERIMENT CMD...`.

The session is begun and paused at once, so that it deploys its first layout and holds before the
first point. Then the command runs; then the session goes on with its points, to its end. What the
command measured and what the session measured come from the same servers.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

from pdconsole.model import events as ev

DEPLOYED_S = 420.0
SESSION_S = 420.0


def events(session: Path) -> list[ev.Event]:
    lines = (session / "events.jsonl").read_bytes().split(b"\n")[:-1]
    return [event for line in lines if (event := ev.decode(line)) is not None]


def until_paused(session: Path) -> None:
    """Told once when it is asked for, and again when the session holds before a point."""
    deadline = time.monotonic() + DEPLOYED_S
    while time.monotonic() < deadline:
        ready = False
        for event in events(session):
            if isinstance(event, ev.RunState):
                if event.status == "failed":
                    sys.exit(f"the layout failed: {event.message}")
                ready = ready or event.status == "ready"
            elif isinstance(event, ev.SessionState):
                if event.status in ("finished", "failed", "stopped"):
                    sys.exit(f"the session ended: {event.message}")
                if ready and event.status == "paused":
                    return
        time.sleep(0.5)
    sys.exit(f"not deployed within {DEPLOYED_S:g} s")


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
        subprocess.run([*console, "pause"], check=True)
        until_paused(session)
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
