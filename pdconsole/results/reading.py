"""Reads points: our own, and those of the load generators of others."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from pdconsole.model.layout import LayoutError
from pdconsole.results.directory import read_run_file
from pdconsole.results.errors import ResultError
from pdconsole.results.network_tests import is_network_test
from pdconsole.results.point_row import PointRow
from pdconsole.results.readers import aiperf, bench_serve, genai_bench, guidellm, llm_d, ours

__all__ = [
    "PointRow",
    "different",
    "not_yet_read",
    "read_all",
    "read_directory",
    "read_point",
    "read_points",
]


class _Reader(Protocol):
    """What each module of `readers` is."""

    SOURCE: str

    def recognises(self, document: Mapping[str, Any], /) -> bool: ...

    def rows(self, path: Path, document: Mapping[str, Any], /) -> list[PointRow]:
        """Raises TypeError, ValueError or KeyError where the document is not as it should be."""
        ...


_READERS: tuple[_Reader, ...] = (ours, bench_serve, aiperf, guidellm, genai_bench, llm_d)
_DEPTH = 8  # levels of directories that are looked through
# What programs write beside their results: PyTorch's form of them, sums over runs, what was sent.
_BESIDE = re.compile(
    r"\..*|.*\.pytorch\.json|summary\.json|experiment_metadata\.json|debug_for_run_.*"
    r"|(in|out)puts\.json|run_config\.json|server_metrics_export\.json|.*_timeslices\.json"
    r"|.*_aggregate\.json|search_history\.json|phase_manifest\.json"
)
_YAML = (".yaml", ".yml")
_NO_RESULTS_IN = re.compile(r"\..*|logs|requests|superseded|aggregate|sweep_aggregate")


def different(paths: Iterable[Path]) -> list[Path]:
    """Each file and directory once, under the first of its names."""
    found: dict[str, Path] = {}
    for path in paths:
        found.setdefault(os.path.realpath(path), path)
    return list(found.values())


def not_yet_read(rows: Sequence[PointRow], read: set[str]) -> list[PointRow]:
    """Those of files that are not in `read`, real paths, to which the files of all are added."""
    real = {row.file: os.path.realpath(row.file) for row in rows}
    new = [row for row in rows if real[row.file] not in read]
    read.update(real.values())
    return new


def read_all(paths: Iterable[Path]) -> tuple[list[PointRow], list[ResultError]]:
    """The points of all paths, each file once also where paths overlap; what could not be read."""
    rows: list[PointRow] = []
    problems: list[ResultError] = []
    read: set[str] = set()
    for path in different(paths):
        found, wrong = read_points(path)
        rows += not_yet_read(found, read)
        problems += wrong
    return rows, problems


def read_points(path: Path) -> tuple[list[PointRow], list[ResultError]]:
    """The points of any file or directory that is supported, and what could not be read.

    A directory is its own results and those in it; what links lead to as well is read once. Points
    are in the order of their directories, and within one in the order of load.
    """
    if not path.is_dir():
        try:
            rows, problems = _read(path)
        except ResultError as e:
            return [], [e]
        return _ordered(rows), problems
    rows, problems = _Tree(path).read()
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
    """The points of a file. Raises ResultError when a result in it cannot be read, or none is."""
    rows, problems = _read(path)
    if problems:
        raise problems[0]
    return rows


def _read(path: Path) -> tuple[list[PointRow], list[ResultError]]:
    """Of several results in a file those that can be read, and what is wrong with the others.
    Raises ResultError where none can."""
    rows: list[PointRow] = []
    documents, problems = _documents(path)
    for document in documents:
        try:
            rows += _rows(path, document)
        except ResultError as e:
            problems.append(e)
    if problems and not rows:
        raise problems[0]
    return rows, problems


class _Tree:
    """A directory and those in it. Each file counts once, under its own name, whatever links lead
    to it."""

    def __init__(self, top: Path) -> None:
        self._top = top
        self._real = top.resolve()
        self._entered = {self._real}  # a link to one of them would lead around

    def read(self) -> tuple[list[PointRow], list[ResultError]]:
        return self._read(self._top, _DEPTH)

    def _read(self, directory: Path, depth: int) -> tuple[list[PointRow], list[ResultError]]:
        rows, problems = _read_files(directory, self._leads_back)
        try:
            inner = sorted(directory.iterdir()) if depth else []
        except OSError as e:
            return rows, [*problems, ResultError(f"cannot read {directory}: {e.strerror}")]
        for each in inner:
            if not each.is_dir() or _NO_RESULTS_IN.fullmatch(each.name) or self._leads_back(each):
                continue
            if aiperf.is_of_phases(each):
                continue
            more, wrong = self._read(each, depth - 1)
            rows += more
            problems += wrong
        return rows, problems

    def _leads_back(self, path: Path) -> bool:
        """A link to what is read anyway, or to a directory that this one is in."""
        if not path.is_symlink() or not path.exists():
            return False
        real = path.resolve()
        inside = real.is_relative_to(self._real) and (
            real.is_dir() or real.suffix in (".json", *_YAML)
        )
        if inside or self._real.is_relative_to(real) or real in self._entered:
            return True
        self._entered.add(real)
        return False


def _read_files(
    directory: Path, passed_by: Callable[[Path], bool] = lambda _: False
) -> tuple[list[PointRow], list[ResultError]]:
    rows: list[PointRow] = []
    problems: list[ResultError] = []
    for path in _point_files(directory):
        if passed_by(path):
            continue
        try:
            more, wrong = _read(path)
            rows += more
            problems += wrong
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
    found = [*directory.glob("*.json")]
    for suffix in _YAML:
        found += directory.glob(llm_d.FILES + suffix)
    for path in sorted(found, key=lambda path: path.name):
        if is_network_test(path) or _BESIDE.fullmatch(path.name):
            continue
        if llm_d.is_beside_its_source(path):
            continue
        if path.is_file() or not path.exists():  # a link to nowhere is named, a pipe is none
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


def _documents(path: Path) -> tuple[list[dict[str, Any]], list[ResultError]]:
    """One, or several where a program appends its results to one file, a line each; and which of
    those are damaged."""
    try:
        content = path.read_bytes()
    except OSError as e:
        raise ResultError(f"cannot read {path}: {e.strerror}") from e
    if not content.strip():
        raise ResultError(f"{path} is empty")
    problems: list[ResultError] = []
    try:
        found = [_of_yaml(content) if path.suffix in _YAML else _parsed(content)]
    except ValueError as e:
        if path.suffix in _YAML:
            raise ResultError(f"{path} is damaged: {e}") from e
        found = []
        for i, line in enumerate(content.splitlines(), 1):
            try:
                found += [_parsed(line)] if line.strip() else []
            except ValueError as wrong:
                if not found:  # then they are no results, a line each
                    raise ResultError(f"{path} is damaged: {e}") from e
                problems.append(ResultError(f"line {i} of {path} is damaged: {wrong}"))
    if not all(isinstance(document, dict) for document in found):
        raise ResultError(f"{path} is no benchmark result: it holds no object")
    return found, problems


def _of_yaml(content: bytes) -> Any:
    import yaml

    try:
        return yaml.load(content, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (yaml.YAMLError, RecursionError) as e:
        raise ValueError(" ".join(str(e).split())) from e


def _parsed(content: bytes) -> Any:
    try:
        return json.loads(content)
    except RecursionError as e:
        raise ValueError("it is nested too deeply") from e


def _rows(path: Path, document: dict[str, Any]) -> list[PointRow]:
    reader = next((each for each in _READERS if each.recognises(document)), None)
    if reader is None:
        lacks = ", ".join(bench_serve.missing(document))
        raise ResultError(f"{path} is no benchmark result: it lacks {lacks}")
    try:
        rows = reader.rows(path, document)
        for row in rows:
            _check(row)
    except (
        TypeError, ValueError, KeyError, AttributeError, IndexError, ArithmeticError, LayoutError,
    ) as e:  # fmt: skip
        raise ResultError(
            f"{path} is no result of {reader.SOURCE} that can be read: {_said(e)}"
        ) from e
    return rows


def _check(row: PointRow) -> None:
    """Raises ValueError where numbers are none, which no rule and no chart could use."""
    if not 0 < row.duration_s < math.inf:
        raise ValueError(f"its duration is {row.duration_s:g} s")
    counts = {
        "completed": row.completed,
        "request_throughput": row.request_throughput,
        "total_token_throughput": row.total_token_throughput,
    }
    for name, value in counts.items():
        if not 0 <= value < math.inf:
            raise ValueError(f"its {name} is {value:g}")


def _said(error: Exception) -> str:
    return f"it lacks {error}" if isinstance(error, KeyError) else str(error)
