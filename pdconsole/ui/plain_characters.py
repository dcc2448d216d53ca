"""ASCII mode: what is drawn with other characters is drawn with these, cell for cell."""

from __future__ import annotations

import unicodedata

from rich.cells import get_character_cell_size
from rich.segment import Segment
from textual.color import Color
from textual.filter import LineFilter

_DRAWN = {
    "─━┄┅┈┉╌╍═╴╶╸╺⠒": "-",
    "│┃┆┇┊┋╎╏║▏▕": "|",
    "┌┐└┘├┤┬┴┼╭╮╰╯╔╗╚╝╠╣╦╩╬┏┓┗┛┣┫┳┻╋": "+",
    "●◉◆■": "*",
    "○◌◇□▫": "o",
    "▲△↑": "^",
    "▼▽↓": "v",
    "▶▸►→❯»": ">",
    "◀◂◄←❮": "<",
    "✓✔": "y",
    "✗✘✕×": "x",
    "⚑⚐": "!",
    "·•∙⠂": ".",
    "…": "~",
    "–—−": "-",
    "‘’": "'",
    "“”": '"',
    "█▇▆▅▓": "#",
    "▄▃▂▁▒░▌▐▀▪": "=",
    "▮▯": "|",
    "÷": "/",
    "≤": "<",
    "≥": ">",
    "µμ": "u",
    "°": "o",
}
# These mean something else without their second character, which takes the place of a space.
_TWO_CELLS = {"≤": "<=", "≥": ">="}
_TABLE = {ord(c): plain for drawn, plain in _DRAWN.items() for c in drawn}


def plain_text(text: str) -> str:
    """`text` in ASCII, as wide as before."""
    if text.isascii():
        return text
    for drawn, plain in _TWO_CELLS.items():
        text = text.replace(f"{drawn} ", plain)
    return "".join(c if c.isascii() else _plain(c) for c in text)


def _plain(character: str) -> str:
    found = _TABLE.get(ord(character))
    if found is not None:
        return found
    base = unicodedata.normalize("NFKD", character)[:1]
    width = get_character_cell_size(character)
    if width == 1 and base.isascii() and base.isprintable():
        return base
    return "?" * width


class AsciiFilter(LineFilter):
    """Over every line that is sent to the terminal: nothing but ASCII gets there."""

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        plain = []
        open_end = False  # the segment before ends with one whose second cell is in this one
        for text, style, control in segments:
            second = "=" if open_end and text.startswith(" ") else text[:1]
            plain.append(Segment(plain_text(second + text[1:]), style, control))
            open_end = text.endswith(tuple(_TWO_CELLS))
        return plain
