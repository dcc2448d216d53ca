"""The terminal may go away at any time: a lost ssh connection, a closed window, a SIGHUP.

Textual's input thread would spin on the end of its input, and its output thread would die at the
first write and block the program at the thirtieth. Here a thread waits for the hang-up of the
terminal, which costs nothing until it comes; from then on nothing is read or written, and the
console ends. Whatever else happens, the process is gone after `LAST_RESORT_S`.
"""

from __future__ import annotations

import codecs
import os
import select
import signal
import sys
import threading
from collections.abc import Callable
from functools import partial
from typing import IO, Any, cast

from textual.app import App
from textual.drivers import linux_driver
from textual.drivers.linux_driver import LinuxDriver

from pdconsole.ui.pasted import PasteParser

HUNG_UP = 129  # as a shell tells of a process that SIGHUP ended
LAST_RESORT_S = 5.0
_HANGUP = select.POLLHUP | select.POLLERR | select.POLLNVAL


class TerminalFile:
    """Writes to the terminal until the first error; from then on to nowhere."""

    def __init__(self, file: IO[str], lost: Callable[[], None]) -> None:
        self._file = file
        self._lost = lost
        self.gone = False

    def write(self, text: str) -> None:
        self._guarded(lambda: self._file.write(text))

    def flush(self) -> None:
        self._guarded(self._file.flush)

    def _guarded(self, write: Callable[[], object]) -> None:
        if self.gone:
            return
        try:
            write()
        except (OSError, ValueError):
            self.gone = True
            self._lost()

    def fileno(self) -> int:
        return self._file.fileno()

    def isatty(self) -> bool:
        return True


class GuardedDriver(LinuxDriver):
    """LinuxDriver for a terminal that may vanish."""

    def __init__(self, app: App[Any], **how: Any) -> None:
        super().__init__(app, **how)
        # A strict decoder would end the input thread at the first byte that is no UTF-8.
        vars(linux_driver)["getincrementaldecoder"] = _lenient_decoder
        vars(linux_driver)["XTermParser"] = PasteParser
        self._terminal = TerminalFile(cast("IO[str]", sys.__stderr__), self.lose_terminal)
        self._file = cast("Any", self._terminal)
        self._lost = False
        self._lock = threading.Lock()
        threading.Thread(target=self._wait_for_hangup, name="terminal-guard", daemon=True).start()
        for number in (signal.SIGHUP, signal.SIGTERM):
            self._loop.add_signal_handler(number, self._on_signal, number)

    def _on_signal(self, number: int) -> None:
        # The terminal may still be there: leave it as it was found.
        _begin_last_resort()
        self._app.exit(return_code=128 + number)

    def _wait_for_hangup(self) -> None:
        poll = select.poll()
        poll.register(self.fileno, 0)  # a hang-up is told without being asked for
        while not self._lost:
            if any(event & _HANGUP for _, event in poll.poll(60_000)):
                self.lose_terminal()

    def lose_terminal(self) -> None:
        """The terminal is gone: neither read nor write again, and end the console. Any thread."""
        with self._lock:
            if self._lost:
                return
            self._lost = True
        self._terminal.gone = True
        self.exit_event.set()
        _begin_last_resort()
        self._loop.call_soon_threadsafe(self._leave)

    def _leave(self) -> None:
        self._app.exit(return_code=HUNG_UP)

    def _get_terminal_size(self) -> tuple[int, int]:
        # The terminal knows; COLUMNS and LINES, which Python asks first, stay as they were.
        try:
            width, height = os.get_terminal_size(self.fileno)
        except OSError:
            return super()._get_terminal_size()
        return (width, height) if width and height else super()._get_terminal_size()

    def write(self, data: str) -> None:
        if not self._lost:
            super().write(data)

    def _run_input_thread(self) -> None:
        try:
            self.run_input_thread()
        except (OSError, ValueError):
            self.lose_terminal()


def _lenient_decoder(encoding: str) -> Callable[[], codecs.IncrementalDecoder]:
    return partial(codecs.getincrementaldecoder(encoding), errors="replace")


def _begin_last_resort() -> None:
    timer = threading.Timer(LAST_RESORT_S, os._exit, (HUNG_UP,))
    timer.daemon = True
    timer.start()


def silence_lost_terminal() -> None:
    """Before the interpreter ends: what it flushes then must not fail on a lost terminal."""
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
