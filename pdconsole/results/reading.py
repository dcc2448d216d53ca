"""Reads points: our own, and those of the load generators of others."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pdconsole.model.layout import LayoutError
from pdconsole.results.directory import read_run_file
from pdconsole.results.errors import ResultError
from pdconsole.results.network_tests import is_network_test
from pdconsole.results.point_row import PointRow
from pdconsole.results.readers import bench_serve, ours

__all__ = ["PointRow", "read_directory", "read_point", "read_points"]

_DEPTH = 5  # levels of directories that are looked through


def read_points(path: Path) -> tuple[list[PointRow], list[ResultError]]:
    """The points of any file or directory that is supported, and what could not be read.

    A directory without results of its own is all of those in it. Points are in the order of
    their directories, and within one in the order of load.
    """
    if not path.is_dir():
        try:
            return read_file(path), []
        except ResultError as e:
            return [], [e]
    rows, problems = _read_tree(path, _DEPTH)
    if not rows and not problems and not _has_network_tests(path):
        problems = [_nothing(path)]
    return _ordered(rows), problems


def read_directory(directory: Path) -> tuple[list[PointRow], list[ResultError]]:
    """The points of this directory alone in the order of load, and what could not be read."""
    rows, problems = _read_files(directory)
    if not rows and not problems and not _has_network_tests(directory):
        problems.append(_nothing(directory))
    return _ordered(rows), problems


def read_point(path: Path) -> PointRow:
    """The one point of a file. Raises ResultError when it holds none, or several."""
    rows = read_file(path)
    if len(rows) != 1:
        raise ResultError(f"{path} holds {len(rows)} results, not one")
    return rows[0]


def read_file(path: Path) -> list[PointRow]:
    """The points of a file. Raises ResultError when it holds no result."""
    return [_row(path, document) for document in _documents(path)]


def _read_tree(directory: Path, depth: int) -> tuple[list[PointRow], list[ResultError]]:
    rows, problems = _read_files(directory)
    if rows or depth == 0:
        return rows, problems
    for inner in sorted(directory.iterdir()):
        if inner.is_dir() and not inner.name.startswith("."):
            more, wrong = _read_tree(inner, depth - 1)
            rows += more
            problems += wrong
    return rows, problems


def _read_files(directory: Path) -> tuple[list[PointRow], list[ResultError]]:
    rows: list[PointRow] = []
    problems: list[ResultError] = []
    for path in _point_files(directory):
        try:
            rows += read_file(path)
        except ResultError as e:
            problems.append(e)
    return rows, problems


def _ordered(rows: list[PointRow]) -> list[PointRow]:
    directories = {row.directory: i for i, row in reversed(list(enumerate(rows)))}
    return sorted(
        rows,
        key=lambda row: (directories[row.directory], row.kind, row.value or 0.0, row.file),
    )


def _point_files(directory: Path) -> Iterator[Path]:
    for path in sorted(directory.glob("*.json")):
        if is_network_test(path):
            continue
        # `vllm bench serve` writes a second file of another form beside each result.
        if not path.name.startswith(".") and not path.name.endswith(".pytorch.json"):
            yield path


def _has_network_tests(directory: Path) -> bool:
    """They are results too, but hold no points."""
    return any(map(is_network_test, directory.rglob("*.json")))


def _nothing(directory: Path) -> ResultError:
    if not directory.is_dir():
        return ResultError(f"{directory} is no directory")
    try:
        meta = read_run_file(directory)
    except ResultError as e:
        return e
    state = f" (its run is {meta.get('status')})" if meta else ""
    return ResultError(f"{directory} holds no results{state}")


def _documents(path: Path) -> list[dict[str, Any]]:
    """One, or several where a program appends its results to one file, a line each."""
    try:
        content = path.read_bytes()
    except OSError as e:
        raise ResultError(f"cannot read {path}: {e.strerror}") from e
    try:
        try:
            found = [json.loads(content)]
        except json.JSONDecodeError as e:
            if e.msg != "Extra data":
                raise
            found = [json.loads(line) for line in content.splitlines() if line.strip()]
    except ValueError as e:
        raise ResultError(f"{path} is damaged: {e}") from e
    if not all(isinstance(document, dict) for document in found):
        raise ResultError(f"{path} is no benchmark result: it holds no object")
    return found


def _row(path: Path, document: dict[str, Any]) -> PointRow:
    missing = [key for key in bench_serve.NEEDED if not isinstance(document.get(key), int | float)]
    if missing:
        raise ResultError(f"{path} is no benchmark result: it lacks {', '.join(missing)}")
    read = ours.row if isinstance(document.get("pdconsole"), dict) else bench_serve.row
    try:
        return read(path, document)
    except (TypeError, ValueError, KeyError, LayoutError) as e:
        raise ResultError(f"{path} is no benchmark result that can be read: {e}") from e
