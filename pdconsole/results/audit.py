"""Result files of anybody, looked through: what is wrong or doubtful, with evidence."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import msgspec

from pdconsole.model.audit_evidence import (
    DirectoryEvidence,
    Finding,
    Label,
    NotDetectable,
    PointEvidence,
    Spread,
)
from pdconsole.model.audit_rules import audit
from pdconsole.model.layout import Layout, LayoutError, parse_layout
from pdconsole.results.audit_text import report_text
from pdconsole.results.point_row import PointRow
from pdconsole.results.reading import read_all

# guidellm leaves its warm-up and cool-down out, pdconsole counts a steady window.
_WHOLE_RUNS = frozenset({"vllm bench serve", "aiperf", "genai-bench"})

_ONE_WORKLOAD = 1.5  # mean lengths of a run's points, one to another

WEIGHTS = ("bad", "warn", "info")  # the gravest first


class AuditReport(msgspec.Struct, frozen=True):
    """What was found. `skipped` names what could not be read, and why."""

    findings: tuple[Finding, ...]
    not_detectable: tuple[NotDetectable, ...]
    points: int
    directories: tuple[str, ...]
    skipped: tuple[str, ...] = ()
    weighed: dict[str, int] = {}  # points by the gravest finding about them; "" without one

    def text(self, width: int) -> str:
        """For a terminal of this width."""
        return report_text(
            self.findings, self.not_detectable, self.weighed, self.directories, width
        )

    def has(self, weight: str) -> bool:
        """Whether anything of this weight, or a graver one, was found."""
        graver = WEIGHTS[: WEIGHTS.index(weight) + 1]
        return any(finding.weight in graver for finding in self.findings)

    def to_json(self) -> dict[str, Any]:
        found: dict[str, Any] = msgspec.to_builtins(self)
        return found


def audit_paths(paths: Iterable[Path]) -> AuditReport:
    """Read files and directories (a directory of directories is all of those) and audit them."""
    rows, problems = read_all(paths)
    return audit_rows(rows, map(str, problems))


def audit_rows(rows: Sequence[PointRow], skipped: Iterable[str] = ()) -> AuditReport:
    """Audit points that were read already; each counts once, by whatever path it was reached."""
    real = {file: os.path.realpath(file) for file in {row.file for row in rows}}
    once: dict[tuple[object, ...], PointRow] = {}
    for r in rows:
        once.setdefault((real[r.file], r.point, r.started_wall, r.duration_s), r)
    directories = [directory for directory, _ in runs_of(list(once.values()))]
    findings, silent = audit(directories)
    return AuditReport(
        findings=tuple(findings),
        not_detectable=tuple(silent),
        points=len(once),
        directories=tuple(directory.path for directory in directories),
        skipped=tuple(skipped),
        weighed=_weighed(directories, findings),
    )


def _weighed(
    directories: Sequence[DirectoryEvidence], findings: Sequence[Finding]
) -> dict[str, int]:
    gravest: dict[str, str] = {}  # of a file or a directory
    for finding in reversed(findings):  # the gravest are the first
        gravest |= dict.fromkeys(finding.subjects, finding.weight)
    order = (*WEIGHTS, "")
    counted = Counter(
        min(
            (gravest.get(name, "") for name in (point.file, directory.path, directory.within)),
            key=order.index,
        )
        for directory in directories
        for point in directory.points
    )
    return {weight: counted[weight] for weight in order}


def runs_of(rows: Sequence[PointRow]) -> list[tuple[DirectoryEvidence, list[PointRow]]]:
    """The evidence in rows, run by run, and the rows of each; paths are written from where they
    differ.

    A run is a directory, as long as all in it is of one model, layout, workload and program.
    """
    ordered = sorted(rows, key=_run)
    grouped = [(run, list(group)) for run, group in groupby(ordered, _run)]
    repeats = Counter(path for (path, _), _ in grouped)
    files = Counter(row.file for row in rows)
    top = _common_top(list(repeats))
    found = []
    for (path, n), group in grouped:
        name = os.path.relpath(path, top) + (f" (repeat {n})" if repeats[path] > 1 else "")
        for part, of_it in _parts(group):
            about = DirectoryEvidence(
                path=f"{name} [{part}]" if part else name,
                within=name if part else "",
                label=_label(of_it[0]),
                points=tuple(_point(row, top, alone=files[row.file] == 1) for row in of_it),
            )
            found.append((about, of_it))
    return found


def _run(row: PointRow) -> tuple[str, int]:
    """Repeats may lie in one directory, as `run=0.json`, `run=1.json`."""
    return row.directory, row.repeat


def _parts(rows: Sequence[PointRow]) -> list[tuple[str, list[PointRow]]]:
    """The runs of one directory, each with what tells it from the others; "" for the only one."""
    found: dict[tuple[str, ...], list[list[PointRow]]] = {}
    for row in rows:
        of_one_kind = found.setdefault(_kind(row), [])
        for part in of_one_kind:
            if _same_lengths(part[0], row):
                part.append(row)
                break
        else:
            of_one_kind.append([row])
    parts = [(kind, part) for kind, of_kind in found.items() for part in of_kind]
    if len(parts) == 1:
        return [("", parts[0][1])]
    differ = [i for i, values in enumerate(zip(*found, strict=True)) if len(set(values)) > 1]
    named: list[tuple[str, list[PointRow]]] = []
    for kind, part in parts:
        told = [kind[i] or "?" for i in differ]
        if len(found[kind]) > 1:
            told.append("/".join("?" if n is None else f"{n:.0f}" for n in _lengths(part[0])))
        named.append((" ".join(told), part))
    return named


def _kind(row: PointRow) -> tuple[str, ...]:
    return (
        row.source, row.model, row.gpu_model, row.layout, row.placement, row.network, row.mode,
    )  # fmt: skip


def _lengths(row: PointRow) -> tuple[float | None, float | None]:
    """Tokens of a prompt and of an answer: as asked for, else on average."""
    return (
        _each(row.input_len, row.input_tokens, row.completed),
        _each(row.output_len, row.output_tokens, row.completed),
    )


def _each(asked: int | None, total: int | None, requests: int) -> float | None:
    if asked is not None:
        return float(asked)
    return total / requests if total and requests else None


def _same_lengths(one: PointRow, other: PointRow) -> bool:
    """Few requests of a data set differ in their means; two workloads differ by more."""
    return all(
        a is None or b is None or max(a, b) <= _ONE_WORKLOAD * min(a, b)
        for a, b in zip(_lengths(one), _lengths(other), strict=True)
    )


def _common_top(paths: Sequence[str]) -> str:
    """The directory that all are in; of one, the one above it."""
    if not paths:
        return ""
    return os.path.commonpath([str(Path(path).absolute().parent) for path in paths])


def _label(row: PointRow) -> Label:
    return Label(
        model=row.model,
        gpu_model=row.gpu_model,
        layout=_layout(row.layout),
        placement=row.placement,
        network=row.network,
        input_len=row.input_len,
        output_len=row.output_len,
        mode=row.mode,
    )


def _layout(slug: str) -> Layout | None:
    try:
        return parse_layout(slug)
    except LayoutError:
        return None


def _point(row: PointRow, top: str, *, alone: bool) -> PointEvidence:
    file = os.path.relpath(row.file, top)
    return PointEvidence(
        file=file if alone else f"{file}: {row.point}",
        source=row.source,
        fresh_prompts=row.source == "pdconsole",
        whole_run=row.source in _WHOLE_RUNS,
        exact_rates=row.source == "vllm bench serve",
        load_kind=row.kind,
        load=row.value,
        started=row.started_wall,
        duration=row.duration_s,
        completed=row.completed,
        failed=row.failed,
        asked=row.num_prompts,
        cap=row.max_concurrency,
        peak=row.peak_concurrency,
        peak_counts_seconds=row.source == "vllm bench serve",
        burstiness=row.burstiness,
        input_tokens=row.input_tokens,
        output_tokens=row.output_tokens,
        request_rate=row.request_throughput,
        token_rate=row.total_token_throughput,
        ttft=_spread(row, "ttft"),
        tpot=_spread(row, "tpot"),
        itl=_spread(row, "itl"),
        e2el=_spread(row, "e2el"),
        input_len=row.input_len,
        output_len=row.output_len,
        mode=row.mode,
    )


def _spread(row: PointRow, latency: str) -> Spread:
    return Spread(*(row.latency(latency, which) for which in ("mean", "std", "p50", "p99")))
