"""What is pasted is text, whatever is in it.

Textual looks for keys in a paste from an escape character on, and gives what it finds as keys that
were pressed: coloured output of a command would quit the console, or delete a session, and a long
one held it for minutes. Here a paste is taken out before Textual reads it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from textual import events
from textual._xterm_parser import BRACKETED_PASTE_END, BRACKETED_PASTE_START, XTermParser
from textual.message import Message

MOST_PASTED = 10_000  # characters; a box takes a line
_SEQUENCES = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]|[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)?|[ -/]*[0-~])"
)
_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")


def plain_paste(text: str) -> str:
    """Without what colours a terminal or moves its cursor; tabs are blanks, lines stay lines."""
    return _CONTROLS.sub("", _SEQUENCES.sub("", text).replace("\t", " "))[:MOST_PASTED]


class PasteParser(XTermParser):
    """Reads what a terminal sends. Marks of a paste may come in two pieces."""

    _pasted: list[str] | None = None  # while one comes
    _size = 0
    _tail = ""  # the last characters, which may be the beginning of a mark

    def feed(self, data: str) -> Iterable[Message]:
        if not data:  # the end
            yield from super().feed(data)
        while data:
            if self._pasted is None:
                read = self._up_to(BRACKETED_PASTE_START, data)
                yield from super().feed(data[:read])
                if not self._tail:
                    self._pasted, self._size = [], 0
            else:
                read = self._up_to(BRACKETED_PASTE_END, data)
                self._keep(data[:read])
                if not self._tail:
                    yield from self._end_paste()
            data = data[read:]

    def _up_to(self, mark: str, data: str) -> int:
        """How much of `data` is before the end of the mark; the tail is "" where it is there."""
        seen = self._tail + data
        at = seen.find(mark)
        if at < 0:
            self._tail = seen[1 - len(mark) :]
            return len(data)
        read = at + len(mark) - len(self._tail)
        self._tail = ""
        return read

    def _keep(self, text: str) -> None:
        # Cut once more when it is whole: here only memory is spared, and the mark is still in it.
        if self._pasted is not None and self._size < 100 * MOST_PASTED:
            self._pasted.append(text)
            self._size += len(text)

    def _end_paste(self) -> Iterable[Message]:
        text = "".join(self._pasted or ()).removesuffix(BRACKETED_PASTE_END)
        self._pasted = None
        yield events.Paste(plain_paste(text))
        # Textual has seen the first mark, and nothing since.
        for message in super().feed(BRACKETED_PASTE_END):
            if not isinstance(message, events.Paste):
                yield message
