"""Where points go in an export: a directory a run, under the name that tells its layout."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePath
from typing import Any

from pdconsole.results.errors import ResultError
from pdconsole.results.point_row import PointRow

_REPEAT = re.compile(r"_r\d+$")
_OF_BENCH_SERVE = ("pdconsole", "vllm bench serve")  # sources whose files have its keys


def by_directory(rows: Iterable[PointRow]) -> Iterator[tuple[PurePath, list[PointRow]]]:
    """Rows by the directory they were in. A second one of the same name gets a number above it."""
    return _named(rows, lambda path: path)


def by_repeated_directory(rows: Iterable[PointRow]) -> Iterator[tuple[PurePath, list[PointRow]]]:
    """The same, but `…_r2` is with the run that it repeats, its points after those."""
    for name, found in _named(rows, lambda path: path.with_name(_REPEAT.sub("", path.name))):
        yield name, sorted(found, key=lambda row: row.repeat)


def _named(rows: Iterable[PointRow], key: Any) -> Iterator[tuple[PurePath, list[PointRow]]]:
    found: dict[Path, list[PointRow]] = {}
    for row in rows:
        found.setdefault(key(Path(row.directory).resolve()), []).append(row)
    taken: dict[str, int] = {}
    for path, of_it in found.items():
        name = path.name or "results"
        taken[name] = number = taken.get(name, 0) + 1
        yield PurePath(name) if number == 1 else PurePath(str(number), name), of_it


def point_names(rows: Sequence[PointRow]) -> list[str]:
    """`conc16`, `rr4`; `conc16_2` for a second one; the file's name where the load is not known."""
    names: list[str] = []
    for row in rows:
        letters = "conc" if row.kind == "concurrency" else "rr"
        name = Path(row.file).stem if row.value is None else f"{letters}{row.value:g}"
        again = sum(each == name or each.startswith(f"{name}_") for each in names)
        names.append(f"{name}_{again + 1}" if again else name)
    return names


def original(row: PointRow) -> dict[str, Any]:
    """The document of a point that has the keys of `vllm bench serve`; empty for other points,
    and where one file holds several.

    Raises ResultError when the file can no longer be read.
    """
    if row.source not in _OF_BENCH_SERVE:
        return {}
    try:
        content = Path(row.file).read_bytes()
    except OSError as e:
        raise ResultError(f"cannot read {row.file}: {e.strerror}") from e
    try:
        document = json.loads(content)
    except ValueError:
        return {}  # it was read a moment ago, a document a line
    return document if isinstance(document, dict) else {}
