"""Screens as SVG: what the console's own screenshot shows, in a form that is alike everywhere.

A picture is made from `export_screenshot`. Window frame, fonts and generated ids, which differ by
version, are left out; letters, their colours and the colours under them are kept. A row of the
screen is a row of the file, so that a difference reads well, and any browser shows the picture.

    PDCONSOLE_WRITE_GOLDENS=1 .venv/bin/python -m pytest tests/ui/test_pictures.py
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator
from html import escape, unescape
from itertools import groupby
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

from rich.cells import cell_len

GOLDENS = Path(__file__).parent / "goldens"
_SVG = "{http://www.w3.org/2000/svg}"
# Where the screenshot puts columns and rows, and where a picture does, in pixels.
_SHOT_COLUMN, _SHOT_ROW, _SHOT_BASELINE = 12.2, 24.4, 20.0
_COLUMN, _ROW, _BASELINE = 12, 24, 18
_RULE = re.compile(r"\.([\w-]+-r\d+) \{([^}]*)\}")
# What a recording takes on disk changes with what events hold; its width on the screen stays.
_SIZE = re.compile(r" *\d+\.\d(?= kB)")


class Cell(NamedTuple):
    text: str = " "
    style: str = ""  # attributes of the letters
    ground: str = ""  # the colour under them


def picture_of(screenshot: str) -> str:
    """The screenshot as a picture; sizes of recordings are 0.0."""
    rows = [_without_sizes(row) for row in _cells(ElementTree.fromstring(screenshot))]
    ground = Counter(cell.ground for row in rows for cell in row).most_common(1)[0][0]
    width, height = _COLUMN * max(map(len, rows)), _ROW * len(rows)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        'font-family="monospace" font-size="20" xml:space="preserve">',
        f'<rect width="{width}" height="{height}" fill="{ground}"/>',
        *("".join(_drawn(row, y, ground)) for y, row in enumerate(rows)),
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def text_of(picture: str) -> list[str]:
    """The rows of a picture without colours."""
    rows = []
    for row in picture.splitlines()[2:-1]:
        text = ""
        for column, letters in re.findall(r'<tspan x="(\d+)"[^>]*>([^<]*)<', row):
            text += " " * (int(column) // _COLUMN - cell_len(text)) + unescape(letters)
        rows.append(text)
    return rows


def same_as_golden(name: str, screenshot: str, directory: Path) -> None:
    """Fails with the rows that differ; the picture as it is now is left in `directory`."""
    golden, now = GOLDENS / f"{name}.svg", picture_of(screenshot)
    if os.environ.get("PDCONSOLE_WRITE_GOLDENS"):
        golden.parent.mkdir(exist_ok=True)
        golden.write_text(now, "utf-8")
    before = golden.read_text("utf-8") if golden.exists() else ""
    if now == before:
        return
    kept = directory / f"{name}.svg"
    kept.write_text(now, "utf-8")
    raise AssertionError(
        "\n".join((f"{golden.name} shows something else; now: {kept}", *_difference(before, now)))
    )


def _difference(before: str, now: str) -> Iterator[str]:
    old, new = text_of(before), text_of(now)
    if old == new:
        yield "the letters are the same, these rows have other colours:"
        old, new = before.splitlines(), now.splitlines()
    for y in range(max(len(old), len(new))):
        was, is_ = (rows[y] if y < len(rows) else "(no row)" for rows in (old, new))
        if was != is_:
            yield f"{y:3} - {was}\n    + {is_}"


def _cells(screenshot: ElementTree.Element) -> list[list[Cell]]:
    """The terminal's cells; a character of two columns is followed by an empty cell."""
    styles = {
        name: _attributes(rules)
        for sheet in screenshot.iter(f"{_SVG}style")
        for name, rules in _RULE.findall(sheet.text or "")
    }
    # The last group holds the terminal: the colours under the letters, then the letters.
    terminal = screenshot.findall(f"{_SVG}g")[-1]
    cells: dict[tuple[int, int], Cell] = {}
    for rect in terminal.findall(f"{_SVG}rect"):
        y = round((float(rect.attrib["y"]) - 1.5) / _SHOT_ROW)
        x = round(float(rect.attrib["x"]) / _SHOT_COLUMN)
        for i in range(round(float(rect.attrib["width"]) / _SHOT_COLUMN)):
            cells[y, x + i] = Cell(ground=rect.attrib["fill"])
    for text in terminal.iter(f"{_SVG}text"):
        y = round((float(text.attrib["y"]) - _SHOT_BASELINE) / _SHOT_ROW)
        x = round(float(text.attrib["x"]) / _SHOT_COLUMN)
        style = styles[text.attrib["class"]]
        for character in (text.text or "").replace("\xa0", " "):
            for i in range(cell_len(character)):
                ground = cells.get((y, x + i), Cell()).ground
                cells[y, x + i] = Cell("" if i else character, style, ground)
            x += cell_len(character)
    width, height = (1 + max(key[i] for key in cells) for i in (1, 0))
    return [[cells.get((y, x), Cell()) for x in range(width)] for y in range(height)]


def _attributes(rules: str) -> str:
    named = (rule.split(":") for rule in rules.split(";") if ":" in rule)
    return "".join(f' {name.strip()}="{value.strip()}"' for name, value in named)


def _without_sizes(row: list[Cell]) -> list[Cell]:
    text = "".join(cell.text or "\0" for cell in row)
    masked = _SIZE.sub(lambda found: "0.0".rjust(len(found[0])), text)
    return [cell._replace(text=c.strip("\0")) for cell, c in zip(row, masked, strict=True)]


def _drawn(row: list[Cell], y: int, ground: str) -> Iterator[str]:
    x = 0
    for colour, group in groupby(row, key=lambda cell: cell.ground):
        count = len(list(group))
        if colour not in ("", ground):
            yield f'<rect x="{x * _COLUMN}" y="{y * _ROW}" width="{count * _COLUMN}" '
            yield f'height="{_ROW}" fill="{colour}"/>'
        x += count
    spans = _spans(row)
    if spans:
        yield f'<text y="{y * _ROW + _BASELINE}">'
        for x, style, text in spans:
            # Letters of other alphabets may come from other fonts, of other widths.
            text = text.rstrip()
            fit = "" if text.isascii() else f' textLength="{cell_len(text) * _COLUMN}"'
            yield f'<tspan x="{x * _COLUMN}"{fit}{style}>{escape(text, quote=False)}</tspan>'
        yield "</text>"


def _spans(row: list[Cell]) -> list[tuple[int, str, str]]:
    """Letters of one style each; spaces go with their neighbours, those at the end are none."""
    spans: list[tuple[int, str, str]] = []
    for x, cell in enumerate(row):
        if not spans:
            spans.append((x, cell.style, cell.text))
            continue
        at, style, text = spans[-1]
        if not cell.text or _is_space(cell.text, cell.style) or cell.style == style:
            spans[-1] = (at, style, text + cell.text)
        elif _is_space(text, style):
            spans[-1] = (at, cell.style, text + cell.text)
        else:
            spans.append((x, cell.style, cell.text))
    if spans and _is_space(spans[-1][2], spans[-1][1]):
        spans.pop()
    return spans


def _is_space(text: str, style: str) -> bool:
    return not text.strip() and "decoration" not in style
