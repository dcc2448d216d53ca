"""The network test with real NIXL over this machine's memory: a good transport and a bad one."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from console import Console
from openssh_server import Sshd

from pdconsole.model import events as ev
from pdconsole.model.netbench import CLASSIC

pytestmark = [pytest.mark.engine, pytest.mark.slow, pytest.mark.timeout(900)]

RUN_S = 600.0


@pytest.fixture
def nodes(console: Console, cpu_nodes: list[Sshd]) -> None:
    """The two nodes with locks of their own: NIXL alone disturbs nobody else's replicas."""
    path = console.workspace / "profiles" / "clusters" / "local-cpu.yaml"
    cluster = yaml.safe_load(path.read_text())
    for node, server in zip(cluster["nodes"], cpu_nodes, strict=True):
        node["lock_dir"] = str(server.home / "locks")
    path.write_text(yaml.safe_dump(cluster))


def classic(result: dict[str, Any]) -> dict[str, Any]:
    (found,) = [shape for shape in result["shapes"] if shape["name"] == CLASSIC]
    return dict(found)


def assert_whole(result: dict[str, Any]) -> None:
    assert result["memory"] == "DRAM"
    assert result["nixl"] == "1.5.1"
    assert len(result["shapes"]) == 7
    for shape in result["shapes"]:
        assert shape.get("bad_blocks", 0) == 0
        assert shape["checked_blocks"] == 2 * shape["descriptors"]
        assert shape["transfers"] >= 3
        assert shape["transfer_p50_ms"] <= shape["transfer_p99_ms"]
        assert shape["post_p50_ms"] <= shape["transfer_p99_ms"]


def test_a_good_transport_and_a_bad_one(console: Console, nodes: None) -> None:
    done = console.run(
        *("netbench", "--cluster=local-cpu", "--model=tiny", "--nodes=n1:0,n1:1", "--json"),
        *("--network=shm", "--network=tcp"),
        timeout_s=RUN_S,
    )
    assert done.stdout, done.stderr[-3000:]
    good, bad = json.loads(done.stdout)
    for result in (good, bad):
        assert_whole(result)
        assert any("remote memory read" in line for line in result["proof"])
    assert "tcp" not in good["transport"]
    assert "tcp" in bad["transport"]
    assert classic(good)["gbps"] > classic(bad)["gbps"]
    # TCP between two processes of one machine never reaches what is asked of SRD.
    assert bad["verdict"] in ("warn", "fail")
    assert "UCX_TLS" in bad["advice"]
    file = console.workspace / "bm_results" / good["file"]
    assert json.loads(file.read_text())["gbps"] == good["gbps"]
    assert done.returncode == (1 if "fail" in (good["verdict"], bad["verdict"]) else 0)
    assert console.ours() == {}


def test_the_experiment_tests_networks_one_by_one_and_records_them(
    console: Console, nodes: None
) -> None:
    layout = "1P-TP1+1D-TP1"
    console.change(
        "experiments",
        "network-bandwidth-test",
        cluster="local-cpu",
        model="tiny",
        workload="itl300-otl16",
        network="shm",
        runs=[
            {"layout": layout, "placement": "pack", "network": "shm"},
            {"layout": layout, "placement": "spread", "network": "tcp"},
        ],
    )
    done = console.run("run", "network-bandwidth-test", "--json", timeout_s=RUN_S)
    assert done.returncode == 0, done.stderr[-3000:]
    events = console.events()
    results = [e for e in events if isinstance(e, ev.NetBenchResult)]
    assert [(e.run, e.network, e.source, e.reader) for e in results] == [
        ("1", "shm", "n1:0", "n1:1"),
        ("2", "tcp", "n1:0", "n2:0"),
    ]
    for result in results:
        assert result.file
        assert (console.workspace / "bm_results" / result.file).exists()
        assert {shape.bad_blocks for shape in result.shapes} == {0}
    checks = [e for e in events if isinstance(e, ev.CheckResult) and e.check.startswith("netbench")]
    assert [e.verdict for e in checks] == [e.verdict for e in results]
    assert console.ours() == {}
