"""What the Compare screen shows, as a file: a figure, or its numbers."""

from __future__ import annotations

from pathlib import Path

import msgspec

from pdconsole.results import ResultError
from pdconsole.results.comparison import Comparison
from pdconsole.results.figure import FORMATS, write_figure

FORMS = (*FORMATS, ".csv", ".json", ".txt")
DEFAULT = "figures/compare"
TEXT_WIDTH = 160


def place_of(text: str, workspace: Path) -> Path:
    """The path that is meant, seen from the workspace."""
    return workspace / Path(text.strip()).expanduser()


def free_name(workspace: Path) -> str:
    """A default that does not exist: `figures/compare.svg`, `figures/compare-2.svg`."""
    number = 1
    while True:
        name = f"{DEFAULT}.svg" if number == 1 else f"{DEFAULT}-{number}.svg"
        if not place_of(name, workspace).exists():
            return name
        number += 1


def file_problem(text: str, workspace: Path) -> str:
    """Why nothing can be written there; "" if it seems to be possible."""
    path = place_of(text, workspace)
    if path.suffix.lower() not in FORMS:
        return f"name a file that ends in {', '.join(FORMS)}"
    if path.exists():
        return f"{text.strip()} exists; nothing is written over"
    return ""


def write_comparison(comparison: Comparison, path: Path) -> None:
    """Raises ResultError, with a sentence, where it cannot be written."""
    form = path.suffix.lower()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if form in FORMATS:
            write_figure(comparison, path)
        else:
            with path.open("x", encoding="utf-8") as file:
                file.write(_text(comparison, form))
    except OSError as e:
        raise ResultError(f"cannot write {path}: {e.strerror or e}") from e


def _text(comparison: Comparison, form: str) -> str:
    if form == ".csv":
        return comparison.to_csv()
    if form == ".json":
        return msgspec.json.format(msgspec.json.encode(comparison.to_json())).decode() + "\n"
    return comparison.text(TEXT_WIDTH) + "\n"
