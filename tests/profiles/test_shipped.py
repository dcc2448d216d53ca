"""The profiles that come with pdconsole say what the documentation promises."""

from __future__ import annotations

from pathlib import Path

import pytest

from pdconsole.model.layout import parse_layout
from pdconsole.model.workload import Mode
from pdconsole.profiles import EngineModel, ExperimentProfile, Profiles, SimLink, init_workspace

SWEEP_POINTS = ["conc4", "conc8", "conc16", "conc32", "conc48", "conc64"]


@pytest.fixture
def shipped(tmp_path: Path) -> Profiles:
    return Profiles.open(tmp_path)


def slugs(experiment: ExperimentProfile, *, optional: bool = False) -> list[str]:
    return [parse_layout(run.layout).slug for run in experiment.chosen_runs(optional=optional)]


def test_no_shipped_profile_has_a_problem(shipped: Profiles) -> None:
    assert shipped.check() == []
    assert shipped.names("cluster") == [
        *("embedded", "local-cpu", "local-ray", "p5-2node", "p5-2node-ray"),
    ]
    assert shipped.names("network") == ["cuda-ipc", "libfabric", "shm", "srd", "tcp"]


def test_every_experiment_also_fits_the_template_of_a_real_cluster(tmp_path: Path) -> None:
    init_workspace(tmp_path)
    for path in (tmp_path / "profiles/experiments").iterdir():
        text = path.read_text()
        if "cluster: local-cpu" in text or "cluster: local-ray" in text:
            continue  # of a model for engines without GPUs
        assert "cluster: embedded" in text
        path.write_text(text.replace("cluster: embedded", "cluster: p5-2node"))
    profiles = Profiles.open(tmp_path)
    assert profiles.check() == []
    p5 = profiles.cluster("p5-2node")
    assert not p5.simulated
    assert [node.dial_address for node in p5.nodes] == ["10.0.0.11", "10.0.0.12"]
    assert p5.gpus == profiles.cluster("embedded").gpus == 16


def test_the_ratio_sweep_is_six_layouts_and_two_on_request(shipped: Profiles) -> None:
    sweep = shipped.experiment("pd-ratio-sweep")
    six = ["p3xtp2-d1xtp2", "p2xtp2-d1xtp2", "p1xtp2-d1xtp2"]
    six += ["p1xtp2-d2xtp2", "p1xtp2-d3xtp2", "4xtp2"]
    assert slugs(sweep) == six
    assert slugs(sweep, optional=True) == [*six, "p2xtp2-d2xtp2", "p1xtp4-d1xtp4"]
    assert [point.id for point in sweep.points()] == SWEEP_POINTS


def test_the_quick_ratio_sweep_is_short(shipped: Profiles) -> None:
    full = shipped.experiment("pd-ratio-sweep")
    quick = full.quick_form()
    assert slugs(quick) == ["p1xtp2-d3xtp2", "4xtp2"]
    assert len(quick.points()) == 2
    assert quick.measure_policy().min_window_s < full.measure_policy().min_window_s
    assert quick.question == full.question


@pytest.mark.parametrize("name", ["collocated-tp-sweep", "tp-by-phase"])
def test_tp_sweeps(shipped: Profiles, name: str) -> None:
    sweep = shipped.experiment(name)
    assert slugs(sweep) == ["8xtp1", "4xtp2", "2xtp4"]
    one_phase: list[Mode] = ["prefill-only", "decode-only"]
    assert sweep.modes == (one_phase if name == "tp-by-phase" else ["mixed"])
    assert {sweep.network_of(run) for run in sweep.runs} == {"cuda-ipc"}
    assert [point.id for point in sweep.points()] == SWEEP_POINTS


def test_pack_vs_spread_changes_placement_and_network_alone(shipped: Profiles) -> None:
    experiment = shipped.experiment("pack-vs-spread")
    assert set(slugs(experiment)) == {"p1xtp4-d1xtp4"}
    assert [(run.placement, experiment.network_of(run)) for run in experiment.runs] == [
        ("pack", "cuda-ipc"),
        ("spread", "srd"),
        ("spread", "tcp"),
    ]
    # One layout, three runs: the short form keeps all three.
    assert len(experiment.quick_form().runs) == 3


def test_pack_vs_spread_has_a_stand_in_for_clusters_without_gpus(shipped: Profiles) -> None:
    stand_in = shipped.experiment(shipped.experiment("pack-vs-spread").on_cpu or "")
    assert stand_in.model == "tiny"
    assert [(run.placement, stand_in.network_of(run)) for run in stand_in.runs] == [
        ("pack", "shm"),
        ("spread", "tcp"),
    ]


def test_network_test_needs_no_load(shipped: Profiles) -> None:
    experiment = shipped.experiment("network-bandwidth-test")
    assert experiment.kind == "netbench"
    assert experiment.points() == ()


def test_every_experiment_says_what_it_asks_and_expects(shipped: Profiles) -> None:
    for name in shipped.names("experiment"):
        experiment = shipped.experiment(name)
        assert experiment.question.endswith("?")
        assert experiment.expectation


def test_kv_bytes_follow_from_the_shape_of_the_model(shipped: Profiles) -> None:
    keys_and_values, bf16 = 2, 2
    for name in ("tiny", "gpt-oss-120b"):
        model = shipped.model(name)
        a_token = model.layers * model.kv_heads * model.head_size * keys_and_values * bf16
        assert model.kv_bytes_per_token == a_token
    engine = model.engine_model
    assert engine is not None
    assert engine.kv_bytes_per_token == a_token
    assert "anyscale/ray-serve-llm-perf-examples" in engine.source
    assert sorted(engine.tp) == [1, 2, 4, 8]
    # The cache of one replica in bytes has to fit on its GPUs beside the weights.
    for tp, constants in engine.tp.items():
        assert constants.kv_tokens_pd * a_token < tp * 80e9


def test_only_the_network_within_a_node_refuses_to_cross_nodes(shipped: Profiles) -> None:
    within = {n: shipped.network(n).across_nodes is False for n in shipped.names("network")}
    assert [name for name, only_within in within.items() if only_within] == ["cuda-ipc", "shm"]
    assert "27055" in shipped.network("libfabric").warning


def test_values_handed_to_simulated_workers_survive_json(shipped: Profiles) -> None:
    engine = shipped.model("gpt-oss-120b").engine_model
    link = shipped.network("srd").sim
    assert engine is not None
    assert link is not None
    assert EngineModel.model_validate_json(engine.model_dump_json()) == engine
    assert SimLink.model_validate_json(link.model_dump_json()) == link


def test_decode_only_turns_prefix_caching_on(shipped: Profiles) -> None:
    profile = shipped.workload("itl5000-otl250")
    assert not profile.workload("mixed").prefix_caching
    assert profile.workload("decode-only").prefix_caching
    assert profile.workload("prefill-only").slug == "itl5000_otl250_prefill-only"
