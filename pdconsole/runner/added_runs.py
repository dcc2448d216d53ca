"""Layouts added to a session that runs: as runs like those it has."""

from __future__ import annotations

from collections.abc import Sequence

from pdconsole.model.placement import Placement
from pdconsole.model.plan import ExperimentPlan, RunPlan
from pdconsole.model.request import PlacedLayout
from pdconsole.profiles.schema import NetworkProfile
from pdconsole.runner.ad_hoc import PlanError, placed_run
from pdconsole.runner.planning import Planned, grid_of, place_run, run_plan


def added_runs(
    planned: Planned, plan: ExperimentPlan, placed: Sequence[PlacedLayout]
) -> tuple[RunPlan, ...]:
    """For each layout one run a workload of the session, over the points which that has there.

    `plan` is the session's as it is now. Raises PlanError, GeometryError.
    """
    if not placed:
        raise PlanError("name a layout to add")
    if plan.kind == "netbench":
        raise PlanError(
            "a network test is as it began; test another pair with `pdconsole netbench`"
        )
    grid = grid_of(planned.cluster)
    number = max((int(run.id) for run in plan.runs), default=0)
    runs: list[RunPlan] = []
    for asked in placed:
        placement = place_run(placed_run(asked), grid)
        network = _network(planned, plan, placement)
        for like in {run.workload: run for run in plan.runs}.values():
            number += 1
            runs.append(
                run_plan(str(number), placement, network, like.workload, like.points, planned.model)
            )
    return tuple(runs)


def _network(planned: Planned, plan: ExperimentPlan, placement: Placement) -> str:
    """The first of the session's networks that can join these replicas."""
    names = list(dict.fromkeys(run.network for run in plan.runs))
    for name in names:
        if _reaches(planned.networks[name], placement):
            return name
    where = "different nodes" if placement.crosses_nodes else "one node"
    raise PlanError(
        f"no network of this session ({', '.join(names)}) joins prefill and decode of "
        f"{placement.layout} on {where}; place it otherwise, or run it on its own"
    )


def _reaches(network: NetworkProfile, placement: Placement) -> bool:
    if not placement.layout.is_pd or network.across_nodes is None:
        return True
    apart = {p.node != d.node for p in placement.of("prefill") for d in placement.of("decode")}
    return apart == {network.across_nodes}
