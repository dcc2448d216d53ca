"""The workspace's experiments, as its profiles describe them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from pdconsole.ui.lines import counted
from pdconsole.ui.widgets.row_table import Cell, Column, Row

COLUMNS = (
    Column("name", "experiment", 22),
    Column("layouts", "layouts", 7, "right", priority=7),
    Column("points", "points", 6, "right", priority=6),
    Column("quick", "short form", 10, priority=3),
    Column("cluster", "cluster", 10, priority=5),
    Column("model", "model", 13, priority=4),
    Column("question", "question", 24, flex=1, priority=8),
)


class ExperimentEntry(msgspec.Struct, frozen=True):
    """`problem` says why it cannot be used; the rest is then as far as it is known."""

    name: str
    question: str = ""
    expectation: str = ""
    layouts: int = 0
    optional: int = 0  # layouts carried out only when asked for
    points: int = 0
    quick: bool = False
    cluster: str = ""
    model: str = ""
    workload: str = ""
    problem: str = ""


def read_experiments(workspace: Path) -> tuple[ExperimentEntry, ...]:
    """By name. Takes a moment: it reads every file."""
    from pdconsole.profiles import ProfileError, Profiles

    profiles = Profiles.open(workspace)
    found = []
    for name in profiles.names("experiment"):
        try:
            e = profiles.experiment(name)
        except ProfileError as error:
            found.append(ExperimentEntry(name=name, problem=str(error)))
            continue
        found.append(
            ExperimentEntry(
                name=name,
                question=e.question.strip(),
                expectation=e.expectation.strip(),
                layouts=len(e.chosen_runs()) * len(e.modes),
                optional=sum(run.optional for run in e.runs),
                points=len(e.points()),
                quick=e.quick is not None,
                cluster=e.cluster,
                model=e.model,
                workload=e.workload,
            )
        )
    return tuple(found)


def experiment_rows(entries: Sequence[ExperimentEntry], word: str) -> list[Row]:
    word = word.casefold()
    return [_row(e) for e in entries if word in f"{e.name} {e.question} {e.model}".casefold()]


def _row(e: ExperimentEntry) -> Row:
    role = "muted" if e.problem else "text"

    def number(count: int) -> Cell:
        return Cell(str(count) if count else "-", role, float(count))

    return Row(
        e.name,
        (
            Cell(e.name, role),
            number(e.layouts),
            number(e.points),
            Cell("yes" if e.quick else "-", role),
            Cell(e.cluster or "-", role),
            Cell(e.model or "-", role),
            Cell(e.problem, "warn") if e.problem else Cell(e.question, "muted"),
        ),
    )


def about_experiment(e: ExperimentEntry) -> list[str]:
    if e.problem:
        return [e.name, e.problem]
    more = f", {e.optional} more on request" if e.optional else ""
    return [
        f"{e.question}",
        f"expected: {e.expectation}" if e.expectation else "",
        f"{counted(e.layouts, 'layout')}{more}, {counted(e.points, 'point')} each, "
        f"{e.workload}, {e.model}",
    ]
