"""A section of FINDINGS.md: the numbers filled in, the prose left to whoever measured them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from pdconsole.model.audit_evidence import Finding
from pdconsole.results.answer import Answer, times
from pdconsole.results.audit import AuditReport
from pdconsole.results.comparison import Comparison
from pdconsole.results.errors import ResultError
from pdconsole.results.figure import write_figure
from pdconsole.results.files import replace_file, write_error
from pdconsole.results.panel import Panel, Placed
from pdconsole.results.regime_table import (
    CERTAINTIES,
    TITLES,
    bad_lines,
    regime_cells,
    regime_heading,
    shown_regimes,
)

FINDINGS = "FINDINGS.md"
FIGURES = "figures"
TO_WRITE = "✎"  # what stands before it is for a person to write
_HEAD = f"""# Findings

Sections begun by `pdconsole finding new`. Numbers, tables, figures and paths are filled in
from result files; what is marked {TO_WRITE} is to be written, and the mark removed.
"""
_SECTION = re.compile(r"^## (\d+)\. ", re.M)
_WEIGHTS = ("bad", "warn")
_SUBJECTS = 2  # named of a finding


class Subject(msgspec.Struct, frozen=True, kw_only=True):
    """What a finding is about, beside its numbers. Paths are as they are to be written down."""

    title: str
    question: str = ""
    expectation: str = ""
    reproduce: tuple[str, ...] = ()  # commands
    data: tuple[str, ...] = ()
    answer: Answer | None = None  # of a session


class Written(msgspec.Struct, frozen=True):
    file: Path
    number: int
    figure: Path | None  # None: there was nothing to draw


def add_finding(
    workspace: Path, subject: Subject, comparison: Comparison, audit: AuditReport
) -> Written:
    """Append a section to FINDINGS.md, and write its figure. Raises ResultError.

    What is there stays as it is.
    """
    file = workspace / FINDINGS
    try:
        before = file.read_text("utf-8") if file.exists() else _HEAD
    except OSError as e:
        raise write_error(file, e) from e
    except UnicodeDecodeError as e:
        raise ResultError(f"{file} is no UTF-8 text ({e}); nothing was written") from e
    number = 1 + max((int(n) for n in _SECTION.findall(before)), default=0)
    figure = _figure(workspace, number, subject.title, comparison)
    link = figure.relative_to(workspace).as_posix() if figure else ""
    section = finding_section(number, subject, comparison, audit, link)
    replace_file(file, f"{before.rstrip()}\n\n{section}".encode())
    return Written(file, number, figure)


def finding_section(
    number: int, subject: Subject, comparison: Comparison, audit: AuditReport, figure: str = ""
) -> str:
    """Markdown. `figure` is its path as the section links to it."""
    title = _line(subject.title)
    parts = [
        f"## {number}. {title}",
        f"**Question**: {_line(subject.question) or f'{TO_WRITE} *what did you want to know?*'}",
        f"**Observation**: {TO_WRITE} *what do the numbers say, in one or two sentences?*",
        "**Details**:",
    ]
    if subject.expectation:
        parts.append(f"Expected before the run: {_line(subject.expectation)}")
    for panel in comparison.panels:
        parts += _panel_parts(comparison, panel)
    parts += _against_baseline(subject.answer)
    parts.append(_doubts(audit))
    if figure:
        words = re.sub(r"([\\\[\]])", r"\\\1", title)
        parts.append(f"![{words}]({figure.replace(' ', '%20')})")
    parts.append(f"{TO_WRITE} *why is it so? What else could explain it?*")
    parts.append("**Reproduce**:\n\n" + "\n".join(f"    {line}" for line in subject.reproduce))
    parts.append("**Data**:\n\n" + "\n".join(f"- `{path}`" for path in subject.data))
    parts.append(f"**Implications**:\n\n- {TO_WRITE} *what would you do differently now?*")
    return "\n\n".join(parts) + "\n"


def compare_command(paths: Iterable[str], options: Sequence[str]) -> str:
    return shlex.join(("pdconsole", "compare", *paths, *options))


def _figure(workspace: Path, number: int, title: str, comparison: Comparison) -> Path | None:
    if not any(panel.points for panel in comparison.panels):
        return None
    slug = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")[:60].rstrip("-")
    path = workspace / FIGURES / f"{number}-{slug or 'finding'}.svg"
    try:
        path.parent.mkdir(exist_ok=True)
    except OSError as e:
        raise write_error(path.parent, e) from e
    write_figure(comparison, path)
    return path


def _panel_parts(comparison: Comparison, panel: Panel) -> list[str]:
    """A table of layouts, the frontier, the regimes."""
    axes, slot = panel.axes, panel.setting.slot
    parts = [f"*{comparison.heading(panel)}* ({axes.throughput.explanation(slot, panel.rows)}):"]
    if not panel.points:
        return [*parts, "No point of it has a place on these axes."]
    parts += [_layouts(panel), *_flags(panel)]
    for beaten in panel.beaten:
        parts.append(f"{beaten.label} is dominated at every point, by {', '.join(beaten.winners)}.")
    if len(panel.labels) > 1:
        parts += [_regimes(panel, axis) for axis in TITLES]
        words = {r.certainty for axis in TITLES for r in panel.regimes(axis)}
        parts.append("; ".join(f"{w}: {why}" for w, why in CERTAINTIES.items() if w in words) + ".")
    return parts


def _layouts(panel: Panel) -> str:
    """Of each layout its point of most throughput and that of least latency."""
    axes, slot = panel.axes, panel.setting.slot
    unit, latency = axes.throughput.unit(slot), f"{axes.latency.title}, {axes.latency.unit}"
    head = ("layout", "points", f"most {unit}", latency, f"{unit} at best latency", latency)
    rows = []
    for label in panel.labels:
        points = panel.of(label)
        most = max(points, key=lambda point: point.throughput)
        least = min(points, key=lambda point: point.cost)
        rows.append((label, str(len(points)), *_shown(panel, most), *_shown(panel, least)))
    return _table(head, rows)


def _shown(panel: Panel, point: Placed) -> tuple[str, str]:
    axes, slot = panel.axes, panel.setting.slot
    divisor = axes.throughput.shown_divisor(point.row, slot)
    throughput = f"{point.throughput:,.{axes.digits()}f} {divisor}".strip()
    between = point.latency_interval
    interval = f" ({between[0]:,.1f} to {between[1]:,.1f})" if between else ""
    return f"{throughput} at {point.row.point}", f"{point.latency:,.1f}{interval}"


def _regimes(panel: Panel, axis: str) -> str:
    over = next(each for each in TITLES if each == axis)
    found = shown_regimes(panel, over)
    names = {label: label for label in panel.labels}
    rows = [regime_cells(panel, over, regime, names) for regime in found]
    head = regime_heading(panel, over, "by")
    return "\n\n".join(
        [f"{TITLES[over].capitalize()}:", _table(head, rows), *bad_lines(panel, found)]
    )


def _against_baseline(answer: Answer | None) -> list[str]:
    if answer is None or not answer.ratios:
        return []
    rows = [
        (
            ratios.label,
            ratios.setting,
            *(times(each) for each in (ratios.throughput, ratios.ttft, ratios.tpot)),
        )
        for ratios in answer.ratios
    ]
    slot = answer.ratios[0].slot  # of one cluster
    head = ("layout", "workload", f"tok/s/{slot}", "median TTFT", "median TPOT")
    return [f"Against {answer.baseline} at the same load:\n\n{_table(head, rows)}"]


def _flags(panel: Panel) -> list[str]:
    """What was flagged when it was measured, or reading it."""
    names = [name for row in panel.rows for name in row.flags if name != "simulated"]
    if not names:
        return []
    counted = [f"{name} at {names.count(name)}" for name in dict.fromkeys(names)]
    return [f"Flags, of {len(panel.rows)} points: {', '.join(counted)}."]


def _doubts(audit: AuditReport) -> str:
    """A line a rule."""
    found: dict[tuple[str, str], list[Finding]] = {}
    for finding in audit.findings:
        if finding.weight in _WEIGHTS:
            found.setdefault((finding.weight, finding.rule), []).append(finding)
    if not found:
        return "`pdconsole audit` finds nothing wrong in these files."
    lines = []
    for (weight, rule), same in found.items():
        times_found = f", {len(same)} times, such as" if len(same) > 1 else ""
        about = ", ".join(f"`{subject}`" for subject in same[0].subjects[:_SUBJECTS])
        lines.append(f"- {rule} ({weight}){times_found}: {about}: {same[0].evidence}")
    return "What `pdconsole audit` says of these files:\n\n" + "\n".join(lines)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines)


def _line(text: str) -> str:
    return " ".join(text.split())
