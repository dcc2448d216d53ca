from __future__ import annotations

from typing import Any

import fake_measuring as fake
import pytest

from pdconsole.measure.preflight import preflight, preflight_cluster
from pdconsole.model.events import CheckResult
from pdconsole.remote.values import ClockSeen, GpuProcess, Inventory, NodeGpu, SlotLock

MODEL_NAME = "NVIDIA H100 80GB HBM3"


def gpu(index: int, *processes: GpuProcess, used_mib: int = 4, name: str = MODEL_NAME) -> NodeGpu:
    return NodeGpu(
        index=index, name=name, memory_mib=81559, memory_used_mib=used_mib, processes=processes
    )


def inventory(node: str, **changes: Any) -> Inventory:
    fields: dict[str, Any] = {
        "node": node,
        "hostname": f"host-{node}",
        "python": "3.10.12",
        "gpus": tuple(gpu(i) for i in range(8)),
        "versions": {"vllm": "0.33.0", "vllm-router": "0.1.17"},
        "disk_free_bytes": 100 << 30,
        "memlock": -1,
        "work_dir": "/home/u/.pdconsole",
    }
    return Inventory(**{**fields, **changes})


def check(
    a: Inventory | None = None, b: Inventory | None = None, *, cluster: Any = None, **rest: Any
) -> list[CheckResult]:
    """Of a PD run with P on node a and D on node b, of which one GPU each is used by TP1."""
    options: dict[str, Any] = {
        "runs": [fake.run_plan("1P-TP1+1D-TP1", on=("a", "b"))],
        "networks": {"srd": fake.network(env={"UCX_TLS": "srd,cuda_ipc,tcp"})},
    }
    options.update(rest)
    runs = options.pop("runs")
    return preflight(
        {"a": a or inventory("a"), "b": b or inventory("b")},
        runs,
        cluster=fake.CLUSTER.model_copy(update=cluster or {}),
        model=fake.MODEL,
        session="mine",
        **options,
    )


def problems(results: list[CheckResult]) -> dict[tuple[str, str], str]:
    return {(r.node, r.check): r.verdict for r in results if r.verdict != "ok"}


def of(results: list[CheckResult], node: str, name: str) -> CheckResult:
    return next(r for r in results if (r.node, r.check) == (node, name))


def test_a_good_cluster_passes_everything_and_gives_no_advice():
    results = check()
    assert problems(results) == {}
    assert all(r.advice == "" for r in results)
    assert {r.check for r in results} >= {
        "reachable",
        "python",
        "disk",
        "vllm",
        "vllm-equal",
        "router",
        "memlock",
        "gpu-count",
        "gpus-free",
        "debug-env",
        "ucx-tls srd",
    }


@pytest.mark.parametrize(
    ("changes", "name", "hard"),
    [
        ({"python": "3.8.10"}, "python", True),
        ({"python": ""}, "python", True),
        ({"disk_free_bytes": 1 << 30}, "disk", True),
        ({"versions": {"vllm-router": "0.1.17"}}, "vllm", True),
        ({"gpus": tuple(gpu(i) for i in range(7))}, "gpu-count", True),
        ({"gpus": ()}, "gpu-count", True),
    ],
)
def test_what_refuses_a_run(changes, name, hard):
    results = check(b=inventory("b", **changes))
    found = of(results, "b", name)
    assert (found.verdict, found.hard) == ("fail", hard)
    assert found.advice
    assert problems(results) == {("b", name): "fail"}


def test_the_router_is_needed_where_it_runs_only():
    no_router = {"versions": {"vllm": "0.33.0"}}
    assert problems(check(b=inventory("b", **no_router))) == {}
    assert problems(check(a=inventory("a", **no_router))) == {("a", "router"): "fail"}


def test_an_unreachable_node_is_named_with_its_reason():
    results = preflight(
        {"a": inventory("a")},
        [fake.run_plan("1P-TP1+1D-TP1", on=("a", "b"))],
        cluster=fake.CLUSTER,
        model=fake.MODEL,
        networks={},
        session="mine",
        unreachable={"b": "connection refused"},
    )
    found = of(results, "b", "reachable")
    assert (found.verdict, found.value, found.hard) == ("fail", "connection refused", True)
    assert "`ssh b`" in found.advice


def test_why_simulated_nodes_are_not_reached_lies_here():
    results = preflight_cluster(
        {},
        cluster=fake.CLUSTER.model_copy(update={"simulated": True}),
        session="",
        unreachable=dict.fromkeys("ab", "the embedded cluster has no place: the disk is full"),
    )
    assert {(r.node, r.verdict) for r in results if r.check == "reachable"} == {
        ("a", "fail"),
        ("b", "fail"),
    }
    for found in (of(results, "a", "reachable"), of(results, "b", "reachable")):
        assert "this machine" in found.advice
        assert "ssh" not in found.advice


def test_a_node_that_no_run_uses_is_left_alone():
    results = check(runs=[fake.run_plan("2xTP1")], b=inventory("b", python="2.7"))
    assert {r.node for r in results} == {"a", "test"}


@pytest.mark.parametrize(
    ("holder", "text"),
    [
        (GpuProcess(pid=42, name="python", user="eve"), "process 42 (python) of user eve"),
        (GpuProcess(pid=42, token="other/1/P1"), "process 42 of session other"),
    ],
)
def test_who_holds_a_gpu(holder, text):
    held = inventory("b", gpus=(gpu(0, holder), *(gpu(i) for i in range(1, 8))))
    found = of(check(b=held), "b", "gpus-free")
    assert (found.verdict, found.hard) == ("fail", True)
    assert text in found.value


def test_ours_and_gpus_that_no_run_uses_are_not_in_the_way():
    eve = GpuProcess(pid=42, user="eve")
    ours = gpu(0, GpuProcess(pid=7, token="mine/1/D1"), used_mib=70000)
    gpus = (ours, gpu(1, eve), *(gpu(i) for i in range(2, 8)))
    locks = (SlotLock(slot=0, session="mine", ours=True), SlotLock(slot=5, session="x", user="eve"))
    assert problems(check(b=inventory("b", gpus=gpus, locks=locks))) == {}


def test_locks_and_memory_without_a_process_count():
    locked = inventory("b", locks=(SlotLock(slot=0, session="x", user="eve"),))
    assert "locked by session x of eve" in of(check(b=locked), "b", "gpus-free").value
    full = inventory("b", gpus=(gpu(0, used_mib=70000), *(gpu(i) for i in range(1, 8))))
    assert "70000 MiB" in of(check(b=full), "b", "gpus-free").value


def test_a_vllm_that_no_replica_would_start_with_refuses_the_run() -> None:
    old = {"vllm": "0.10.2", "vllm-router": "0.1.17"}
    found = of(check(inventory("a", versions=old), inventory("b", versions=old)), "a", "vllm")
    assert (found.verdict, found.hard) == ("fail", True)
    assert "older than 0.11.0" in found.advice
    stated = fake.CLUSTER.engine.model_copy(update={"version": "0.10.2"})
    assert problems(check(cluster={"engine": stated}))["b", "vllm"] == "fail"


def test_p_and_d_need_one_version():
    newer = inventory("b", versions={"vllm": "0.32.0"})
    found = of(check(b=newer), "b", "vllm-equal")
    assert (found.verdict, found.hard) == ("fail", True)
    assert found.value == "0.32.0, and 0.33.0 on a"
    build = inventory("b", versions={"vllm": "0.33.0+cu128"})
    assert problems(check(b=build)) == {}


def test_a_stated_version_is_believed_but_a_different_one_is_told():
    stated = fake.CLUSTER.engine.model_copy(update={"version": "0.33.0"})
    silent = inventory("b", versions={})
    assert problems(check(b=silent, cluster={"engine": stated})) == {("b", "vllm"): "warn"}
    older = {"vllm": "0.11.0", "vllm-router": "0.1.17"}
    both = check(
        inventory("a", versions=older), inventory("b", versions=older), cluster={"engine": stated}
    )
    assert problems(both) == {("a", "vllm"): "warn", ("b", "vllm"): "warn"}


def test_memlock_matters_on_rdma_fabrics_where_kv_moves():
    limited = inventory("b", memlock=64 << 10)
    assert problems(check(b=limited)) == {("b", "memlock"): "warn"}
    assert problems(check(b=limited, cluster={"fabric": "ethernet"})) == {}


def test_clocks_are_held_to_the_threshold():
    clocks = {"a": ClockSeen("a", 5.0, 0.001), "b": ClockSeen("b", 5.0, 0.2)}
    assert problems(check(clocks=clocks)) == {("b", "clock"): "warn"}


@pytest.mark.parametrize(
    ("cluster_env", "network", "name"),
    [
        ({"VLLM_LOGGING_LEVEL": "debug"}, {}, "debug-env"),
        ({}, {"env": {"NIXL_LOG_LEVEL": "TRACE"}}, "debug-env"),
        ({"NCCL_DEBUG": "INFO"}, {}, "debug-env"),
        ({"UCX_TLS": "tcp,cuda_copy,self"}, {}, "ucx-tls srd"),
        ({}, {"env": {"UCX_TLS": "tcp"}}, "ucx-tls srd"),
        ({}, {"backend": "LIBFABRIC"}, "libfabric"),
    ],
)
def test_what_the_profiles_alone_give_away(cluster_env, network, name):
    networks = {"srd": fake.network(**network)}
    results = check(networks=networks, cluster={"env": cluster_env})
    assert problems(results) == {("test", name): "warn"}


def test_libfabric_is_warned_of_with_the_reason():
    results = check(networks={"srd": fake.network(backend="LIBFABRIC")})
    assert "27055" in of(results, "test", "libfabric").advice


@pytest.mark.parametrize("tls", ["tcp,cuda_copy,self", "^srd", "", "srd_x,tcp", "all"])
def test_tcp_is_fine_where_it_is_asked_for_or_not_all_there_is(tls):
    name = "tcp" if tls.startswith("tcp") else "srd"
    network = fake.network(name, env={"UCX_TLS": tls})
    assert problems(check(networks={"srd": network})) == {}


def test_shared_memory_is_fast_where_there_are_no_gpus_and_only_there():
    networks = {"srd": fake.network("shm", env={"UCX_TLS": "tcp,shm,self"})}
    nodes = [node.model_copy(update={"kind": "cpu"}) for node in fake.CLUSTER.nodes]
    assert problems(check(networks=networks)) == {("test", "ucx-tls shm"): "warn"}
    assert problems(check(networks=networks, cluster={"nodes": nodes})) == {}


def test_debug_logging_of_a_network_that_no_kv_crosses_is_no_matter():
    loud = {"srd": fake.network(env={"NIXL_LOG_LEVEL": "DEBUG"})}
    assert problems(check(runs=[fake.run_plan("2xTP1")], networks=loud)) == {}


def test_a_workload_longer_than_the_model_takes():
    short = fake.MODEL.model_copy(update={"max_model_len": 66})
    results = preflight(
        {"a": inventory("a")},
        [fake.run_plan("2xTP1")],
        cluster=fake.CLUSTER,
        model=short,
        networks={},
        session="mine",
    )
    found = of(results, "test", "context")
    assert found.hard
    assert "needs 67 tokens" in found.value
