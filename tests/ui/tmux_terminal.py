"""A terminal that tests type into and look at."""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path

import pytest

WAIT_S = 60.0
NEEDS_TMUX = pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed")


class Tmux:
    """A server of its own, with one window; what runs there has the environment of now."""

    def __init__(self, directory: Path, width: int, height: int, *, name: str = "tmux") -> None:
        self._socket = directory / f"{name}.sock"
        self._run("-f", "/dev/null", "new-session", "-d", "-x", str(width), "-y", str(height), "sh")
        self._open = True
        self._run("set-option", "-g", "remain-on-exit", "on")

    def _run(self, *words: str) -> str:
        done = subprocess.run(
            ["tmux", "-S", str(self._socket), *words], check=True, capture_output=True, text=True
        )
        return done.stdout

    def type(self, text: str) -> None:
        self._run("send-keys", "-l", text)

    def press(self, *keys: str) -> None:
        self._run("send-keys", *keys)

    def resize(self, width: int, height: int) -> None:
        self._run("resize-window", "-x", str(width), "-y", str(height))

    @property
    def screen(self) -> str:
        return self._run("capture-pane", "-p")

    def wait_for(self, *what: str, gone: str = "") -> str:
        """The screen, once all of `what` is on it and `gone` is not."""
        deadline = time.monotonic() + WAIT_S
        while True:
            screen = self.screen
            if all(w in screen for w in what) and not (gone and gone in screen):
                return screen
            assert time.monotonic() < deadline, f"{what} not seen in\n{screen}"
            time.sleep(0.05)

    def close(self) -> None:
        """As a window that is closed, or a connection that is lost."""
        self._run("kill-server")
        self._open = False

    def end(self) -> None:
        if self._open:
            self.close()
