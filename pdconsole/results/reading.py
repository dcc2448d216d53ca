"""Reads points: our own, and those of the load generators of others."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from pdconsole.model.layout import LayoutError
from pdconsole.results.directory import read_run_file
from pdconsole.results.errors import ResultError
from pdconsole.results.network_tests import is_network_test
from pdconsole.results.point_row import PointRow
from pdconsole.results.readers import aiperf, bench_serve, genai_bench, guidellm, ours

__all__ = ["PointRow", "read_directory", "read_point", "read_points"]


class _Reader(Protocol):
    """What each module of `readers` is."""

    SOURCE: str

    def recognises(self, document: Mapping[str, Any], /) -> bool: ...

    def rows(self, path: Path, document: Mapping[str, Any], /) -> list[PointRow]:
        """Raises TypeError, ValueError or KeyError where the document is not as it should be."""
        ...


_READERS: tuple[_Reader, ...] = (ours, bench_serve, aiperf, guidellm, genai_bench)
_DEPTH = 5  # levels of directories that are looked through
# What programs write beside their results: PyTorch's form of them, sums over runs, what was sent.
_BESIDE = re.compile(
    r"\..*|.*\.pytorch\.json|summary\.json|experiment_metadata\.json|debug_for_run_.*"
    r"|(in|out)puts\.json|run_config\.json|server_metrics_export\.json|.*_timeslices\.json"
    r"|.*_aggregate\.json|search_history\.json"
)
_NO_RESULTS_IN = re.compile(r"\..*|logs|requests|superseded|aggregate|sweep_aggregate")


def read_points(path: Path) -> tuple[list[PointRow], list[ResultError]]:
    """The points of any file or directory that is supported, and what could not be read.

    A directory without results of its own is all of those in it. Points are in the order of
    their directories, and within one in the order of load.
    """
    if not path.is_dir():
        try:
            return _ordered(read_file(path)), []
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
    return [row for document in _documents(path) for row in _rows(path, document)]


def _read_tree(directory: Path, depth: int) -> tuple[list[PointRow], list[ResultError]]:
    rows, problems = _read_files(directory)
    if rows or depth == 0:
        return rows, problems
    for inner in sorted(directory.iterdir()):
        if inner.is_dir() and not _NO_RESULTS_IN.fullmatch(inner.name):
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
    for path in sorted(directory.glob("*.json"), key=lambda path: path.name):
        if is_network_test(path):
            continue
        if not _BESIDE.fullmatch(path.name):
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


def _rows(path: Path, document: dict[str, Any]) -> list[PointRow]:
    reader = next((each for each in _READERS if each.recognises(document)), None)
    if reader is None:
        lacks = ", ".join(bench_serve.missing(document))
        raise ResultError(f"{path} is no benchmark result: it lacks {lacks}")
    try:
        return reader.rows(path, document)
    except (TypeError, ValueError, KeyError, LayoutError) as e:
        raise ResultError(
            f"{path} is no result of {reader.SOURCE} that can be read: {_said(e)}"
        ) from e


def _said(error: Exception) -> str:
    return f"it lacks {error}" if isinstance(error, KeyError) else str(error)
