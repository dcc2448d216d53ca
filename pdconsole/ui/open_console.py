"""Open the console on a terminal, and say how it ended."""

from __future__ import annotations

import gc
import os
import sys
from pathlib import Path

from pdconsole import exit_codes


def open_console(
    workspace: Path, *, session: str | None = None, at: float | None = None, speed: float = 1.0
) -> int:
    """The exit code. Returns when the person leaves, or the terminal has gone."""
    # What a key changes may come in two or three frames: they follow each other at this pace.
    os.environ.setdefault("TEXTUAL_FPS", "120")
    from pdconsole.ui.app import ConsoleApp
    from pdconsole.ui.terminal_guard import HUNG_UP, silence_lost_terminal

    quiet_collector()
    app = ConsoleApp(workspace, open_session=session, at=at, speed=speed)
    app.run(mouse=app.settings.mouse)
    if app.return_code == HUNG_UP:
        silence_lost_terminal()
        return HUNG_UP
    if app.crash is not None or app.return_code == exit_codes.CANNOT:
        where = f"; the details are in {app.crash}" if app.crash else ""
        sys.stderr.write(
            f"pdconsole: a fault in the console ended it{where}. "
            "What runs goes on; `pdconsole` opens the console again\n"
        )
    return app.return_code or exit_codes.OK


def quiet_collector() -> None:
    """A full collection looks at every object, tens of ms of them, in the middle of a key.

    What is loaded by now stays for good; what a screen makes is mostly freed by its counts.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 50, 100)


def has_terminal() -> bool:
    """Whether there is a terminal to read keys from and to draw on."""
    if os.environ.get("TERM", "") == "dumb":
        return False
    return all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stdout))
