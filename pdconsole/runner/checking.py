"""Checks of a cluster outside a session, from what a survey of it has seen."""

from __future__ import annotations

from pdconsole.measure.preflight import preflight, preflight_cluster
from pdconsole.model.events import CheckResult
from pdconsole.model.survey import Checking
from pdconsole.runner.planning import Planned
from pdconsole.runner.survey import ClusterSurvey

# Nothing on a node is of a session that does not exist yet.
NO_SESSION = ""


def checking(survey: ClusterSurvey, planned: Planned | None = None) -> Checking:
    """What is known by now: of what `planned` would use, without it of the whole cluster.

    A node that is still being looked at is left out, and `busy` says that there is one.
    """
    waiting = survey.waiting_for()
    results = _of_runs(survey, planned) if planned else _of_cluster(survey)
    used = {result.node for result in results}
    return Checking(
        cluster=survey.cluster.name,
        busy=bool(waiting & used) if planned else bool(waiting),
        results=tuple(r for r in results if r.node not in waiting),
    )


def _of_runs(survey: ClusterSurvey, planned: Planned) -> list[CheckResult]:
    sights = survey.sights
    return preflight(
        sights.inventories(),
        planned.plan.runs,
        cluster=survey.cluster,
        model=planned.model,
        networks=planned.networks,
        session=NO_SESSION,
        clocks=sights.clocks(),
        unreachable=sights.unreachable(),
    )


def _of_cluster(survey: ClusterSurvey) -> list[CheckResult]:
    sights = survey.sights
    return preflight_cluster(
        sights.inventories(),
        cluster=survey.cluster,
        session=NO_SESSION,
        clocks=sights.clocks(),
        unreachable=sights.unreachable(),
    )
