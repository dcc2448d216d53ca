"""What a plan would start: every process with its command line and environment. Starts nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pdconsole.model.grid import Slot, format_indices
from pdconsole.model.plan import RunPlan
from pdconsole.model.survey import LaunchPlan, LaunchProcess, Survey
from pdconsole.profiles.schema import ClusterProfile
from pdconsole.runner.planning import Planned
from pdconsole.serving.errors import ServingError
from pdconsole.serving.plan import DeploymentPlan
from pdconsole.serving.planning import plan_deployment

# A plan is of no session yet; nothing in a command line names one.
UNNAMED = "plan"
ADDRESSES_LATER = (
    "addresses of simulated nodes are known when they run; until then their names stand there"
)


def launch_plans(
    planned: Planned,
    *,
    cluster: ClusterProfile,
    versions: Mapping[str, Mapping[str, str]],
    survey: Survey | None = None,
) -> tuple[LaunchPlan, ...]:
    """One a run. `cluster` has the addresses of nodes that run; `versions` are those known."""
    return tuple(_launch(planned, run, cluster, versions, survey) for run in planned.plan.runs)


def _launch(
    planned: Planned,
    run: RunPlan,
    cluster: ClusterProfile,
    versions: Mapping[str, Mapping[str, str]],
    survey: Survey | None,
) -> LaunchPlan:
    if not all(node in versions for node in run.placement.nodes):
        versions = {}  # a node that was not asked is not one without vLLM
    try:
        plan = plan_deployment(
            run,
            cluster=cluster,
            model=planned.model,
            network=planned.networks[run.network],
            versions=versions,
            session=UNNAMED,
        )
    except ServingError as e:
        return LaunchPlan(run=run.id, refused=str(e))
    return LaunchPlan(
        run=run.id,
        processes=tuple(_processes(plan)),
        notes=(*plan.notes, *_notes(run, cluster, survey)),
    )


def _processes(plan: DeploymentPlan) -> Iterator[LaunchProcess]:
    for process in plan.processes:
        yield LaunchProcess(
            name=process.name,
            role=process.role,
            node=process.node,
            tp=process.tp,
            slots=process.slots,
            argv=process.argv,
            env=process.env,
            url=process.url,
        )


def _notes(run: RunPlan, cluster: ClusterProfile, survey: Survey | None) -> Iterator[str]:
    if cluster.simulated and any(not node.address for node in cluster.nodes):
        yield ADDRESSES_LATER
    used = set(run.placement.slots)
    for node in survey.nodes if survey else ():
        if node.message and node.name in run.placement.nodes:
            yield f"{node.name}: {node.message}"
        held: dict[str, list[int]] = {}
        for gpu in node.gpus:
            if gpu.owner in ("ours", "others") and Slot(node.name, gpu.index) in used:
                held.setdefault(gpu.holder, []).append(gpu.index)
        for holder, indices in held.items():
            yield f"GPU {format_indices(indices)} of {node.name} is held now: {holder}"
