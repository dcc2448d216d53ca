"""Result files of anybody, looked through: what is wrong or doubtful, with evidence."""

from __future__ import annotations

import os
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
from pdconsole.results.reading import read_points

# guidellm leaves its warm-up and cool-down out, pdconsole counts a steady window.
_WHOLE_RUNS = frozenset({"vllm bench serve", "aiperf", "genai-bench"})

WEIGHTS = ("bad", "warn", "info")  # the gravest first


class AuditReport(msgspec.Struct, frozen=True):
    """What was found. `skipped` names what could not be read, and why."""

    findings: tuple[Finding, ...]
    not_detectable: tuple[NotDetectable, ...]
    points: int
    directories: tuple[str, ...]
    skipped: tuple[str, ...] = ()

    def text(self, width: int) -> str:
        """For a terminal of this width."""
        return report_text(self.findings, self.not_detectable, self.points, self.directories, width)

    def has(self, weight: str) -> bool:
        """Whether anything of this weight, or a graver one, was found."""
        graver = WEIGHTS[: WEIGHTS.index(weight) + 1]
        return any(finding.weight in graver for finding in self.findings)

    def to_json(self) -> dict[str, Any]:
        found: dict[str, Any] = msgspec.to_builtins(self)
        return found


def audit_paths(paths: Iterable[Path]) -> AuditReport:
    """Read files and directories (a directory of directories is all of those) and audit them."""
    rows: list[PointRow] = []
    skipped: list[str] = []
    for path in dict.fromkeys(paths):
        found, problems = read_points(path)
        rows += found
        skipped += [str(problem) for problem in problems]
    return audit_rows(rows, skipped)


def audit_rows(rows: Sequence[PointRow], skipped: Iterable[str] = ()) -> AuditReport:
    """Audit points that were read already; each counts once."""
    once = list({(r.file, r.point, r.started_wall, r.duration_s): r for r in rows}.values())
    directories = directories_of(once)
    findings, silent = audit(directories)
    return AuditReport(
        findings=tuple(findings),
        not_detectable=tuple(silent),
        points=len(once),
        directories=tuple(directory.path for directory in directories),
        skipped=tuple(skipped),
    )


def directories_of(rows: Sequence[PointRow]) -> list[DirectoryEvidence]:
    """The evidence in rows, by directory; paths are written from where they differ."""
    ordered = sorted(rows, key=_run)
    grouped = [(run, list(group)) for run, group in groupby(ordered, _run)]
    paths = [path for (path, _), _ in grouped]
    top = _common_top(paths)
    return [
        DirectoryEvidence(
            path=os.path.relpath(path, top) + (f" (repeat {n})" if paths.count(path) > 1 else ""),
            label=_label(group[0]),
            points=tuple(_point(row, top) for row in group),
        )
        for (path, n), group in grouped
    ]


def _run(row: PointRow) -> tuple[str, int]:
    """Repeats may lie in one directory, as `run=0.json`, `run=1.json`."""
    return row.directory, row.repeat


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


def _point(row: PointRow, top: str) -> PointEvidence:
    return PointEvidence(
        file=os.path.relpath(row.file, top),
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
