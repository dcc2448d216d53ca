"""The shipped profiles and runs of them, as the tests of this directory need them."""

from __future__ import annotations

import os
from pathlib import Path

from pdconsole.model.grid import Grid, GridNode
from pdconsole.model.layout import parse_layout
from pdconsole.model.placement import Placement, Strategy, parse_manual, place
from pdconsole.model.plan import RunPlan, result_dir_name
from pdconsole.model.workload import Mode, Point
from pdconsole.profiles import ClusterProfile, ModelProfile, Profiles, shipped_profiles
from pdconsole.serving.plan import DeploymentPlan
from pdconsole.serving.planning import plan_deployment

PROFILES = Profiles((shipped_profiles(),))
P5: ClusterProfile = PROFILES.cluster("p5-2node")
MODEL: ModelProfile = PROFILES.model("gpt-oss-120b")
SESSION = "20260102T030405Z_pd-ratio-sweep"


def grid_of(cluster: ClusterProfile) -> Grid:
    return Grid(tuple(GridNode(name=node.name, slots=node.gpus) for node in cluster.nodes))


def placed(layout: str, strategy: Strategy = "pack", cluster: ClusterProfile = P5) -> Placement:
    """`layout` is a layout, or with "=" in it a manual placement."""
    if "=" in layout:
        return parse_manual(layout, grid_of(cluster))
    return place(parse_layout(layout), grid_of(cluster), strategy)


def run_of(
    placement: Placement,
    network: str = "cuda-ipc",
    mode: Mode = "mixed",
    run_id: str = "1",
    workload_name: str = "itl5000-otl250",
) -> RunPlan:
    workload = PROFILES.workload(workload_name).workload(mode)
    slug = placement.layout.slug
    return RunPlan(
        id=run_id,
        placement=placement,
        network=network,
        workload=workload,
        points=(Point("concurrency", 4.0), Point("concurrency", 16.0)),
        result_dir=result_dir_name("gptoss", workload, placement.strategy, network, slug),
    )


def planned(
    run: RunPlan,
    *,
    version: str = "0.33.0",
    cluster: ClusterProfile = P5,
    model: ModelProfile = MODEL,
) -> DeploymentPlan:
    return plan_deployment(
        run,
        cluster=cluster,
        model=model,
        network=PROFILES.network(run.network),
        versions={node.name: {"vllm": version} for node in cluster.nodes},
        session=SESSION,
    )


def assert_golden(golden: Path, text: str) -> None:
    if os.environ.get("PDCONSOLE_WRITE_GOLDENS"):
        golden.parent.mkdir(parents=True, exist_ok=True)
        golden.write_text(text)
    assert text == golden.read_text()
