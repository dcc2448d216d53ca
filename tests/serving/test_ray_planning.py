"""Runs on Ray Serve: its config word for word, Ray on the nodes, doors, ports, refusals.

The goldens are written anew, for a look at `git diff`, by
    PDCONSOLE_WRITE_GOLDENS=1 pytest tests/serving/test_ray_planning.py
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from serving_cases import MODEL, PROFILES, assert_golden, placed, planned, run_of

from pdconsole.model.placement import Strategy
from pdconsole.model.plan import RunPlan
from pdconsole.model.workload import Mode
from pdconsole.profiles import ClusterProfile, ModelProfile
from pdconsole.serving.errors import ServingError
from pdconsole.serving.plan import DeploymentPlan, PlannedProcess
from pdconsole.serving.ports import possible_ports, wanted_ports
from pdconsole.serving.ray_app import MARK
from pdconsole.serving.ray_nodes import IN_A_DIRECTORY

GOLDENS = Path(__file__).parent / "goldens" / "ray"
P5_RAY = PROFILES.cluster("p5-2node-ray")
LOCAL = PROFILES.cluster("local-ray")
TINY = PROFILES.model("tiny")
RAY_VLLM = "0.29.0"
SECRETS = {"RAY_AUTH_TOKEN": "x1"}
# The layouts of the measurements that this program's experiments come from.
CASES: tuple[tuple[str, Strategy, str], ...] = (
    ("4P-TP1+2D-TP2", "pack", "cuda-ipc"),
    ("2P-TP2+2D-TP2", "pack", "cuda-ipc"),
    ("1P-TP2+1D-TP4", "pack", "cuda-ipc"),
    ("1P-TP4+1D-TP4", "pack", "cuda-ipc"),
    ("4P-TP2+2D-TP4", "spread", "srd"),
    ("2P-TP4+2D-TP4", "spread", "srd"),
    ("1P-TP4+1D-TP4", "spread", "tcp"),
    ("1xtpep4-1xtpep4", "pack", "cuda-ipc"),
    ("8xTP1", "pack", "cuda-ipc"),
    ("4xTP2", "pack", "cuda-ipc"),
    ("2xTP4", "pack", "cuda-ipc"),
)
OVER_NODES = "P1=p5-a:0,1 P2=p5-b:0,1 D1=p5-a:2-5 D2=p5-b:2-5"
SPANNING = "C1=p5-a:0-7+p5-b:0-7"


def on_ray(
    layout: str,
    strategy: Strategy = "pack",
    network: str = "srd",
    *,
    cluster: ClusterProfile = P5_RAY,
    model: ModelProfile = MODEL,
    mode: Mode = "mixed",
    version: str = RAY_VLLM,
) -> DeploymentPlan:
    return planned(
        run_on(layout, strategy, network, cluster, mode),
        cluster=cluster,
        model=model,
        version=version,
    )


def run_on(
    layout: str,
    strategy: Strategy = "pack",
    network: str = "srd",
    cluster: ClusterProfile = P5_RAY,
    mode: Mode = "mixed",
) -> RunPlan:
    workload = "itl300-otl16" if cluster is LOCAL else "itl5000-otl250"
    run = run_of(placed(layout, strategy, cluster), network, workload_name=workload)
    return msgspec.structs.replace(run, workload=msgspec.structs.replace(run.workload, mode=mode))


def with_ray(cluster: ClusterProfile = P5_RAY, **fields: Any) -> ClusterProfile:
    raw = cluster.model_dump()
    raw["ray"] = {**raw["ray"], **fields}
    return ClusterProfile.model_validate(raw)


def joined() -> ClusterProfile:
    return with_ray(start=False, address="10.0.0.11:6379", dashboard="http://10.0.0.11:8265")


def args_of(plan: DeploymentPlan) -> dict[str, Any]:
    application = yaml.safe_load(plan.serve_config)["applications"][0]
    args: dict[str, Any] = application["args"]
    return args


def named(plan: DeploymentPlan, name: str) -> PlannedProcess:
    return next(process for process in plan.processes if process.name == name)


def value_of(process: PlannedProcess, flag: str) -> str:
    return process.argv[process.argv.index(flag) + 1]


def spec_of(process: PlannedProcess) -> dict[str, Any]:
    spec: dict[str, Any] = json.loads(process.files["spec.json"])
    return spec


# --- the goldens


@pytest.mark.parametrize(("layout", "strategy", "network"), CASES)
def test_serve_configs_are_as_in_the_goldens(layout: str, strategy: Strategy, network: str) -> None:
    plan = on_ray(layout, strategy, network)
    slug = placed(layout, strategy, P5_RAY).layout.slug
    assert_golden(GOLDENS / f"{slug}_{strategy}-{network}.yaml", plan.serve_config)


@pytest.mark.parametrize("layout", ["1P-TP1+1D-TP1", "1xTP1"])
def test_serve_configs_on_a_cpu_are_as_in_the_goldens(layout: str) -> None:
    plan = on_ray(layout, "pack", "shm", cluster=LOCAL, model=TINY)
    assert_golden(
        GOLDENS / f"{placed(layout, cluster=LOCAL).layout.slug}_pack-shm.yaml", plan.serve_config
    )


@pytest.mark.parametrize(("name", "where"), [("over-nodes", OVER_NODES), ("spanning", SPANNING)])
def test_placements_by_hand_are_as_in_the_goldens(name: str, where: str) -> None:
    assert_golden(GOLDENS / f"{name}.yaml", on_ray(where, "manual").serve_config)


def test_ray_and_the_doors_are_as_in_the_golden() -> None:
    plan = on_ray(OVER_NODES, "manual")
    lines: list[str] = []
    for process in plan.processes:
        slots = ",".join(map(str, process.slots))
        lines.append(
            f"[{process.name}] {process.node} slots {slots or '-'}"
            f"{'' if process.holds_slots else ' (not held)'} stage {process.stage}"
        )
        lines += [f"  {name}={value}" for name, value in process.env.items()]
        lines += ["  " + " ".join(w for w in process.argv if "\n" not in w)]
        if process.is_worker:
            lines += ["  " + json.dumps(spec_of(process))]
        lines += [f"  health {process.health_url}", f"  metrics {process.metrics_url}", ""]
    lines += [f"note: {note}" for note in plan.notes]
    assert_golden(GOLDENS / "processes.lines", "\n".join(lines) + "\n")


def test_no_golden_is_left_over() -> None:
    names = {f"{placed(lay, s, P5_RAY).layout.slug}_{s}-{n}.yaml" for lay, s, n in CASES}
    names |= {"p1xtp1-d1xtp1_pack-shm.yaml", "1xtp1_pack-shm.yaml"}
    names |= {"over-nodes.yaml", "spanning.yaml", "processes.lines"}
    assert {path.name for path in GOLDENS.iterdir()} == names


# --- the application


def test_replicas_of_a_role_on_one_node_are_pinned_by_its_address() -> None:
    args = args_of(on_ray("2P-TP4+1D-TP8", "spread"))
    prefill = args["prefill_config"]["placement_group_config"]
    decode = args["decode_config"]["placement_group_config"]
    assert prefill["bundles"] == [{"GPU": 1, "node:10.0.0.11": 0.001}] * 4
    assert decode["bundles"] == [{"GPU": 1, "node:10.0.0.12": 0.001}] * 8
    assert prefill["strategy"] == decode["strategy"] == "STRICT_PACK"
    assert args["prefill_config"]["deployment_config"]["num_replicas"] == 2


def test_replicas_of_a_role_on_several_nodes_are_pinned_by_counted_resources() -> None:
    plan = on_ray(OVER_NODES, "manual")
    args = args_of(plan)
    assert (
        args["prefill_config"]["placement_group_config"]["bundles"]
        == [{"GPU": 1, "pdconsole_prefill": 1.0}] * 2
    )
    for name in ("ray-head", "ray-p5-b"):
        resources = json.loads(value_of(named(plan, name), "--resources"))
        assert resources == {"pdconsole_prefill": 2, "pdconsole_decode": 4}


def test_a_replica_over_two_nodes_is_pinned_rank_by_rank() -> None:
    plan = on_ray(SPANNING, "manual")
    config = args_of(plan)["llm_configs"][0]
    bundles = config["placement_group_config"]["bundles"]
    pins = [next(name for name in bundle if name != "GPU") for bundle in bundles]
    assert pins == ["node:10.0.0.11"] * 8 + ["node:10.0.0.12"] * 8
    assert config["placement_group_config"]["strategy"] == "PACK"
    assert config["engine_kwargs"]["tensor_parallel_size"] == 16
    door = named(plan, "C1")
    assert (door.node, door.slots) == ("p5-a", tuple(range(8)))
    assert "was not tried" in " ".join(plan.notes)


def test_engine_arguments_are_those_of_the_command_line() -> None:
    args = {"enforce-eager": True, "async-scheduling": False, "hf-overrides": '{"a": 1}'}
    model = ModelProfile.model_validate({**MODEL.model_dump(), "engine_args": args})
    found = args_of(on_ray("1P-TP4+1D-TP4", model=model))["decode_config"]["engine_kwargs"]
    assert found["enforce_eager"] is True
    assert found["async_scheduling"] is False
    assert found["hf_overrides"] == {"a": 1}
    assert found["enable_prefix_caching"] is False
    assert found["disable_hybrid_kv_cache_manager"] is True
    assert found["kv_transfer_config"]["kv_role"] == "kv_consumer"


def test_arguments_of_other_forms_mean_what_they_mean_on_a_command_line() -> None:
    args = {
        "no-enable-chunked-prefill": True,
        "compilation-config.max-capture-size": 8,
        "compilation-config.level": 3,
        "disable-log-stats": True,
    }
    model = ModelProfile.model_validate({**MODEL.model_dump(), "engine_args": args})
    config = args_of(on_ray("1P-TP4+1D-TP4", model=model))["prefill_config"]
    assert config["engine_kwargs"]["enable_chunked_prefill"] is False
    assert config["engine_kwargs"]["compilation_config"] == {"max_capture_size": 8, "level": 3}
    assert config["log_engine_metrics"] is False, "Ray refuses it without statistics"
    args = {"compilation-config": 3, "compilation-config.level": 3}
    model = ModelProfile.model_validate({**MODEL.model_dump(), "engine_args": args})
    with pytest.raises(ServingError, match=r"compilation-config and compilation-config\.level are"):
        on_ray("1P-TP4+1D-TP4", model=model)


def test_log_levels_of_a_profile_go_before_those_of_every_replica() -> None:
    louder = P5_RAY.model_copy(update={"env": {"NIXL_LOG_LEVEL": "WARN"}})
    for cluster, level in ((P5_RAY, "INFO"), (louder, "WARN")):
        config = args_of(on_ray("1P-TP4+1D-TP4", cluster=cluster))["prefill_config"]
        env = config["runtime_env"]["env_vars"]
        assert (env["VLLM_LOGGING_LEVEL"], env["NIXL_LOG_LEVEL"]) == ("INFO", level)


def test_a_config_says_whose_it_is() -> None:
    plan = on_ray("1P-TP4+1D-TP4")
    for config in (args_of(plan)["prefill_config"], args_of(plan)["decode_config"]):
        assert config["runtime_env"]["env_vars"][MARK] == f"{plan.session}/{plan.run}"


def test_a_model_whose_name_has_dots_is_found_under_the_name_that_serve_gives_it() -> None:
    named_so = {**MODEL.model_dump(), "served_name": "meta/Llama-3.1-8B"}
    plan = on_ray("1P-TP4+1D-TP4", model=ModelProfile.model_validate(named_so))
    assert spec_of(plan.workers[0])["deployment"] == "Prefill:meta--Llama-3_1-8B"
    assert spec_of(plan.workers[0])["model"] == "meta/Llama-3.1-8B"


def test_p_and_d_get_side_channels_that_never_meet() -> None:
    args = args_of(on_ray("4P-TP1+2D-TP2"))
    bases = [
        args[f"{role}_config"]["experimental_configs"]["NIXL_SIDE_CHANNEL_PORT_BASE"]
        for role in ("prefill", "decode")
    ]
    assert bases == [5600, 5604]


def test_decode_only_has_the_decode_replicas_alone() -> None:
    plan = on_ray("2P-TP2+1D-TP4", mode="decode-only")
    assert plan.decodes_made_up_kv
    assert [w.name for w in plan.workers] == ["D1"]
    assert spec_of(plan.workers[0])["deployment"] == "LLMServer:gpt-oss-120b"
    config = args_of(plan)["llm_configs"][0]
    transfer = config["engine_kwargs"]["kv_transfer_config"]
    assert transfer["kv_connector"] == "DecodeBenchConnector"
    assert named(plan, "ray-head").slots == tuple(range(4, 8))
    assert "prefill is not started" in " ".join(plan.notes)


def test_prefill_only_has_the_prefill_replicas_alone() -> None:
    plan = on_ray("2P-TP2+1D-TP4", mode="prefill-only")
    assert [w.name for w in plan.workers] == ["P1", "P2"]
    assert spec_of(plan.workers[1])["deployment"] == "LLMServer:gpt-oss-120b"
    (config,) = args_of(plan)["llm_configs"]
    assert "kv_transfer_config" not in config["engine_kwargs"]
    assert named(plan, "ray-head").slots == tuple(range(4))
    assert "decode is not started" in " ".join(plan.notes)


def test_a_path_below_the_home_is_told_so_that_the_node_fills_it_in() -> None:
    plan = on_ray("1P-TP1+1D-TP1", "pack", "shm", cluster=LOCAL, model=TINY)
    config = spec_of(plan.router)["config"]["applications"][0]["args"]["decode_config"]
    source = config["model_loading_config"]["model_source"]
    assert source == "@home@/pdconsole-engine/tiny"
    assert "model_source: ~/pdconsole-engine/tiny" in plan.serve_config
    assert "Ray knows no ~: write paths that begin with it out" in plan.serve_config


# --- processes


def test_ray_holds_the_slots_and_the_doors_only_show_theirs() -> None:
    plan = on_ray("2P-TP2+1D-TP4")
    assert plan.slots_of("p5-a") == tuple(range(8))
    head = named(plan, "ray-head")
    assert plan.spec(head, SECRETS).slots == tuple(range(8))
    assert head.env["CUDA_VISIBLE_DEVICES"] == "0,1,2,3,4,5,6,7"
    assert value_of(head, "--num-gpus") == "8"
    door = named(plan, "P2")
    assert (door.slots, plan.spec(door, SECRETS).slots) == ((2, 3), ())
    assert [p.name for stage in plan.stages for p in stage] == [
        *("ray-head", "P1", "P2", "D1", "router"),
    ]


def test_a_node_that_only_drives_has_a_head_without_gpus() -> None:
    cluster = P5_RAY.model_copy(update={"client_node": "p5-b"})
    plan = on_ray("4xTP2", cluster=cluster)
    head = named(plan, "ray-head")
    assert (head.node, head.slots) == ("p5-b", ())
    assert value_of(head, "--num-gpus") == "0"
    assert value_of(named(plan, "ray-p5-a"), "--address") == "10.0.0.12:6379"
    assert plan.router_url == "http://10.0.0.12:8000"


def test_the_dashboard_stays_on_loopback_where_no_other_node_needs_it() -> None:
    head = named(on_ray("4xTP2"), "ray-head")
    assert value_of(head, "--dashboard-host") == "127.0.0.1"
    head = named(on_ray("1P-TP4+1D-TP4", "spread"), "ray-head")
    assert value_of(head, "--dashboard-host") == "10.0.0.11"


def test_a_cluster_that_runs_already_is_joined_and_nothing_of_it_is_started() -> None:
    plan = on_ray("1P-TP4+1D-TP4", "spread", cluster=joined())
    assert [p.name for p in plan.processes] == ["P1", "D1", "router"]
    assert plan.slots_of("p5-b") == (0, 1, 2, 3)
    spec = spec_of(named(plan, "D1"))
    assert spec["gcs"] == "10.0.0.11:6379"
    assert spec["dashboard"] == "http://10.0.0.11:8265"


def test_serves_proxy_of_a_joined_cluster_is_on_its_head_wherever_the_load_comes_from() -> None:
    cluster = joined().model_copy(update={"client_node": "p5-b"})
    plan = on_ray("1P-TP4+1D-TP4", "spread", cluster=cluster)
    assert plan.router.node == "p5-b"
    assert plan.router.health_url == "http://10.0.0.12:29000/readiness"
    assert plan.router_url == "http://10.0.0.11:8000"
    assert yaml.safe_load(plan.serve_config)["http_options"]["host"] == "10.0.0.11"


def test_doors_count_the_replicas_of_their_deployment_on_their_node() -> None:
    plan = on_ray("4P-TP1+2D-TP2")
    told = [
        (spec_of(w)["deployment"][:7], spec_of(w)["rank"], spec_of(w)["of"]) for w in plan.workers
    ]
    assert told == [*(("Prefill", i, 4) for i in range(4)), ("Decode:", 0, 2), ("Decode:", 1, 2)]


def test_how_ray_wants_to_be_spoken_to_reaches_ray_and_doors_but_not_the_config() -> None:
    cluster = P5_RAY.model_copy(update={"env": {"RAY_AUTH_MODE": "token", "HF_HUB_OFFLINE": "1"}})
    plan = on_ray("1P-TP4+1D-TP4", cluster=cluster)
    for process in plan.processes:
        assert process.env["RAY_AUTH_MODE"] == "token"
        assert process.secrets == ()  # where the profile says so, the nodes have the token
    assert "RAY_AUTH_MODE" not in plan.serve_config
    assert "HF_HUB_OFFLINE" in plan.serve_config


def test_ray_that_is_started_asks_for_a_token_that_no_plan_holds() -> None:
    plan = on_ray("1P-TP4+1D-TP4", "spread")
    assert {p.secrets for p in plan.processes} == {("RAY_AUTH_TOKEN",)}
    for process in plan.processes:
        assert process.env["RAY_AUTH_MODE"] == "token"
        assert "RAY_AUTH_TOKEN" not in process.env
        spec = plan.spec(process, SECRETS)
        assert spec.env["RAY_AUTH_TOKEN"] == "x1"
    on_theirs = on_ray("1P-TP4+1D-TP4", "spread", cluster=joined())
    assert {p.secrets for p in on_theirs.processes} == {()}


def test_what_vllm_may_load_includes_what_tells_its_metrics() -> None:
    env = {"VLLM_PLUGINS": "mine", "PYTHONPATH": "/opt/mine"}
    config = args_of(on_ray("4xTP2", cluster=P5_RAY.model_copy(update={"env": env})))
    found = config["llm_configs"][0]["runtime_env"]["env_vars"]
    assert found["VLLM_PLUGINS"] == "mine,pdconsole"
    assert "PYTHONPATH" not in found


# --- ports


def test_nodes_on_one_machine_count_rays_ports_up() -> None:
    plan = on_ray("1P-TP1+1D-TP1", "spread", "tcp", cluster=LOCAL, model=TINY)
    first, second = named(plan, "ray-head"), named(plan, "ray-n2")
    for flag in ("--node-manager-port", "--metrics-export-port", "--dashboard-agent-grpc-port"):
        assert int(value_of(second, flag)) == int(value_of(first, flag)) + 1
    assert int(value_of(second, "--min-worker-port")) > int(value_of(first, "--max-worker-port"))
    on_p5 = on_ray("1P-TP4+1D-TP4", "spread")
    assert value_of(named(on_p5, "ray-p5-b"), "--metrics-export-port") == "6500"


def test_every_port_is_told_to_the_checks() -> None:
    wanted = wanted_ports([run_on("1P-TP4+1D-TP4", "spread")], P5_RAY)
    assert wanted["p5-a"][("10.0.0.11", 6379)] == "Ray's gcs on p5-a"
    assert wanted["p5-a"][("10.0.0.11", 8000)] == "Serve's proxy"
    assert wanted["p5-b"][("10.0.0.12", 8100)] == "D1's door"
    assert ("10.0.0.12", 6379) not in wanted["p5-b"]
    for node in P5_RAY.nodes:
        possible = set(possible_ports(P5_RAY, node))
        assert {at for at in wanted[node.name] if at[1] < 5600 or at[1] > 5608} <= possible


def test_a_joined_cluster_keeps_its_own_ports() -> None:
    wanted = wanted_ports([run_on("1P-TP4+1D-TP4", "spread")], joined())
    assert ("10.0.0.11", 6379) not in wanted["p5-a"]
    assert ("10.0.0.11", 8000) not in wanted["p5-a"]


@pytest.mark.parametrize(
    ("ports", "said"),
    [
        ({"gcs": 8100}, r"Port 8100 of 10\.0\.0\.11 is wanted by P1's door and by Ray's gcs"),
        ({"metrics_export": 6400}, r"move ray\.ports\.metrics_export"),
        ({"min_worker": 7000, "max_worker": 8050}, r"Port 8000 of Serve's proxy lies among"),
    ],
)
def test_ports_that_meet_are_named(ports: dict[str, int], said: str) -> None:
    with pytest.raises(ServingError, match=said):
        on_ray("1P-TP4+1D-TP4", cluster=with_ray(ports=ports))


# --- refusals


def test_unlike_replicas_of_a_role_are_refused() -> None:
    with pytest.raises(ServingError, match="C1 and C2 differ in TP"):
        on_ray("1xTP2+1xTP4")


def test_a_role_over_several_nodes_of_a_joined_cluster_is_refused() -> None:
    with pytest.raises(ServingError, match=r"prefill replicas are on p5-a and p5-b.*ray: start"):
        on_ray(OVER_NODES, "manual", cluster=joined())


def test_a_replica_over_nodes_is_for_ray_only() -> None:
    direct = PROFILES.cluster("p5-2node")
    with pytest.raises(ServingError, match=r"C1 spans p5-a and p5-b.*orchestrator: ray"):
        planned(run_of(placed("1xTP16N2", cluster=direct)), cluster=direct)


def test_a_replica_that_one_node_would_hold_may_not_span_nodes() -> None:
    with pytest.raises(ServingError, match="TP8 fits one node; write it without N2"):
        on_ray("P1=p5-a:0-3 D1=p5-a:4-7+p5-b:4-7", "manual")


@pytest.mark.parametrize(
    ("address", "hint"), [("p5-a.local", "set `address`"), ("127.0.0.1", "127.0.0.2")]
)
def test_an_address_that_ray_would_not_keep_is_refused(address: str, hint: str) -> None:
    first, second = P5_RAY.nodes
    nodes = [first.model_copy(update={"address": address}), second]
    with pytest.raises(ServingError, match=hint):
        on_ray("4xTP2", cluster=P5_RAY.model_copy(update={"nodes": nodes}))


def at_addresses(first: str, second: str, **of_second: Any) -> ClusterProfile:
    one, two = P5_RAY.nodes
    nodes = [
        one.model_copy(update={"address": first, "user": "a" if of_second else None}),
        two.model_copy(update={"address": second, **of_second}),
    ]
    return P5_RAY.model_copy(update={"nodes": nodes})


def test_ipv6_addresses_are_written_as_ray_writes_them() -> None:
    plan = on_ray("1P-TP4+1D-TP4", "spread", cluster=at_addresses("fd00::1", "fd00::2"))
    assert value_of(named(plan, "ray-p5-b"), "--address") == "[fd00::1]:6379"
    assert value_of(named(plan, "ray-head"), "--node-ip-address") == "fd00::1"
    assert plan.router_url == "http://[fd00::1]:8000"
    assert args_of(plan)["decode_config"]["placement_group_config"]["bundles"][0] == {
        "GPU": 1,
        "node:fd00::2": 0.001,
    }
    with pytest.raises(ServingError, match="write fd00::1 as `address` of p5-a"):
        on_ray("1P-TP4+1D-TP4", "spread", cluster=at_addresses("FD00:0::1", "fd00::2"))


def test_a_path_below_a_home_is_refused_where_homes_differ() -> None:
    model = ModelProfile.model_validate({**MODEL.model_dump(), "source": "~/models/x"})
    on_ray("4xTP4", cluster=at_addresses("10.0.0.1", "10.0.0.2", user="a"), model=model)
    differ = at_addresses("10.0.0.1", "10.0.0.2", user="b")
    on_ray("4xTP4", cluster=differ)
    with pytest.raises(ServingError, match="~/models/x is another path for the user of p5-a and"):
        on_ray("4xTP4", cluster=differ, model=model)


def test_ports_of_workers_that_there_are_none_of_are_refused() -> None:
    cluster = with_ray(LOCAL, ports={"min_worker": 64000, "max_worker": 65000})
    with pytest.raises(ServingError, match="no port 66001 for Ray's workers on n2"):
        wanted_ports([run_on("1P-TP1+1D-TP1", "spread", "tcp", cluster)], cluster)


def test_shares_of_a_gpu_are_refused() -> None:
    nodes = [node.model_copy(update={"kind": "gpu-share"}) for node in P5_RAY.nodes]
    with pytest.raises(ServingError, match="shares of one GPU"):
        on_ray("2xTP1", cluster=P5_RAY.model_copy(update={"nodes": nodes}))


def test_variables_that_ray_decides_are_refused() -> None:
    cluster = P5_RAY.model_copy(update={"env": {"VLLM_NIXL_SIDE_CHANNEL_PORT": "5700"}})
    with pytest.raises(ServingError, match="VLLM_NIXL_SIDE_CHANNEL_PORT is set in the env"):
        on_ray("1P-TP4+1D-TP4", cluster=cluster)


def test_a_temp_dir_too_long_for_sockets_is_refused() -> None:
    with pytest.raises(ServingError, match="too long for the sockets of Ray"):
        on_ray("4xTP2", cluster=with_ray(temp_dir="/" + "d" * 39))


# --- the script around Ray


def run_script(
    tmp_path: Path, *command: str, temp_dir: str = ""
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", "-c", IN_A_DIRECTORY, "sh", temp_dir, "agent.pyz", *command],
        capture_output=True,
        text=True,
        timeout=20,
        cwd=tmp_path,
        check=False,
    )


def fake_ray(tmp_path: Path, body: str) -> str:
    path = tmp_path / "ray"
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return str(path)


def test_rays_own_directory_is_gone_afterwards_and_its_last_words_are_kept(tmp_path: Path) -> None:
    ray = fake_ray(
        tmp_path,
        'mkdir -p "$3/session_latest/logs"; echo "$3" > told; echo "$PYTHONPATH" > path\n'
        'echo "gcs is sad" > "$3/session_latest/logs/gcs_server.err"; exit 3',
    )
    done = run_script(tmp_path, ray, "start")
    assert done.returncode == 3
    assert "gcs is sad" in done.stdout
    directory = Path((tmp_path / "told").read_text().strip())
    assert directory.parent.parent == Path("/tmp")
    assert not directory.parent.exists()
    assert (tmp_path / "path").read_text().startswith("agent.pyz")


def test_what_a_killed_ray_left_goes_with_the_next_start_and_what_runs_stays(
    tmp_path: Path,
) -> None:
    holding = fake_ray(tmp_path, 'mkdir -p "$3"; echo "$3" > told; mv told ready; sleep 30')
    command = ["sh", "-c", IN_A_DIRECTORY, "sh", "", "agent.pyz", holding, "start"]
    with subprocess.Popen(command, cwd=tmp_path, start_new_session=True) as process:
        while not (tmp_path / "ready").exists():
            assert process.poll() is None
        directory = Path((tmp_path / "ready").read_text().strip()).parent
        os.utime(directory, (0, 0))
        next_one = fake_ray(tmp_path, "exit 0")
        assert run_script(tmp_path, next_one, "start").returncode == 0
        assert directory.exists(), "it runs"
        os.killpg(process.pid, 9)
    (directory / "locked").rename(directory / "unsaid")
    os.utime(directory, (0, 0))
    assert run_script(tmp_path, next_one, "start").returncode == 0
    assert directory.exists(), "whose it is cannot be told"
    (directory / "unsaid").rename(directory / "locked")
    os.utime(directory, (0, 0))
    assert run_script(tmp_path, next_one, "start").returncode == 0
    assert not directory.exists()


def test_a_directory_that_was_named_is_kept(tmp_path: Path) -> None:
    ray = fake_ray(tmp_path, 'mkdir -p "$3"; exit 0')
    assert run_script(tmp_path, ray, "start", temp_dir=str(tmp_path / "kept")).returncode == 0
    assert (tmp_path / "kept").is_dir()


def test_being_told_to_end_waits_for_ray_and_cleans_up(tmp_path: Path) -> None:
    ray = fake_ray(
        tmp_path,
        "echo \"$3\" > told; trap 'echo ended > end; kill $s; exit 0' TERM\n"
        "sleep 30 & s=$!; touch ready; wait",
    )
    command = ["sh", "-c", IN_A_DIRECTORY, "sh", "", "agent.pyz", ray, "start"]
    with subprocess.Popen(command, cwd=tmp_path, start_new_session=True) as process:
        while not (tmp_path / "ready").exists():
            assert process.poll() is None
        os.killpg(process.pid, 15)
        process.wait(10)
    assert (tmp_path / "end").exists()
    assert not Path((tmp_path / "told").read_text().strip()).parent.exists()
