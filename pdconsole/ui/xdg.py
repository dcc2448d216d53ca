"""The user's directories after the XDG base directory specification."""

from __future__ import annotations

import os
from pathlib import Path


def config_dir() -> Path:
    """`~/.config/pdconsole`: what the user chose."""
    return _dir("XDG_CONFIG_HOME", ".config")


def state_dir() -> Path:
    """`~/.local/state/pdconsole`: what the console wrote: copies, screenshots, crash reports."""
    return _dir("XDG_STATE_HOME", ".local/state")


def _dir(variable: str, default: str) -> Path:
    named = os.environ.get(variable, "")
    # The specification: a relative path is invalid and to be ignored.
    base = Path(named) if named.startswith("/") else Path.home() / default
    return base / "pdconsole"
