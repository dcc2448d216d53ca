"""The last words about a session: how it went, what came out, where it lies."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from pdconsole.journal import JournalError, SessionDir
from pdconsole.model import events as ev
from pdconsole.model.state import State
from pdconsole.ui.lines import duration, layout_name, point_name, unit_of
from pdconsole.ui.tables import table

if TYPE_CHECKING:
    from pdconsole.results.answer import Answer

WIDTH = 120
_SLOTS = {
    ("gpu-share", "GPU"): "replicas share a GPU, which counts once",
    ("gpu-share", "slot"): "the slots are shares of one GPU: more of them are no more hardware",
    ("cpu", "slot"): "the slots are CPU and share the cores of their node",
}


def session_summary(workspace: Path, state: State) -> dict[str, Any]:
    """For scripts: status, every run with its points' results, and what they say."""
    answer = session_answer(workspace, state)
    return {
        "answer": answer.to_json() if answer else None,
        "session": state.session,
        "path": str(workspace / "sessions" / state.session),
        "status": state.status,
        "message": state.message,
        "simulated": state.simulated,
        "duration_s": state.t,
        "runs": [
            {
                "run": run.id,
                "layout": run.plan.layout,
                "strategy": run.plan.strategy,
                "network": run.plan.network,
                "mode": run.plan.mode,
                "status": run.status,
                "message": run.message,
                "result_dir": _result_dir(state, run.id),
                "points": [
                    {
                        "point": point.id,
                        "status": point.status,
                        "message": point.message,
                        "result": msgspec.to_builtins(point.result) if point.result else None,
                    }
                    for point in run.points
                ],
            }
            for run in state.runs
        ],
    }


def summary_text(workspace: Path, state: State) -> str:
    """For people: a row a point, what they say about the question, where everything lies."""
    rows = [
        _row(_name(state, run.plan), run.plan.mode, point.id, point.result)
        for run in state.runs
        for point in run.points
        if point.result is not None
    ]
    lines = [""]
    unit = unit_of(state)
    if rows:
        lines.append(
            table(
                [
                    ("layout", "left"),
                    ("mode", "left"),
                    ("point", "left"),
                    ("req/s", "right"),
                    ("tok/s", "right"),
                    (f"tok/s/{unit}", "right"),
                    ("TTFT p50", "right"),
                    ("p99 ms", "right"),
                    ("TPOT p50", "right"),
                    ("p99 ms", "right"),
                    ("flags", "fold"),
                ],
                rows,
                WIDTH,
            )
        )
        lines.append("")
        lines.append(f"tok/s are input and output tokens; the {unit}s are those that got the load")
        if state.opened is not None and (note := _SLOTS.get((state.opened.slot_kind, unit))):
            lines.append(note)
    if answer := session_answer(workspace, state):
        lines += ["", answer.text(WIDTH), ""]
    said = f": {state.message}" if state.message else ""
    lines.append(f"session {state.session} {state.status} in {duration(state.t)}{said}")
    if state.simulated:
        lines.append("all numbers are simulated: engine model, not GPUs")
    lines.append(f"recording  {workspace / 'sessions' / state.session}")
    directories = [d for run in state.runs if (d := _result_dir(state, run.id))]
    if directories:
        lines.append(f"results    {workspace / 'bm_results'}/")
        lines += [f"           {d}" for d in directories]
    return "\n".join(lines)


def session_answer(workspace: Path, state: State) -> Answer | None:
    """What the session says about its question; None where it measured nothing, or is not there."""
    if not state.network_tests and not any(p.result for run in state.runs for p in run.points):
        return None
    from pdconsole.model.plan import ExperimentPlan
    from pdconsole.results.answer import answer

    try:
        meta = SessionDir.find(workspace, state.session).read_meta()
        plan = msgspec.convert(meta["plan"], ExperimentPlan)
    except (JournalError, KeyError, msgspec.ValidationError):
        return None  # what was asked is not to be had; the numbers above stand for themselves
    return answer(workspace / "bm_results", state.session, plan, state.network_tests.values())


def _result_dir(state: State, run_id: str) -> str:
    """Where the run's files really went: its directory may have got a suffix."""
    run = state.run(run_id)
    files = [p.result.file for p in run.points if p.result and p.result.file] if run else []
    return files[0].split("/")[0] if files else ""


def _name(state: State, plan: ev.PlannedRun) -> str:
    """The layout, with its placement and network where the session's runs differ in them."""
    plans = [run.plan for run in state.runs]
    parts = [layout_name(plan.layout)]
    parts += [plan.strategy] if len({p.strategy for p in plans}) > 1 else []
    parts += [plan.network] if len({p.network for p in plans}) > 1 else []
    return " ".join(parts)


def _row(layout: str, mode: str, point: str, r: ev.PointResult) -> tuple[str, ...]:
    def ms(values: dict[str, float], key: str, digits: int) -> str:
        return f"{values[key]:,.{digits}f}" if key in values else "-"

    return (
        layout,
        mode,
        point_name(point),
        f"{r.request_throughput:.2f}",
        f"{r.total_token_throughput:,.0f}",
        f"{r.tokens_per_s_per_gpu:,.0f}",
        ms(r.ttft_ms, "p50", 0),
        ms(r.ttft_ms, "p99", 0),
        ms(r.tpot_ms, "p50", 2),
        ms(r.tpot_ms, "p99", 2),
        ", ".join(flag.split(":")[0] for flag in r.flags),
    )
