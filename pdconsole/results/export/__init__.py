"""Points in the formats of others: tables, and the files that other load generators' tools read.

Each form is a module that makes files out of rows; `writing` puts them down, all or none.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from pdconsole.results.errors import ResultError
from pdconsole.results.export import aiperf, flat, llm_d, sweep
from pdconsole.results.export.writing import ExportFile, write_directory, write_file
from pdconsole.results.point_row import PointRow

FORMS = ("csv", "parquet", "sweep", "llm-d", "aiperf")
SINGLE_FILES = ("csv", "parquet")  # the others are directories

__all__ = ["FORMS", "SINGLE_FILES", "Exported", "csv_text", "export_points"]


class Exported(msgspec.Struct, frozen=True):
    """What was written. `left_out` names what the form has no room for, and why."""

    output: Path
    points: int
    files: int
    left_out: tuple[str, ...] = ()


def csv_text(rows: Sequence[PointRow]) -> str:
    """The table of the form `csv`. Raises ResultError where there is no point."""
    _refuse_nothing(rows)
    return flat.csv_text(rows)


def export_points(rows: Sequence[PointRow], form: str, output: Path) -> Exported:
    """Write the points to `output`: a new file of a form in SINGLE_FILES, else a new directory.

    Raises ResultError when the output is there already, cannot be written, or nothing fits.
    """
    _refuse_nothing(rows)
    if form in SINGLE_FILES:
        data = flat.csv_text(rows).encode() if form == "csv" else flat.parquet_bytes(rows)
        write_file(output, data)
        return Exported(output, len(rows), 1)
    fitting, left_out = aiperf.fitting(rows) if form == "aiperf" else (list(rows), [])
    if not fitting:
        raise ResultError("; ".join(left_out))
    return Exported(
        output, len(fitting), write_directory(output, _files(fitting, form)), (*left_out,)
    )


def _files(rows: Sequence[PointRow], form: str) -> Iterator[ExportFile]:
    match form:
        case "sweep":
            return sweep.files(rows)
        case "llm-d":
            return llm_d.files(rows)
        case "aiperf":
            return aiperf.files(rows)
        case _:
            raise ResultError(f"no form {form!r}; there are {', '.join(FORMS)}")


def _refuse_nothing(rows: Sequence[PointRow]) -> None:
    if not rows:
        raise ResultError("there are no results to export")
