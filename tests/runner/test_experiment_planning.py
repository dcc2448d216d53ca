"""From a request to a plan, with the shipped profiles."""

from __future__ import annotations

from pathlib import Path

import pytest

from pdconsole.model.placement import PlacementError
from pdconsole.model.request import RunRequest
from pdconsole.profiles import ProfileError, Profiles
from pdconsole.runner.ad_hoc import PlanError
from pdconsole.runner.planning import Planned, plan_experiment


@pytest.fixture(scope="module")
def profiles(tmp_path_factory: pytest.TempPathFactory) -> Profiles:
    return Profiles.open(tmp_path_factory.mktemp("workspace"))


def plan(profiles: Profiles, experiment: str, **asked: object) -> Planned:
    return plan_experiment(profiles, RunRequest(experiment=experiment, **asked))  # type: ignore[arg-type]


def test_the_main_job_is_six_layouts_of_six_points(profiles: Profiles) -> None:
    made = plan(profiles, "pd-ratio-sweep").plan
    assert [run.placement.layout.slug for run in made.runs] == [
        "p3xtp2-d1xtp2",
        "p2xtp2-d1xtp2",
        "p1xtp2-d1xtp2",
        "p1xtp2-d2xtp2",
        "p1xtp2-d3xtp2",
        "4xtp2",
    ]
    for run in made.runs:
        assert [p.id for p in run.points] == [f"conc{c}" for c in (4, 8, 16, 32, 48, 64)]
        assert len({slot.node for slot in run.placement.slots}) == 1
    assert made.runs[4].result_dir == "gptoss_itl5000_otl250_mixed_pack-cuda-ipc_p1xtp2-d3xtp2"
    assert made.simulated


def test_optional_layouts_come_when_asked_for(profiles: Profiles) -> None:
    slugs = {
        r.placement.layout.slug
        for r in plan(profiles, "pd-ratio-sweep", with_optional=True).plan.runs
    }
    assert {"p2xtp2-d2xtp2", "p1xtp4-d1xtp4"} <= slugs
    assert len(slugs) == 8


def test_the_quick_form_is_two_layouts_of_two_points(profiles: Profiles) -> None:
    made = plan(profiles, "pd-ratio-sweep", quick=True).plan
    assert len(made.runs) == 2
    assert all(len(run.points) == 2 for run in made.runs)


def test_layouts_and_points_can_be_named(profiles: Profiles) -> None:
    made = plan(
        profiles,
        "pd-ratio-sweep",
        layouts=("1P-TP2 : 1D-TP2", "2xTP4"),
        concurrency=(2,),
        request_rate=(1.5,),
        min_window_s=3.0,
    ).plan
    assert [r.placement.layout.slug for r in made.runs] == ["p1xtp2-d1xtp2", "2xtp4"]
    assert [p.id for p in made.runs[0].points] == ["conc2", "rr1.5"]
    assert made.policy.min_window_s == 3.0


def test_modes_multiply_the_runs(profiles: Profiles) -> None:
    made = plan(profiles, "tp-by-phase").plan
    assert {r.workload.mode for r in made.runs} == {"prefill-only", "decode-only"}
    assert len({r.result_dir for r in made.runs}) == len(made.runs)
    assert len({r.id for r in made.runs}) == len(made.runs)


def test_spread_puts_prefill_and_decode_on_different_nodes(profiles: Profiles) -> None:
    made = plan(profiles, "pack-vs-spread").plan
    assert [(r.placement.strategy, r.network) for r in made.runs] == [
        ("pack", "cuda-ipc"),
        ("spread", "srd"),
        ("spread", "tcp"),
    ]
    spread = made.runs[1].placement
    nodes = {
        role: {s.node for a in spread.of(role) for s in a.slots} for role in ("prefill", "decode")
    }
    assert nodes["prefill"].isdisjoint(nodes["decode"])


@pytest.mark.parametrize("quick", [False, True])
def test_where_there_are_no_gpus_the_stand_in_is_planned(profiles: Profiles, quick: bool) -> None:
    made = plan(profiles, "pack-vs-spread", cluster="local-ray", quick=quick).plan
    assert (made.experiment, made.model) == ("tiny-pack-vs-spread", "tiny")
    assert [(r.placement.strategy, r.network) for r in made.runs] == [
        ("pack", "shm"),
        ("spread", "tcp"),
    ]


def test_a_placement_can_be_asked_for(profiles: Profiles) -> None:
    made = plan(profiles, "pack-vs-spread", placement="pack").plan
    assert [r.placement.strategy for r in made.runs] == ["pack"]


@pytest.mark.parametrize(
    ("experiment", "asked", "error", "says"),
    [
        ("pd-ratio-swep", {}, ProfileError, "pd-ratio-sweep"),
        ("pd-ratio-sweep", {"layouts": ("9P-TP4+1D-TP2",)}, PlacementError, "GPUs"),
        ("pd-ratio-sweep", {"concurrency": (0,)}, PlanError, "above 0"),
        ("pd-ratio-sweep", {"network": "srdd"}, ProfileError, "srd"),
        ("network-bandwidth-test", {}, PlanError, "is simulated"),
    ],
)
def test_what_cannot_be_says_why(
    profiles: Profiles, experiment: str, asked: dict[str, object], error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        plan(profiles, experiment, **asked)


def test_a_workspace_is_not_needed_for_the_shipped_profiles(tmp_path: Path) -> None:
    assert plan(Profiles.open(tmp_path), "pd-ratio-sweep").plan.runs
