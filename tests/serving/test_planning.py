"""What cannot be started is refused with a sentence that says what to do instead."""

from __future__ import annotations

import re

import pytest
from serving_cases import MODEL, P5, PROFILES, SESSION, placed, planned, run_of

from pdconsole.profiles.schema import ClusterProfile
from pdconsole.serving.errors import ServingError
from pdconsole.serving.planning import plan_deployment
from pdconsole.serving.vllm_versions import engine_rules


def with_fields(**fields: object) -> ClusterProfile:
    return ClusterProfile.model_validate({**P5.model_dump(), **fields})


def refusal(
    layout: str, strategy: str = "pack", network: str = "cuda-ipc", **kwargs: object
) -> str:
    with pytest.raises(ServingError) as caught:
        planned(run_of(placed(layout, strategy), network), **kwargs)  # type: ignore[arg-type]
    return str(caught.value)


def test_a_network_of_one_node_does_not_cross_nodes() -> None:
    said = refusal("1P-TP4+1D-TP4", "spread", "cuda-ipc")
    assert "P1 is on p5-a and D1 on p5-b" in said
    assert "place the run with pack" in said


def test_collocated_replicas_need_no_network() -> None:
    planned(run_of(placed("4xTP4"), "cuda-ipc"))
    plan = plan_deployment(
        run_of(placed("4xTP4")),
        cluster=P5,
        model=MODEL,
        network=None,
        versions={node: {"vllm": "0.33.0"} for node in ("p5-a", "p5-b")},
        session=SESSION,
    )
    assert {worker.node for worker in plan.workers} == {"p5-a", "p5-b"}


def test_tp_rules_belong_to_the_version() -> None:
    assert "0.11.0 refuses" in refusal("1P-TP4+1D-TP2", version="0.11.0")
    planned(run_of(placed("1P-TP4+1D-TP2")), version="0.33.0")


def test_a_replica_over_two_nodes_cannot_be_started_yet() -> None:
    assert "C1 spans p5-a and p5-b" in refusal("1xTP16N2")


@pytest.mark.parametrize(
    ("versions", "said"),
    [
        ({"p5-a": {"vllm": "0.33.0"}, "p5-b": {}}, r"No vLLM was found on p5-b; install it"),
        (
            {"p5-a": {"vllm": "0.33.0"}, "p5-b": {"vllm": "0.11.0"}},
            r"p5-a has vLLM 0\.33\.0 and p5-b has 0\.11\.0",
        ),
        ({"p5-a": {"vllm": "0.10.2"}, "p5-b": {"vllm": "0.10.2"}}, "older than 0.11.0"),
    ],
)
def test_the_nodes_need_one_known_version(versions: dict[str, dict[str, str]], said: str) -> None:
    run = run_of(placed("1P-TP4+1D-TP4", "spread"), "srd")
    network = PROFILES.network("srd")
    with pytest.raises(ServingError, match=said):
        plan_deployment(
            run, cluster=P5, model=MODEL, network=network, versions=versions, session=SESSION
        )
    fixed = with_fields(engine={"version": "0.33.0"})
    plan_deployment(
        run, cluster=fixed, model=MODEL, network=network, versions=versions, session=SESSION
    )


def test_nodes_that_were_not_asked_get_the_newest_rules_and_a_note() -> None:
    plan = plan_deployment(
        run_of(placed("4xTP2")), cluster=P5, model=MODEL, network=None, versions={}, session=SESSION
    )
    assert plan.notes == ("nodes were not asked for their vLLM; it is started as 0.33.0 would be",)


@pytest.mark.parametrize(
    ("version", "noted"),
    [
        ("0.33.0+cpu", False),
        ("0.12.0rc1", False),
        ("0.35.1", True),
        ("0.1.dev1+g0a1b2c3", True),
        ("0.33.1.dev7+g0a1b2c3", True),
    ],
)
def test_a_version_that_is_not_known_gets_the_newest_rules_and_a_note(
    version: str, noted: bool
) -> None:
    rules = engine_rules(version)
    assert bool(rules.note) is noted
    assert rules.split_kv_roles


def test_a_profile_may_not_set_what_the_placement_decides() -> None:
    cluster = with_fields(env={"CUDA_VISIBLE_DEVICES": "0"})
    assert "CUDA_VISIBLE_DEVICES is set in the env" in refusal("4xTP2", cluster=cluster)


def nodes_with(*changes: dict[str, object]) -> list[dict[str, object]]:
    return [{**n.model_dump(), **c} for n, c in zip(P5.nodes, changes, strict=True)]


def test_a_side_channel_on_loopback_is_refused_across_nodes() -> None:
    cluster = with_fields(nodes=nodes_with({"address": "127.0.0.1"}, {}))
    said = refusal("1P-TP4+1D-TP4", "spread", "srd", cluster=cluster)
    assert "D1 on p5-b would look for P1's KV at 127.0.0.1, which is its own node" in said
    assert "set `address` of node p5-a in cluster p5-2node" in said
    planned(run_of(placed("2P-TP2+2D-TP2")), cluster=cluster)  # within one node it is fine
    one_machine = with_fields(fabric="loopback", nodes=nodes_with({"address": "127.0.0.1"}, {}))
    planned(run_of(placed("1P-TP4+1D-TP4", "spread"), "srd"), cluster=one_machine)


def test_a_model_path_that_two_users_expand_differently_is_refused() -> None:
    cluster = with_fields(nodes=nodes_with({"user": "ann"}, {"user": "bob"}))
    model = MODEL.model_copy(update={"source": "~/models/gpt-oss"})
    said = refusal("1P-TP4+1D-TP4", "spread", "srd", cluster=cluster, model=model)
    assert "another path for ann on p5-a (P1) than for bob on p5-b (D1)" in said
    planned(run_of(placed("4xTP4"), "srd"), cluster=cluster, model=model)


def test_ports_too_close_to_each_other_are_named() -> None:
    cluster = with_fields(ports={"worker": 8100, "side_channel": 8098})
    said = refusal("4P-TP1+2D-TP2", cluster=cluster)
    assert re.search(r"Port 8100 of 10\.0\.0\.11 is wanted by P1 and by P3's side channel", said)
    assert "move ports.side_channel" in said


def test_a_workload_longer_than_the_model_serves_is_refused() -> None:
    model = MODEL.model_copy(update={"max_model_len": 5200})
    assert "needs 5250 tokens a request" in refusal("4xTP2", model=model)


def test_a_simulated_run_needs_constants_for_its_tp() -> None:
    cluster = PROFILES.cluster("embedded")
    assert MODEL.engine_model is not None
    only = {2: MODEL.engine_model.tp[2]}
    engine = MODEL.engine_model.model_copy(update={"tp": only})
    model = MODEL.model_copy(update={"engine_model": engine})
    with pytest.raises(ServingError, match=r"no engine_model constants for TP4 \(it has TP 2\)"):
        planned(run_of(placed("2xTP4", cluster=cluster)), cluster=cluster, model=model)


def test_debug_logging_and_a_networks_warning_are_noted() -> None:
    cluster = with_fields(env={"VLLM_LOGGING_LEVEL": "DEBUG"})
    notes = planned(run_of(placed("1P-TP4+1D-TP4", "spread"), "libfabric"), cluster=cluster).notes
    assert any("may corrupt" in note for note in notes)
    assert any("debug logging" in note for note in notes)
