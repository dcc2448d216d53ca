"""From an experiment's profile and a request to a plan: every run placed, every point named."""

from __future__ import annotations

import dataclasses

import msgspec

from pdconsole.model.grid import Grid, GridNode
from pdconsole.model.layout import Layout, parse_layout
from pdconsole.model.placement import Placement, parse_manual, place
from pdconsole.model.plan import ExperimentPlan, RunPlan, result_dir_name
from pdconsole.model.request import AD_HOC, RunRequest
from pdconsole.model.workload import MeasurePolicy, Mode, Point, Workload
from pdconsole.profiles import Profiles
from pdconsole.profiles.experiment import ExperimentProfile, ExperimentRun
from pdconsole.profiles.schema import (
    ClusterProfile,
    ModelProfile,
    NetworkProfile,
    WorkloadProfile,
)
from pdconsole.runner.ad_hoc import PlanError, ad_hoc_experiment, placed_run
from pdconsole.runner.network_bench import refuse_untestable, result_dir
from pdconsole.serving.run_rules import check_reach


@dataclasses.dataclass(frozen=True)
class Planned:
    """A plan with the profiles that it was made from."""

    plan: ExperimentPlan
    cluster: ClusterProfile
    model: ModelProfile
    networks: dict[str, NetworkProfile]
    seed: str | None  # of the prompts; None: the session's name


def plan_experiment(profiles: Profiles, request: RunRequest) -> Planned:
    """Resolve a request against the workspace's profiles.

    Raises PlanError, ProfileError, LayoutError or PlacementError, each with a sentence for people.
    """
    full, experiment = _experiments(profiles, request)
    cluster = profiles.cluster(request.cluster or experiment.cluster)
    model = profiles.model(experiment.model)
    workload = profiles.workload(experiment.workload)
    chosen = _chosen_runs(full, experiment, request)
    networks = {
        name: profiles.network(name)
        for name in sorted({request.network or experiment.network_of(run) for run in chosen})
    }
    grid = grid_of(cluster)
    points = _points(experiment, request)
    workloads = [_in_mode(workload, mode) for mode in experiment.modes]
    placements = [place_run(run, grid) for run in chosen]
    runs: list[RunPlan] = []
    for of_mode in workloads:
        for run, placement in zip(chosen, placements, strict=True):
            network = request.network or experiment.network_of(run)
            number = str(len(runs) + 1)
            run_of = run_plan(number, placement, network, of_mode, points, model)
            if experiment.kind == "netbench":
                refuse_untestable(placement, cluster)
                run_of = msgspec.structs.replace(
                    run_of, result_dir=result_dir(model, placement, network)
                )
                check_reach(run_of, cluster, networks[network])
            runs.append(run_of)
    plan = ExperimentPlan(
        experiment=experiment.name,
        question=experiment.question.strip(),
        expectation=experiment.expectation.strip(),
        cluster=cluster.name,
        model=model.name,
        simulated=cluster.simulated,
        slot_kind=cluster.nodes[0].kind,
        policy=_policy(experiment, request),
        runs=tuple(runs),
        answer=tuple(each.table() for each in experiment.answer),
        baseline=next((run.id for run, of in zip(runs, chosen, strict=False) if of.baseline), ""),
        kind=experiment.kind,
    )
    return Planned(plan, cluster, model, networks, experiment.seed)


def _experiments(
    profiles: Profiles, request: RunRequest
) -> tuple[ExperimentProfile, ExperimentProfile]:
    """The experiment, and what of it is asked for: itself or its short form."""
    if request.experiment == AD_HOC:
        made = ad_hoc_experiment(profiles, request)
        return made, made
    full = profiles.experiment(request.experiment)
    stand_in = _stand_in(profiles, request, full)
    if stand_in is not None:
        full = stand_in
    if full.kind == "netbench" and (request.concurrency or request.request_rate):
        raise PlanError(
            f"{full.name} measures the network with NIXL alone and has no load levels; leave out "
            "--concurrency and --request-rate"
        )
    if request.quick and full.quick is None and stand_in is None:
        raise PlanError(
            f"{full.name} has no quick form; leave out --quick, or choose with --layout "
            "and --concurrency"
        )
    changes: dict[str, str] = {}
    if request.model is not None:
        changes["model"] = profiles.model(request.model).name
    if request.workload is not None:
        changes["workload"] = profiles.workload(request.workload).name
    full = full.model_copy(update=changes)
    return full, full.quick_form() if request.quick else full


def _stand_in(
    profiles: Profiles, request: RunRequest, full: ExperimentProfile
) -> ExperimentProfile | None:
    """What is carried out in its place where the slots are CPU cores; it is short by itself."""
    if full.on_cpu is None:
        return None
    cluster = profiles.cluster(request.cluster or full.cluster)
    if any(node.kind != "cpu" for node in cluster.nodes):
        return None
    return profiles.experiment(full.on_cpu)


def _in_mode(workload: WorkloadProfile, mode: Mode) -> Workload:
    try:
        return workload.workload(mode)
    except ValueError as e:
        raise PlanError(f"{e}; choose another workload") from e


def grid_of(cluster: ClusterProfile) -> Grid:
    return Grid(
        nodes=tuple(
            GridNode(
                name=node.name,
                slots=node.gpus,
                kind=node.kind,
                gpu_model=node.gpu_model,
                gpu_memory_mib=node.gpu_memory_mib,
            )
            for node in cluster.nodes
        )
    )


def place_run(run: ExperimentRun, grid: Grid) -> Placement:
    layout = parse_layout(run.layout)
    if run.placement != "manual":
        return place(layout, grid, run.placement)
    placement = parse_manual(run.manual, grid)
    if placement.layout != layout:
        raise PlanError(
            f"the manual placement of {run.layout} puts {placement.layout} on the grid; "
            "make `layout` and `manual` say the same"
        )
    return placement


def _chosen_runs(
    full: ExperimentProfile, experiment: ExperimentProfile, request: RunRequest
) -> tuple[ExperimentRun, ...]:
    """What the request names, as the experiment has it; what the experiment lacks, on its own."""
    if request.placed:
        return tuple(placed_run(placed) for placed in request.placed)
    wanted = request.placement
    if not request.layouts:
        chosen = experiment.chosen_runs(optional=request.with_optional)
        kept = tuple(run for run in chosen if wanted in (None, run.placement))
        if not kept:
            has = ", ".join(sorted({run.placement for run in chosen}))
            raise PlanError(f"{experiment.name} has no run with placement {wanted}; it has {has}")
        return kept
    listed: dict[Layout, list[ExperimentRun]] = {}
    for run in full.runs:
        listed.setdefault(parse_layout(run.layout), []).append(run)
    named: list[ExperimentRun] = []
    for text in request.layouts:
        layout = parse_layout(text)
        of_layout = [r for r in listed.get(layout, []) if wanted in (None, r.placement)]
        # Only P and D can be spread over nodes; a collocated layout is packed whatever was asked.
        placement = wanted if wanted is not None and layout.is_pd else "pack"
        named += of_layout or [ExperimentRun(layout=layout.slug, placement=placement)]
    return tuple(named)


def _points(experiment: ExperimentProfile, request: RunRequest) -> tuple[Point, ...]:
    if not (request.concurrency or request.request_rate):
        return experiment.points()
    for value in (*request.concurrency, *request.request_rate):
        if value <= 0:
            raise PlanError(f"a load level must be above 0; {value:g} is not")
    points = (
        *(Point("concurrency", float(c)) for c in request.concurrency),
        *(Point("request_rate", float(r)) for r in request.request_rate),
    )
    return tuple(dict.fromkeys(points))


def _policy(experiment: ExperimentProfile, request: RunRequest) -> MeasurePolicy:
    policy = experiment.measure_policy()
    if request.min_window_s is None:
        return policy
    return msgspec.structs.replace(
        policy,
        min_window_s=request.min_window_s,
        max_window_s=max(policy.max_window_s, request.min_window_s),
    )


def run_plan(
    run_id: str,
    placement: Placement,
    network: str,
    workload: Workload,
    points: tuple[Point, ...],
    model: ModelProfile,
) -> RunPlan:
    return RunPlan(
        id=run_id,
        placement=placement,
        network=network,
        workload=workload,
        points=points,
        result_dir=result_dir_name(
            model.short_name, workload, placement.strategy, network, placement.layout.slug
        ),
    )
