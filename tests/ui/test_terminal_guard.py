"""The console on a real pseudo-terminal that goes away, or on signals."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

WAIT_S = 60.0


class Terminal:
    """`pdconsole` with a pseudo-terminal of which we hold the other end."""

    def __init__(self, workspace: Path, *words: str, controlling: bool = True) -> None:
        self.master, slave = pty.openpty()
        code = "import os, pdconsole.cli; pdconsole.cli.main()"
        if controlling:
            code = "import fcntl, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); " + code
        self.process = subprocess.Popen(
            [sys.executable, "-c", code, "-w", str(workspace), *words],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
        )
        os.close(slave)
        self.seen = b""

    def read_until(self, what: bytes) -> None:
        deadline = time.monotonic() + WAIT_S
        while what not in self.seen:
            assert time.monotonic() < deadline, self.seen[-2000:]
            if select.select([self.master], [], [], 0.1)[0]:
                self.seen += os.read(self.master, 1 << 16)

    def read_to_the_end(self) -> int:
        """The exit code; everything written until then is in `seen`."""
        deadline = time.monotonic() + WAIT_S
        while self.process.poll() is None:
            assert time.monotonic() < deadline
            if select.select([self.master], [], [], 0.1)[0]:
                try:
                    self.seen += os.read(self.master, 1 << 16)
                except OSError:
                    break
        return self.process.wait(WAIT_S)

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    made = Terminal(tmp_path)
    made.read_until(b"no sessions yet")
    yield made
    made.end()


def test_q_leaves_the_terminal_as_it_was(terminal: Terminal) -> None:
    os.write(terminal.master, b"q")
    assert terminal.read_to_the_end() == 0
    assert b"\x1b[?1049l" in terminal.seen  # back from the alternate screen
    assert b"Traceback" not in terminal.seen


def test_pasted_bytes_that_are_no_utf8_end_nothing(terminal: Terminal) -> None:
    # Longer than what is read at once: the rest of it must not be taken for keys either.
    os.write(terminal.master, b"\x1b[200~one\xff\xfetwo" + b"3" * 6000 + b"\x1b[201~?")
    terminal.read_until(b"esc closes")
    os.write(terminal.master, b"qq")
    assert terminal.read_to_the_end() == 0
    assert b"\x1b[?1049l" in terminal.seen


def test_what_is_pasted_is_never_a_key(terminal: Terminal) -> None:
    # As keys it would leave: q follows an escape sequence longer than any that there is.
    pasted = b"\x1b[31m" + b"q" * 40 + b"\x1b[0m wanted"
    os.write(terminal.master, b"/\x1b[200~" + pasted + b"\x1b[201~")
    terminal.read_until(b"q" * 40 + b" wanted")
    os.write(terminal.master, b"\x11")
    assert terminal.read_to_the_end() == 0


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM])
def test_a_signal_ends_it_and_restores_the_terminal(terminal: Terminal, number: int) -> None:
    terminal.process.send_signal(number)
    assert terminal.read_to_the_end() == 128 + number
    assert b"\x1b[?1049l" in terminal.seen
    assert b"Traceback" not in terminal.seen


def test_a_closed_terminal_ends_it(terminal: Terminal) -> None:
    os.close(terminal.master)
    assert terminal.process.wait(WAIT_S) == 129


def test_a_terminal_that_vanishes_without_a_signal_ends_it(tmp_path: Path) -> None:
    # Not its controlling terminal: nothing but the hang-up itself tells that it is gone.
    terminal = Terminal(tmp_path, controlling=False)
    try:
        terminal.read_until(b"no sessions yet")
        os.close(terminal.master)
        assert terminal.process.wait(WAIT_S) == 129
    finally:
        terminal.end()


def test_ctrl_z_gives_the_terminal_back_and_fg_takes_it_again(terminal: Terminal) -> None:
    def state() -> str:
        return Path(f"/proc/{terminal.process.pid}/stat").read_text().rpartition(")")[2].split()[0]

    os.write(terminal.master, b"\x1a")
    terminal.read_until(b"\x1b[?1049l")
    deadline = time.monotonic() + WAIT_S
    while state() != "T":
        assert time.monotonic() < deadline
        time.sleep(0.02)
    terminal.seen = b""
    terminal.process.send_signal(signal.SIGCONT)
    terminal.read_until(b"\x1b[?1049h")
    os.write(terminal.master, b"q")
    assert terminal.read_to_the_end() == 0


def test_a_fault_of_ours_is_a_sentence_and_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "sitecustomize.py").write_text(
        "import pdconsole.ui.screens.sessions as s\n"
        "def refresh_from(self, *a): raise ZeroDivisionError('made up')\n"
        "s.SessionsScreen.refresh_from = refresh_from\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(broken))
    terminal = Terminal(tmp_path)
    try:
        assert terminal.read_to_the_end() == 1
        assert b"Traceback" not in terminal.seen
        assert b"a fault in the console ended it" in terminal.seen
        (report,) = (tmp_path / "xdg" / "state" / "pdconsole" / "crashes").iterdir()
        assert "ZeroDivisionError: made up" in report.read_text()
    finally:
        terminal.end()


@pytest.mark.parametrize("words", [(), ("replay",), ("watch",)])
def test_without_a_terminal_there_is_a_sentence_or_lines(
    tmp_path: Path, words: tuple[str, ...]
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pdconsole", "-w", str(tmp_path), *words],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=WAIT_S,
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("pdconsole: ")
    assert "Traceback" not in done.stderr
