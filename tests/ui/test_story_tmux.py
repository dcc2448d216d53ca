"""The whole story in real terminals: place by keys, launch, watch, lose the terminal, attach from
another, stop, replay."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from console import Console, own_console
from tmux_terminal import NEEDS_TMUX, WAIT_S, Tmux

from pdconsole.model import events as ev

pytestmark = [pytest.mark.slow, pytest.mark.system, NEEDS_TMUX]

THEN = "0:16"  # the moment that is looked at again and again
LOOK_S = 0.1


@pytest.fixture
def console() -> Iterator[Console]:
    with own_console() as made:
        made.small_requests()
        yield made


@pytest.fixture
def terminals(
    console: Console, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Tmux, Tmux]]:
    monkeypatch.setenv("PDCONSOLE_RUNTIME_DIR", str(console.runtime))
    opened = Tmux(tmp_path, 120, 40, name="one"), Tmux(tmp_path, 120, 40, name="two")
    yield opened
    for terminal in opened:
        terminal.end()


def position(screen: str) -> float:
    """The session second that the replay bar says, in the last rows."""
    found = re.findall(r"(?:LIVE|REPLAY|PAUSED|END)\s+\S+×\s+(\d+):(\d\d):(\d\d)", screen)
    assert found, screen
    hours, minutes, seconds = map(int, found[-1])
    return 3600 * hours + 60 * minutes + seconds


def look_at(terminal: Tmux, then: str) -> list[str]:
    """Go there and stay; what is shown of that moment, without what is of now."""
    deadline = time.monotonic() + WAIT_S
    while "PAUSED" not in terminal.screen:
        assert time.monotonic() < deadline, terminal.screen
        terminal.press("Space")  # at the end it begins anew
        time.sleep(3 * LOOK_S)
    terminal.press("t")
    terminal.wait_for("Go to")
    terminal.type(then)
    terminal.press("Enter")
    terminal.wait_for("PAUSED", f"0:00:{then.partition(':')[2]}", gone="Go to")
    rows = terminal.screen.splitlines()
    bar = next(i for i, row in enumerate(rows) if "PAUSED" in row)
    # The top line has the clock, and the bar and its marks the end of the recording.
    return rows[1 : bar - 1]


def wait_until(what: str, seen: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not seen():
        assert time.monotonic() < deadline, what
        time.sleep(LOOK_S)


def test_place_launch_watch_lose_the_terminal_attach_stop_and_replay(
    console: Console, terminals: tuple[Tmux, Tmux]
) -> None:
    one, two = terminals
    command = f"{sys.executable} -m pdconsole -w {console.workspace}"
    one.press(f"{command}; echo left with $?", "Enter")
    one.wait_for("no sessions yet")

    # Place 2P-TP2+1D-TP4 by keys, and launch it.
    one.press("2")
    one.wait_for("node1 ●", "node2 ●", "free")
    for key in "2pp4d":
        one.press(key)
    one.wait_for("╭P1", "╭P2", "╭D1 decode TP4", "2P-TP2 + 1D-TP4")
    one.press("L")
    asked = words(one.wait_for("Launch?", "concurrency"))
    assert "Takes GPUs 0-7 of node1" in asked
    one.press("C-u")
    one.type("4 8")
    one.wait_for("concurrency   4 8  ")
    one.press("Enter")
    one.wait_for("LIVE")

    opened = console.wait_for(lambda events: [e for e in events if isinstance(e, ev.SessionOpened)])
    assert [(run.layout, run.points) for run in opened[0].runs] == [
        ("p2xtp2-d1xtp4", ("conc4", "conc8"))
    ]

    # Charts move.
    one.wait_for("LIVE", "2P-TP2 + 1D-TP4", "c=4", "P1", "P2", "D1", gone="no samples")
    first = one.screen
    wait_until("the position moves", lambda: position(one.screen) >= position(first) + 3)
    assert braille(one.screen) != braille(first)
    wait_until("the moment has come", lambda: position(one.screen) >= 19)
    seen = look_at(one, THEN)
    assert any("P2" in row for row in seen)

    # The terminal goes away; what runs goes on.
    process = console_pid(console)
    one.close()
    wait_until("the console has left", lambda: not Path(f"/proc/{process}").exists())
    before = len(console.events())
    wait_until("the experiment goes on", lambda: len(console.events()) > before + 20)
    assert console.ours()

    # Another one: live at once, and the same moment looks the same.
    two.press(f"{command} watch; echo left with $?", "Enter")
    screen = two.wait_for("LIVE", "2P-TP2 + 1D-TP4", "● running SIM")
    assert position(screen) >= 16
    assert look_at(two, THEN) == seen

    # Stop, by a key and a confirmation that names what it touches.
    two.press("1")
    two.wait_for("enter open")
    two.press("s")
    asked = words(two.wait_for("Stop 2", "No (n)"))
    assert "P1 on node1:0-1" in asked
    two.press("y")
    two.wait_for("stopped", gone="No (n)")
    wait_until("nothing of it is left on a node", lambda: console.ours() == {})

    # Replay.
    two.press("p")
    two.wait_for("REPLAY", "0:00:0")
    for _ in range(4):
        two.press(">")
    two.wait_for("16×")
    wait_until("16 seconds pass in one", lambda: position(two.screen) >= 16)
    assert look_at(two, THEN) == seen
    two.press("q")
    two.wait_for("left with 0")


def words(screen: str) -> str:
    """What a dialog says, in one line."""
    return " ".join(screen.replace("│", " ").split())


def braille(screen: str) -> list[str]:
    return re.findall(r"[\u2801-\u28ff]+", screen)


def console_pid(console: Console) -> int:
    """The one that shows the screens: its command ends with the workspace."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if words[1:-1] == [b"-m", b"pdconsole", b"-w", os.fsencode(console.workspace)]:
                return int(entry.name)
    raise AssertionError("no console runs")
