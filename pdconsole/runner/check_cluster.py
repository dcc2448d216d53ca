"""The checks of a run, or of a whole cluster, for a command: no session, nothing is started."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from pdconsole.model.request import RunRequest
from pdconsole.model.survey import Checking
from pdconsole.profiles import Profiles
from pdconsole.profiles.schema import ClusterProfile
from pdconsole.runner.checking import checking
from pdconsole.runner.planning import Planned, plan_experiment
from pdconsole.runner.survey import ClusterSurvey, model_sources

LOOK_S = 0.1


def check_request(workspace: Path, request: RunRequest) -> Checking:
    """What a run of this request would be told first. Raises the parts' own exceptions."""
    planned = plan_experiment(Profiles.open(workspace), request)
    return asyncio.run(_check(planned.cluster, (planned.model.source,), planned))


def check_cluster(workspace: Path, name: str) -> Checking:
    """What can be said of a cluster before anybody knows what will run there."""
    profiles = Profiles.open(workspace)
    return asyncio.run(_check(profiles.cluster(name), model_sources(profiles), None))


async def _check(
    cluster: ClusterProfile, models: tuple[str, ...], planned: Planned | None
) -> Checking:
    survey = ClusterSurvey(cluster, f"check-{os.getpid()}", models=models)
    try:
        while True:
            survey.ask()
            found = checking(survey, planned)
            if not found.busy or survey.is_over:
                return found
            await asyncio.sleep(LOOK_S)
    finally:
        await survey.end()
