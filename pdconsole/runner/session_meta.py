"""What session.yaml holds: the session, fully resolved, enough to resume and to reproduce it."""

from __future__ import annotations

from typing import Any

import msgspec

from pdconsole import __version__
from pdconsole.model.plan import ExperimentPlan
from pdconsole.model.request import RunRequest
from pdconsole.profiles.schema import ClusterProfile, ModelProfile, NetworkProfile
from pdconsole.remote.values import Inventory
from pdconsole.runner.planning import Planned


def new_meta(session: str, request: RunRequest, planned: Planned) -> dict[str, Any]:
    """The first session.yaml; profiles refuse secrets, so there are none in here."""
    return {
        "session": session,
        "pdconsole": __version__,
        "status": "starting",
        "message": "",
        "experiment": planned.plan.experiment,
        "question": planned.plan.question,
        "simulated": planned.plan.simulated,
        "layouts": _layouts(planned.plan),
        "command": request.command,
        "request": msgspec.to_builtins(request),
        "plan": msgspec.to_builtins(planned.plan),
        "seed": planned.seed or session,
        "profiles": {
            "cluster": planned.cluster.model_dump(exclude_defaults=True),
            "model": planned.model.model_dump(exclude_defaults=True),
            "networks": {
                name: network.model_dump(exclude_defaults=True)
                for name, network in planned.networks.items()
            },
        },
        "nodes": {},
        "checks": [],
        "epochs": [],
    }


def with_plan(meta: dict[str, Any], plan: ExperimentPlan) -> None:
    """Put a changed plan in: a resume carries out what stands here."""
    meta["layouts"] = _layouts(plan)
    meta["plan"] = msgspec.to_builtins(plan)


def _layouts(plan: ExperimentPlan) -> list[str]:
    return [str(run.placement.layout) for run in plan.runs]


def node_facts(inventory: Inventory) -> dict[str, Any]:
    return {
        "hostname": inventory.hostname,
        "versions": {"python": inventory.python, **inventory.versions},
        "gpus": [gpu.name for gpu in inventory.gpus],
        "driver": inventory.driver,
    }


def planned_of(meta: dict[str, Any]) -> Planned:
    """What `new_meta` wrote, back as values. Raises KeyError or ValidationError if it is torn."""
    profiles = meta["profiles"]
    return Planned(
        plan=msgspec.convert(meta["plan"], ExperimentPlan),
        cluster=ClusterProfile.model_validate(profiles["cluster"]),
        model=ModelProfile.model_validate(profiles["model"]),
        networks={
            name: NetworkProfile.model_validate(network)
            for name, network in profiles["networks"].items()
        },
        seed=meta["seed"],
    )
