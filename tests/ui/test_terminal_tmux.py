"""The console in tmux, as its users have it: keys go in, a screen comes out."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from console_case import a_workspace
from tmux_terminal import NEEDS_TMUX, Tmux

pytestmark = [pytest.mark.slow, pytest.mark.system, NEEDS_TMUX]


@pytest.fixture
def tmux(tmp_path: Path) -> Iterator[Tmux]:
    made = Tmux(tmp_path, 120, 40)
    yield made
    made.end()


def test_open_walk_the_screens_and_quit(tmux: Tmux, tmp_path: Path) -> None:
    workspace = a_workspace(tmp_path / "w")
    tmux.press(f"{sys.executable} -m pdconsole -w {workspace}; echo left with $?", "Enter")
    tmux.wait_for("20270115T080000Z_pd-ratio-sweep", "D1 did not start")
    tmux.press("j", "Enter")
    tmux.wait_for("TTFT", "END", "pd-ratio-sweep  ● finished SIM")
    tmux.press("6")
    tmux.wait_for("9 lines", r"\x1b[31mred\x1b[0m [bold]not bold[/bold]")
    tmux.type("/failed")
    tmux.press("Enter")
    tmux.wait_for("search `failed`", "line 5")
    tmux.press("7")
    tmux.wait_for("✗ fail 1", "start chrony")
    tmux.press("5")
    tmux.wait_for("tok/s/GPU ↑ against median TPOT", "1P-TP2 + 2D-TP2")
    tmux.press("?")
    tmux.wait_for("Help", "esc closes")
    tmux.press("Escape")
    tmux.wait_for("4 points", gone="esc closes")
    tmux.resize(70, 20)
    tmux.wait_for("is too small")
    tmux.resize(80, 24)
    tmux.wait_for("4 points", gone="is too small")
    tmux.press("C-z")
    tmux.wait_for("Stopped", gone="4 points")
    tmux.type("fg")
    tmux.press("Enter")
    tmux.wait_for("4 points")
    tmux.press("q")
    tmux.wait_for("left with", gone="4 points")


def test_replay_and_watch_open_straight_there(tmux: Tmux, tmp_path: Path) -> None:
    workspace = a_workspace(tmp_path / "w")
    command = f"{sys.executable} -m pdconsole -w {workspace}"
    tmux.press(f"{command} replay 080000Z --at 50% --speed 0.25; clear; echo left", "Enter")
    tmux.wait_for("REPLAY", "4 Live")
    tmux.press("q")
    tmux.wait_for("left", gone="REPLAY")
    tmux.press(f"clear; {command} watch 080000Z; clear; echo left again", "Enter")
    tmux.wait_for("REPLAY", "4 Live")
    tmux.press("q")
    tmux.wait_for("left again", gone="REPLAY")
