"""What a closer look at the nodes leads to."""

from __future__ import annotations

from typing import Any

import fake_measuring as fake
import msgspec
import pytest

from pdconsole.measure.preflight import preflight, preflight_cluster
from pdconsole.model.events import CheckResult
from pdconsole.remote.values import (
    ClockSeen,
    EngineFacts,
    Inventory,
    Looked,
    ModelSeen,
    NodeGpu,
    PortTaken,
    RdmaDevice,
    UcxFacts,
)

GOOD_UCX = UcxFacts(
    version="1.23.0", modules=("ib", "ib_efa"), transports=("srd/efa0:1", "tcp/eth0")
)
GOOD_ENGINE = EngineFacts(packages={"nixl": "1.5.1"}, ucx=GOOD_UCX)
HERE = ModelSeen(is_path=False, folder="/cache/m", found=True, config_sha256="aa", weights=2)
GOOD = Looked(
    engine=GOOD_ENGINE,
    models={"org/m": HERE},
    devices=(RdmaDevice(name="efa0", driver="efa", state="ACTIVE"),),
)


def inventory(node: str, looked: Looked | None = GOOD, **changes: Any) -> Inventory:
    fields: dict[str, Any] = {
        "node": node,
        "hostname": f"host-{node}",
        "python": "3.10.12",
        "gpus": tuple(
            NodeGpu(index=i, name="NVIDIA H100 80GB HBM3", memory_mib=81559) for i in range(8)
        ),
        "versions": {
            "vllm": "0.33.0",
            "vllm-router": "0.1.17",
            "nixl": "1.5.1",
            "ucx": "1.23.0",
            "driver": "570.1",
        },
        "disk_free_bytes": 100 << 30,
        "looked": looked,
    }
    return Inventory(**{**fields, **changes})


def check(b: Inventory, *, cluster: Any = None, **rest: Any) -> list[CheckResult]:
    """P on node a, D on node b, KV over srd."""
    options: dict[str, Any] = {
        "networks": {"srd": fake.network(env={"UCX_TLS": "srd,cuda_ipc,tcp"})},
        "session": "mine",
        **rest,
    }
    return preflight(
        {"a": inventory("a"), "b": b},
        [fake.run_plan("1P-TP1+1D-TP1", on=("a", "b"))],
        cluster=fake.CLUSTER.model_copy(update=cluster or {}),
        model=fake.MODEL,
        **options,
    )


def looked(**changes: Any) -> Inventory:
    return inventory("b", msgspec.structs.replace(GOOD, **changes))


def engine(**changes: Any) -> Inventory:
    return looked(engine=msgspec.structs.replace(GOOD_ENGINE, **changes))


def ucx(**changes: Any) -> Inventory:
    return engine(ucx=msgspec.structs.replace(GOOD_UCX, **changes))


def problems(results: list[CheckResult]) -> dict[tuple[str, str], tuple[str, bool]]:
    assert all(r.advice for r in results if r.verdict != "ok")
    return {(r.node, r.check): (r.verdict, r.hard) for r in results if r.verdict != "ok"}


def of(results: list[CheckResult], node: str, name: str) -> CheckResult:
    return next(r for r in results if (r.node, r.check) == (node, name))


def test_nodes_as_they_should_be_pass_every_check() -> None:
    results = check(inventory("b"))
    assert problems(results) == {}
    assert {r.check for r in results if r.node == "b"} >= {
        *("nixl", "ucx", "srd", "efa", "model", "login-env", "ports"),
        *("vllm-equal", "nixl-equal", "ucx-equal", "driver-equal", "model-equal"),
    }


@pytest.mark.parametrize(
    ("b", "name", "verdict", "hard"),
    [
        (engine(packages={}), "nixl", "fail", True),
        (engine(packages={"nixl": "0.9.0"}), "nixl", "warn", False),
        (engine(trouble="no such file"), "nixl", "unknown", False),
        (ucx(transports=("srd/efa0:1",)), "ucx", "warn", False),
        (ucx(transports=("tcp/eth0",)), "srd", "fail", True),
        (ucx(transports=("tcp/eth0",), modules=("ib",)), "srd", "fail", True),
        (looked(devices=()), "efa", "fail", True),
        (looked(devices=(RdmaDevice(name="m", driver="mlx5_core"),)), "efa", "fail", True),
        (looked(devices=(RdmaDevice(name="e", driver="efa", state="DOWN"),)), "efa", "fail", True),
        (looked(devices=(RdmaDevice(name="e", usable=False),)), "efa", "fail", True),
        (looked(variables={"NCCL_DEBUG": "INFO"}), "login-env", "warn", False),
        (looked(models={"org/m": ModelSeen(is_path=False)}), "model", "unknown", False),
        (looked(models={"org/m": ModelSeen(is_path=False, offline=True)}), "model", "fail", True),
        (looked(models={"org/m": ModelSeen(is_path=True, folder="/m")}), "model", "fail", True),
    ],
)
def test_what_is_not_well_on_a_node(b: Inventory, name: str, verdict: str, hard: bool) -> None:
    assert problems(check(b)) == {("b", name): (verdict, hard)}


def test_what_should_be_alike_on_both_nodes() -> None:
    other = {"nixl": "1.5.0", "ucx": "1.22.0", "driver": "560.2"}
    b = inventory("b")
    b = msgspec.structs.replace(b, versions={**b.versions, **other})
    assert problems(check(b)) == {
        ("b", "nixl-equal"): ("fail", True),
        ("b", "ucx-equal"): ("warn", False),
        ("b", "driver-equal"): ("warn", False),
    }


def test_another_model_under_the_same_name_is_found_out() -> None:
    other = msgspec.structs.replace(HERE, config_sha256="bb")
    assert problems(check(looked(models={"org/m": other}))) == {
        ("b", "model-equal"): ("fail", True)
    }


def test_a_model_without_weights_will_do_where_they_are_made_up() -> None:
    bare = looked(models={"org/m": msgspec.structs.replace(HERE, is_path=True, weights=0)})
    assert problems(check(bare)) == {("b", "model"): ("fail", True)}
    dummy = fake.MODEL.model_copy(update={"engine_args": {"load-format": "dummy"}})
    results = preflight(
        {"b": bare},
        [fake.run_plan("1xTP1", on=("b",))],
        cluster=fake.CLUSTER.model_copy(update={"client_node": "b"}),
        model=dummy,
        networks={},
        session="",
    )
    assert problems(results) == {}


def test_ports_are_looked_at_where_something_would_listen() -> None:
    ports = fake.CLUSTER.ports
    taken = PortTaken(address="b", port=ports.worker, kind="taken", pid=9, name="x", user="eve")
    results = check(looked(ports=(taken,)))
    assert problems(results) == {("b", "ports"): ("fail", True)}
    assert of(results, "b", "ports").value == (
        f"port {ports.worker} of D1 is taken by process 9 (x) of user eve"
    )
    elsewhere = msgspec.structs.replace(taken, port=ports.worker + 1)
    assert problems(check(looked(ports=(elsewhere,)))) == {}
    ours = msgspec.structs.replace(taken, token="mine/1/D1")
    assert problems(check(looked(ports=(ours,)))) == {}
    # Without a session nothing is ours.
    assert ("b", "ports") in problems(check(looked(ports=(ours,)), session=""))


def test_an_address_that_is_not_the_nodes_own() -> None:
    port = fake.CLUSTER.ports.worker
    wrong = PortTaken(address="b", port=port, kind="foreign-address")
    assert problems(check(looked(ports=(wrong,)))) == {("b", "address"): ("fail", True)}


def test_what_profiles_set_overrules_what_the_node_sets() -> None:
    b = looked(variables={"UCX_TLS": "tcp", "NCCL_DEBUG": "INFO", "UCX_LOG_LEVEL": "DEBUG"})
    found = of(check(b, cluster={"env": {"UCX_LOG_LEVEL": "WARN"}}), "b", "login-env")
    assert found.value == "NCCL_DEBUG=INFO"


def test_what_every_replica_is_started_with_overrules_what_the_node_sets() -> None:
    b = looked(variables={"VLLM_LOGGING_LEVEL": "DEBUG", "NIXL_LOG_LEVEL": "DEBUG"})
    assert problems(check(b)) == {}
    # A profile that asks for it is told so itself.
    loud = check(b, cluster={"env": {"NIXL_LOG_LEVEL": "DEBUG"}})
    assert {name: verdict for (_, name), (verdict, _) in problems(loud).items()} == {
        "debug-env": "warn"
    }


def test_a_wrong_time_of_day_is_told() -> None:
    clocks = {"b": ClockSeen("b", 5.0, 0.001, -2.5), "a": ClockSeen("a", 5.0, 0.001, 0.01)}
    results = check(inventory("b"), clocks=clocks)
    assert problems(results) == {("b", "wall-clock"): ("warn", False)}
    assert of(results, "b", "wall-clock").value == "-2500 ms from here"


def test_of_a_whole_cluster_what_is_missing_for_some_runs_refuses_none() -> None:
    port = PortTaken(address="b", port=fake.CLUSTER.ports.worker, kind="taken")
    b = looked(devices=(), ports=(port,))
    results = preflight_cluster({"a": inventory("a"), "b": b}, cluster=fake.CLUSTER, session="")
    assert problems(results) == {("b", "efa"): ("warn", False), ("b", "ports"): ("warn", False)}
