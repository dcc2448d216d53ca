"""What is said of Ray before anything is started on it, or on a cluster of its that runs."""

from __future__ import annotations

from typing import Any

import fake_measuring as fake
import pytest
from test_preflight import inventory, of, problems

from pdconsole.measure.preflight import preflight, preflight_cluster
from pdconsole.model.events import CheckResult
from pdconsole.profiles.schema import ClusterProfile, RayProfile
from pdconsole.remote.values import (
    EngineFacts,
    Inventory,
    Looked,
    ProcessInfo,
    RayAppSeen,
    RayNodeSeen,
    RaySeen,
)

VERSIONS = {"vllm": "0.29.0", "ray": "2.60.0", "nixl": "1.3.2"}
JOINED = RayProfile.model_validate(
    {"start": False, "address": "a:6379", "dashboard": "http://a:8265"}
)


def cluster(ray: RayProfile | None = None, **changes: Any) -> ClusterProfile:
    fields = {"orchestrator": "ray", "ray": ray or RayProfile(), **changes}
    return fake.CLUSTER.model_copy(update=fields)


def node(
    name: str, ray: RaySeen | None = None, python: str = "3.11.7", **changes: Any
) -> Inventory:
    looked = Looked(engine=EngineFacts(python=python, packages={"nixl": "1.3.2"}), ray=ray)
    return inventory(name, **{"versions": VERSIONS, "looked": looked, **changes})


def there(address: str, **changes: Any) -> RayNodeSeen:
    fields: dict[str, Any] = {
        "address": address,
        "state": "ALIVE",
        "resources": {"GPU": 8.0, "CPU": 100.0},
        "used": {"GPU": 0.0},
    }
    return RayNodeSeen(**{**fields, **changes})


def seen(**changes: Any) -> RaySeen:
    fields: dict[str, Any] = {"version": "2.60.0", "nodes": (there("a"), there("b"))}
    return RaySeen(**{**fields, **changes})


def check(a: Inventory, b: Inventory, of_cluster: ClusterProfile) -> list[CheckResult]:
    """Of a PD run with P on one GPU of node a and D on one of node b."""
    return preflight(
        {"a": a, "b": b},
        [fake.run_plan("1P-TP1+1D-TP1", on=("a", "b"))],
        cluster=of_cluster,
        model=fake.MODEL,
        networks={"srd": fake.network(env={"UCX_TLS": "srd,cuda_ipc,tcp"})},
        session="mine",
    )


def joined(ray: RaySeen, **changes: Any) -> list[CheckResult]:
    return check(node("a", ray, **changes), node("b"), cluster(JOINED))


def ray_problems(results: list[CheckResult]) -> dict[tuple[str, str], str]:
    return {name: found for name, found in problems(results).items() if name[1].startswith("ray")}


# --- Ray that is started


def test_of_ray_that_is_known_nothing_is_amiss() -> None:
    results = check(node("a"), node("b"), cluster())
    assert ray_problems(results) == {}
    told = {r.check for r in results}
    assert "router" not in told  # Ray has its own
    assert {"ray", "ray-llm", "ray-equal", "ray-python", "ray-open", "vllm", "nixl"} <= told
    assert of(results, "a", "nixl").verdict == "ok"
    assert of(results, "a", "vllm").verdict == "ok"


def test_ray_that_asks_for_no_token_is_open_to_all() -> None:
    results = check(node("a"), node("b"), cluster(env={"RAY_AUTH_MODE": "disabled"}))
    assert ray_problems(results) == {("test", "ray-open"): "warn"}
    assert "private network" in of(results, "test", "ray-open").advice


def test_a_cluster_without_ray_says_nothing_of_it() -> None:
    results = check(node("a"), node("b"), fake.CLUSTER)
    assert not [r for r in results if r.check.startswith("ray")]


def test_a_node_without_ray_refuses_the_run() -> None:
    results = check(node("a", versions={"vllm": "0.29.0"}), node("b"), cluster())
    found = of(results, "a", "ray")
    assert (found.verdict, found.hard) == ("fail", True)
    assert "`ray`" in found.value
    assert "ray.command" in found.advice


@pytest.mark.parametrize(
    ("versions", "warned"),
    [
        ({**VERSIONS, "ray": "2.61.0"}, "ray"),
        ({**VERSIONS, "vllm": "0.30.0+cpu"}, "ray-llm"),
        ({**VERSIONS, "nixl": "1.4.0"}, "ray-llm"),
    ],
)
def test_what_ray_does_not_name_is_warned_of(versions: dict[str, str], warned: str) -> None:
    results = check(node("a", versions=versions), node("b", versions=versions), cluster())
    assert ray_problems(results) == {
        ("a", warned): "warn",
        ("b", warned): "warn",
    }


def test_nodes_with_other_ray_or_python_refuse_the_run() -> None:
    results = check(
        node("a"), node("b", versions={**VERSIONS, "ray": "2.51.0"}, python="3.12.1"), cluster()
    )
    assert of(results, "b", "ray-equal").verdict == "fail"
    found = of(results, "b", "ray-python")
    assert (found.verdict, found.value) == ("fail", "3.12.1, and 3.11.7 on a")


# --- a cluster that runs


def test_a_cluster_as_it_should_be() -> None:
    results = joined(seen())
    assert ray_problems(results) == {}
    assert of(results, "test", "ray-cluster").value == "Ray 2.60.0, 2 nodes alive, http://a:8265"
    assert of(results, "b", "ray-resources").value == "8 of 8 GPU free"
    assert "ray-open" not in {r.check for r in results}  # not ours to say


def test_a_dashboard_that_does_not_answer_refuses_the_run() -> None:
    results = joined(RaySeen(trouble="http://a:8265/api/version does not answer: refused"))
    assert ray_problems(results) == {("test", "ray-cluster"): "fail"}
    found = of(results, "test", "ray-cluster")
    assert found.hard
    assert "node a must reach it" in found.advice


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"nodes": (there("a"),)}, "b is not in the cluster; alive: a"),
        (
            {"nodes": (there("a"), there("b", state="DEAD", message="drained"))},
            "b is DEAD (drained); alive: a",
        ),
    ],
)
def test_a_node_that_ray_lacks(changed: dict[str, Any], said: str) -> None:
    found = of(joined(seen(**changed)), "b", "ray-node")
    assert (found.verdict, found.value) == ("fail", said)


def test_gpus_that_others_have_and_gpus_that_there_are_none_of() -> None:
    taken, few = there("a", used={"GPU": 8.0}), there("b", resources={"CPU": 4.0}, used=None)
    results = joined(seen(nodes=(taken, few)))
    assert of(results, "a", "ray-resources").value == "0 of 8 GPU free"
    assert "`ray status`" in of(results, "a", "ray-resources").advice
    assert of(results, "b", "ray-resources").value == "0 GPU"
    assert "--num-gpus" in of(results, "b", "ray-resources").advice
    assert ray_problems(results) == {("a", "ray-resources"): "fail", ("b", "ray-resources"): "fail"}


@pytest.mark.parametrize(
    ("app", "verdict", "said"),
    [
        (RayAppSeen(name="shop", status="RUNNING", route="/shop"), "fail", "shop (running), which"),
        (RayAppSeen(name="shop", route="/", declared=False), "fail", "would replace"),
        (RayAppSeen(name="shop", route="/shop", declared=False), "fail", "would disturb"),
        (RayAppSeen(name="pdconsole", status="RUNNING"), "fail", "of another session"),
    ],
)
def test_applications_of_others_are_not_replaced(app: RayAppSeen, verdict: str, said: str) -> None:
    found = of(joined(seen(apps=(app,))), "test", "ray-apps")
    assert found.verdict == verdict
    assert said in found.value


def test_a_resumed_session_meets_its_own_application() -> None:
    app = RayAppSeen(name="pdconsole", status="RUNNING")
    router = ProcessInfo(token="mine/1/router", pid=1, state="running")
    results = joined(seen(apps=(app,)), processes=(router,))
    assert of(results, "test", "ray-apps").verdict == "ok"
    full = (there("a", used={"GPU": 8.0}), there("b", resources={"GPU": 0.0}))
    results = joined(seen(apps=(app,), nodes=full), processes=(router,))
    assert of(results, "a", "ray-resources").value == (
        "0 of 8 GPU free, beside what this session has there"
    )
    assert of(results, "b", "ray-resources").verdict == "fail"
    over = ProcessInfo(token="mine/1/router", pid=1, state="exited")
    results = joined(seen(apps=(app,)), processes=(over,))
    assert of(results, "test", "ray-apps").verdict == "fail"


def test_a_serve_that_listens_elsewhere_names_its_port() -> None:
    found = of(joined(seen(http_host="0.0.0.0", http_port=9000)), "test", "ray-proxy")
    assert found.verdict == "fail"
    assert "write 9000 as ports.router" in found.advice
    assert ray_problems(joined(seen(http_host="0.0.0.0", http_port=8000))) == {}
    own = of(joined(seen(http_host="127.0.0.1", http_port=8000)), "test", "ray-proxy")
    assert own.verdict == "fail"
    assert "end Serve if nobody uses it, to have it started at a" in own.advice


def test_another_ray_on_the_node_than_the_cluster_runs() -> None:
    found = of(joined(seen(version="2.51.0")), "a", "ray-equal")
    assert (found.verdict, found.hard) == ("fail", True)


def test_before_anybody_plans_all_of_the_cluster_is_looked_at() -> None:
    results = preflight_cluster(
        {"a": node("a", seen(nodes=(there("a"), there("b", used={"GPU": 1.0})))), "b": node("b")},
        cluster=cluster(JOINED),
        session="",
    )
    assert of(results, "a", "ray-resources").verdict == "ok"
    assert of(results, "b", "ray-resources").verdict == "fail"
