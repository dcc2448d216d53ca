"""`pdconsole run` on real Ray Serve, vLLM and NIXL on the CPU, through real OpenSSH."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from console import Console
from openssh_server import Sshd
from ray_stack import TheirRay

from pdconsole.model import events as ev

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(600)]

RUN_S = 500.0
# On the CPU a block holds 128 tokens, of 512 bytes each. A prompt of 300 tokens is three.
BLOCK_BYTES = 128 * 512
REQUEST_BLOCKS = 3


def run(console: Console, *words: str) -> dict[str, Any]:
    done = console.run("run", *words, "--json", timeout_s=RUN_S)
    assert done.returncode == 0, done.stderr[-3000:] + console.tail()
    summary: dict[str, Any] = json.loads(done.stdout)
    assert summary["status"] == "finished"
    assert summary["simulated"] is False
    assert console.ours() == {}
    return summary


def documents(console: Console, one: dict[str, Any]) -> list[dict[str, Any]]:
    directory: Path = console.workspace / "bm_results" / one["result_dir"]
    return [json.loads(path.read_text()) for path in sorted(directory.glob("conc*.json"))]


def test_pack_and_spread_of_prefill_and_decode(console: Console, ray_nodes: list[Sshd]) -> None:
    summary = run(console, "pack-vs-spread", "--cluster=local-ray")
    assert [one["layout"] for one in summary["runs"]] == ["p1xtp1-d1xtp1"] * 2
    for one, spread in zip(summary["runs"], (False, True), strict=True):
        results = documents(console, one)
        assert [d["max_concurrency"] for d in results] == [1, 2]
        for document in results:
            assert document["failed"] == 0
            assert document["completed"] >= 10
            assert document["total_output_tokens"] == 16 * document["completed"]
            assert document["is_multinode"] is spread
            versions = document["pdconsole"]["versions"]["nodes"]["n1"]
            assert versions["ray"] == "2.60.0"
            assert versions["vllm"].startswith("0.29.0")
            assert versions["nixl"] == "1.3.2"
    events = console.events()
    for run_id in ("1", "2"):
        assert_validated(events, run_id)
        assert_all_kv_came_from_p(events, run_id)
    finished = [e for e in events if isinstance(e, ev.RequestFinished)]
    assert {e.error for e in finished} == {""}
    processes = {
        (e.run, e.process, e.node)
        for e in events
        if isinstance(e, ev.ProcessState) and e.role != "driver"
    }
    both = {("P1", "n1"), ("router", "n1"), ("ray-head", "n1")}
    assert {found[1:] for found in processes if found[0] == "1"} == {*both, ("D1", "n1")}
    assert {found[1:] for found in processes if found[0] == "2"} == {
        *both,
        ("D1", "n2"),
        ("ray-n2", "n2"),
    }
    config = yaml.safe_load((console.session() / "serve" / "2.yaml").read_text())
    assert [app["name"] for app in config["applications"]] == ["pdconsole"]
    notes = [e.message for e in events if isinstance(e, ev.Note)]
    assert any("dashboard is at http://" in note for note in notes), notes


def assert_validated(events: list[ev.Event], run_id: str) -> None:
    (found,) = [e for e in events if isinstance(e, ev.KvValidated) and e.run == run_id]
    assert found.verdict == "ok", found.message
    assert found.pairs == ("P1>D1",)
    assert found.smallest_caught


def assert_all_kv_came_from_p(events: list[ev.Event], run_id: str) -> None:
    """In the points: to validate KV, D has made some of its own before."""
    begun = next(
        n for n, e in enumerate(events) if isinstance(e, ev.PointState) and e.run == run_id
    )
    of_run = [e for e in events[begun:] if getattr(e, "run", "") == run_id]
    # The first may have been asked for before that.
    d = [e for e in of_run if isinstance(e, ev.WorkerSampled) and e.process == "D1"][1:]
    assert d[0].local_compute_tokens == d[-1].local_compute_tokens
    assert d[-1].running is not None
    nixl = [e for e in of_run if isinstance(e, ev.NixlSampled) and e.process == "D1"][1:]
    assert {e.source for e in nixl} == {"metrics"}
    first, last = nixl[0], nixl[-1]
    assert first.bytes is not None
    assert last.bytes is not None
    moved, transfers = last.bytes - first.bytes, last.transfers - first.transfers
    assert transfers > 0
    # Exactly, where Ray's own exporter would have it by the middle of a bucket. Before each of the
    # two points P is introduced to D by a prompt of one block.
    one_block = transfers * REQUEST_BLOCKS - moved / BLOCK_BYTES
    assert one_block / (REQUEST_BLOCKS - 1) in (0, 1, 2), (moved, transfers)
    assert last.xfer_s
    troubles = (last.failed_transfers, last.expired, last.notifications_after_expiry)
    assert [count or 0 for count in troubles] == [0, 0, 0]


# --- on an existing cluster


@pytest.fixture
def their_ray(console: Console, ray_nodes: list[Sshd]) -> Iterator[TheirRay]:
    """One that others started and serve on, which the cluster's profile joins."""
    cluster = console.profile("clusters", "local-ray")
    theirs = TheirRay("127.0.0.2", cluster["ray"]["ports"], cpus=6)
    try:
        theirs.wait()
        ray = cluster["ray"] | {"start": False, "address": theirs.gcs}
        ray["dashboard"] = theirs.dashboard
        env = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(theirs.token)}
        changed = {"ray": ray, "nodes": cluster["nodes"][:1], "env": cluster["env"] | env}
        console.change("clusters", "local-ray", **{**cluster, **changed})
        yield theirs
    finally:
        theirs.end()


def test_a_cluster_of_others_is_joined_and_left_as_it_was(
    console: Console, their_ray: TheirRay
) -> None:
    router = console.profile("clusters", "local-ray")["ports"]["router"]
    their_ray.serve_an_application(router)
    words = ("tiny-pd", "--cluster=local-ray", "--layout=1xTP1", "--concurrency=1")
    refused = console.run("run", *words, "--plain")
    assert refused.returncode != 0
    said = " ".join((refused.stdout + refused.stderr).split())
    assert "shop (running), which ours would replace" in said, said
    assert their_ray.applications() == {"shop": "RUNNING"}
    assert console.ours() == {}

    their_ray.take_it_away()
    summary = run(console, *words, "--min-window=2")
    (document,) = documents(console, summary["runs"][0])
    assert document["failed"] == 0
    assert their_ray.applications() == {}
    assert their_ray.get("/api/version")["ray_version"] == "2.60.0"
    checks = {e.check: e for e in console.events() if isinstance(e, ev.CheckResult)}
    assert checks["ray-node"].verdict == "ok"
    assert checks["ray-resources"].value == "6 of 6 CPU free"
