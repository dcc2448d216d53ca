"""A session's plan as events."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pdconsole.model import events as ev
from pdconsole.model.plan import ExperimentPlan, RunPlan, planned_run
from pdconsole.model.state import State


def opened_event(session: str, plan: ExperimentPlan, command: str) -> ev.SessionOpened:
    return ev.SessionOpened(
        session=session,
        experiment=plan.experiment,
        question=plan.question,
        expectation=plan.expectation,
        cluster=plan.cluster,
        model=plan.model,
        simulated=plan.simulated,
        command=command,
        slot_kind=plan.slot_kind,
        runs=planned_runs(plan),
    )


def changed_event(plan: ExperimentPlan, reason: str) -> ev.PlanChanged:
    return ev.PlanChanged(runs=planned_runs(plan), reason=reason)


def planned_runs(plan: ExperimentPlan) -> tuple[ev.PlannedRun, ...]:
    return tuple(planned_run(run, plan.slot_kind) for run in plan.runs)


def is_recorded(plan: ExperimentPlan, state: State) -> bool:
    """Whether the recording has these runs in this order."""
    return [run.id for run in plan.runs] == [run.id for run in state.runs]


def skipped_events(run: RunPlan, attempts: Mapping[str, int]) -> Iterator[ev.Event]:
    """Of a run that has not begun and will not."""
    message = "skipped by an operator"
    for point in run.points:
        attempt = attempts.get(point.id, 0)
        yield ev.PointState(
            run=run.id, point=point.id, status="skipped", attempt=attempt, message=message
        )
    yield ev.RunState(run=run.id, status="skipped", message=message)
