"""What a session says about its question: the regimes it was made for, and each run against the
baseline."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from pdconsole.model.events import NetBenchResult
from pdconsole.model.latency_axis import parse_latency
from pdconsole.model.plan import AnswerTable, ExperimentPlan
from pdconsole.model.statistics import mean
from pdconsole.results.axes import Axes, ThroughputAxis
from pdconsole.results.directory import session_directories
from pdconsole.results.panel import Panel, label_of, panels, setting_of
from pdconsole.results.point_row import PointRow
from pdconsole.results.reading import read_points
from pdconsole.results.regime_table import (
    CERTAINTIES,
    TITLES,
    regime_lines,
    shown_regimes,
)
from pdconsole.results.table import wrapped


class AnsweredTable(msgspec.Struct, frozen=True):
    """A table of an experiment over the points of one setting."""

    table: AnswerTable
    panel: Panel


class Ratios(msgspec.Struct, frozen=True):
    """A run against the baseline at the same loads, (least, most) of each; None: nobody knows."""

    label: str
    setting: str
    loads: tuple[str, ...]
    throughput: tuple[float, float] | None  # per GPU that was loaded
    ttft: tuple[float, float] | None
    tpot: tuple[float, float] | None
    slot: str = "GPU"  # what a GPU is called here


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    question: str
    expectation: str
    tables: tuple[AnsweredTable, ...] = ()
    baseline: str = ""  # its label
    ratios: tuple[Ratios, ...] = ()
    network_tests: tuple[NetBenchResult, ...] = ()
    problems: tuple[str, ...] = ()

    def text(self, width: int) -> str:
        """For a terminal of this width."""
        parts = ["\n".join(_said("question", self.question, width))]
        if self.expectation:
            parts.append("\n".join(_said("expected", self.expectation, width)))
        parts += [text for each in self.tables if (text := _table_text(each, width))]
        compared = [each for each in self.tables if len(each.panel.labels) > 1]
        words = {r.certainty for t in compared for r in t.panel.regimes(t.table.over)}
        parts.append("\n".join(f"{w}: {why}" for w, why in CERTAINTIES.items() if w in words))
        parts.append("\n".join(_ratio_lines(self, width)))
        parts.append(
            "\n".join(wrapped([_network_line(test) for test in self.network_tests], width))
        )
        if not any(parts[1 + bool(self.expectation) :]):
            parts.append("answer: nothing was measured that could be compared")
        parts.append("\n".join(wrapped(self.problems, width)))
        return "\n\n".join(part for part in parts if part)

    def to_json(self) -> dict[str, Any]:
        return {
            "question": self.question,
            "expectation": self.expectation,
            "tables": [_table_data(each) for each in self.tables],
            "baseline": self.baseline,
            "against_baseline": [msgspec.to_builtins(each) for each in self.ratios],
        }


def answer(
    root: Path, session: str, plan: ExperimentPlan, tests: Iterable[NetBenchResult] = ()
) -> Answer:
    """From the session's files under `root`; what cannot be read is named in `problems`."""
    rows: list[PointRow] = []
    problems: list[str] = []
    for directory in session_directories(root, session, plan.runs):
        found, wrong = read_points(directory)
        rows += found
        problems += map(str, wrong)
    baseline = _baseline(plan)
    return Answer(
        question=plan.question,
        expectation=plan.expectation,
        tables=tuple(each for table in plan.answer for each in _answered(table, rows)),
        baseline=baseline,
        ratios=tuple(_against(baseline, rows)),
        network_tests=tuple(tests),
        problems=tuple(problems),
    )


def axes_of(table: AnswerTable, mode: str) -> Axes:
    """Raises AxisError for a latency that is none."""
    latency = table.latency or ("ttft" if mode == "prefill-only" else "tpot")
    return Axes(
        latency=parse_latency(latency),
        throughput=ThroughputAxis(what=table.throughput, per=table.per),
    )


def _answered(table: AnswerTable, rows: Sequence[PointRow]) -> list[AnsweredTable]:
    found = []
    for mode in dict.fromkeys(row.mode for row in rows):
        if table.modes and mode not in table.modes:
            continue
        of_mode = [row for row in rows if row.mode == mode]
        found += [AnsweredTable(table, panel) for panel in panels(of_mode, axes_of(table, mode))]
    return found


def _baseline(plan: ExperimentPlan) -> str:
    run = next((run for run in plan.runs if run.id == plan.baseline), None)
    if run is None:
        return ""
    return " ".join((run.placement.layout.slug, run.network, run.placement.strategy))


def _against(baseline: str, rows: Sequence[PointRow]) -> Iterable[Ratios]:
    by_load: dict[tuple[str, str], dict[str, list[PointRow]]] = {}
    for row in rows:
        at_load = by_load.setdefault((row.workload, row.point), {})
        at_load.setdefault(label_of(row), []).append(row)
    pairs: dict[tuple[str, str], list[tuple[_Repeats, _Repeats]]] = {}
    for (workload, _), found in by_load.items():
        for label, repeats in found.items():
            if baseline in found and label != baseline:
                pairs.setdefault((workload, label), []).append((repeats, found[baseline]))
    for (workload, label), both in pairs.items():
        yield Ratios(
            label,
            workload,
            tuple(repeats[0].point for repeats, _ in both),
            _range(both, lambda row: row.tokens_per_s_per_gpu),
            _range(both, lambda row: row.ttft_p50_ms),
            _range(both, lambda row: row.tpot_p50_ms),
            setting_of(both[0][0][0]).slot,
        )


_Repeats = Sequence[PointRow]  # of one load; what counts is their mean


def _range(
    pairs: Sequence[tuple[_Repeats, _Repeats]], number: Callable[[PointRow], float | None]
) -> tuple[float, float] | None:
    def of(repeats: _Repeats) -> float | None:
        known = [value for row in repeats if (value := number(row)) is not None]
        return mean(known) if known else None

    known = [(a, b) for one, other in pairs if (a := of(one)) and (b := of(other))]
    ratios = [a / b for a, b in known]
    return (min(ratios), max(ratios)) if ratios else None


def _said(word: str, text: str, width: int) -> list[str]:
    return wrapped([f"{word}: {' '.join(text.split())}"], width)


def _table_text(answered: AnsweredTable, width: int) -> str:
    panel, over = answered.panel, answered.table.over
    workload = panel.setting.workload + (": simulated" if panel.setting.simulated else "")
    lines = regime_lines(panel, over, width)
    if lines:
        return "\n".join(wrapped([f"answer: {TITLES[over]}, {workload}"], width) + lines)
    if len(panel.labels) == 1:
        return f"answer: {panel.labels[0]} was measured alone; there is nothing to compare it with"
    return ""


def _ratio_lines(answer: Answer, width: int) -> list[str]:
    if not answer.ratios:
        return []
    lines = [f"against {answer.baseline} at the same load:"]
    several = len({ratios.setting for ratios in answer.ratios}) > 1
    for ratios in answer.ratios:
        named = (
            (f"tok/s/{ratios.slot}", ratios.throughput),
            ("median TTFT", ratios.ttft),
            ("median TPOT", ratios.tpot),
        )
        parts = [f"{name} {times(between)}" for name, between in named if between is not None]
        of = f" ({ratios.setting})" if several else ""
        lines.append(f"  {ratios.label}{of}: {', '.join(parts)}")
    return wrapped(lines, width)


def times(between: tuple[float, float] | None) -> str:
    """`×0.88 to ×1.02`; `-` where nobody knows."""
    if between is None:
        return "-"
    low, high = (f"{x:.2f}" if x < 10 else f"{x:,.0f}" for x in between)
    return f"×{low}" if low == high else f"×{low} to ×{high}"


def _network_line(test: NetBenchResult) -> str:
    speed = "not measured" if test.gbps is None else f"{test.gbps:.1f} GB/s"
    by = f" by {test.transport}" if test.transport else ""
    return (
        f"answer: {test.network}, {test.source} to {test.reader}: {speed}{by}, {test.verdict}"
        f" (good from {test.good_gbps:g}, bad below {test.bad_gbps:g}): {test.message}"
    )


def _table_data(answered: AnsweredTable) -> dict[str, Any]:
    panel, table = answered.panel, answered.table
    return {
        "setting": msgspec.to_builtins(panel.setting),
        "latency": panel.axes.latency.title,
        "throughput": panel.axes.throughput.unit(panel.setting.slot),
        "over": table.over,
        "regimes": [msgspec.to_builtins(regime) for regime in shown_regimes(panel, table.over)],
    }
