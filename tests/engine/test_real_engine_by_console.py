"""`pdconsole run` with real vLLM, NIXL and router on the CPU, through real OpenSSH."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from console import Console
from engine_stack import shipped
from openssh_server import Sshd

from pdconsole.model import events as ev

pytestmark = [pytest.mark.engine, pytest.mark.slow, pytest.mark.timeout(900)]

RUN_S = 600.0


def run(console: Console, *words: str) -> dict[str, Any]:
    done = console.run("run", "tiny-pd", "--json", *words, timeout_s=RUN_S)
    assert done.returncode == 0, done.stderr[-3000:]
    summary: dict[str, Any] = json.loads(done.stdout)
    assert summary["status"] == "finished"
    assert summary["simulated"] is False
    assert console.ours() == {}
    return summary


def documents(console: Console, summary: dict[str, Any]) -> list[dict[str, Any]]:
    """The result file of every point, run by run."""
    found = []
    for one in summary["runs"]:
        directory: Path = console.workspace / "bm_results" / one["result_dir"]
        found += [json.loads(path.read_text()) for path in sorted(directory.glob("conc*.json"))]
    return found


def assert_all_kv_came_from_p(console: Console) -> None:
    """In the points: to validate KV, D has made some of its own before."""
    events = console.events()
    begun = next(n for n, e in enumerate(events) if isinstance(e, ev.PointState))
    sampled = [e for e in events[begun:] if isinstance(e, ev.WorkerSampled) and e.run == "1"]
    d = [e for e in sampled if e.process == "D1"][1:]  # the first may have been asked for earlier
    assert d[0].local_compute_tokens == d[-1].local_compute_tokens
    nixl = [e for e in events[begun:] if isinstance(e, ev.NixlSampled)][1:]
    assert {(e.run, e.process) for e in nixl} == {("1", "D1")}
    first, last = nixl[0], nixl[-1]
    assert last.bytes is not None
    assert first.bytes is not None
    moved = last.bytes - first.bytes
    assert moved > 0
    assert last.xfer_s is not None
    assert last.xfer_s > 0
    # A prompt of 300 tokens is three blocks of 128 on the CPU.
    request_bytes = 3 * 128 * shipped("models", "tiny")["kv_bytes_per_token"]
    assert moved <= (last.transfers - first.transfers) * request_bytes
    troubles = (last.failed_transfers, last.expired, last.notifications_after_expiry)
    assert troubles == (0, 0, 0)


def assert_validated(console: Console, pair: str) -> None:
    (found,) = [e for e in console.events() if isinstance(e, ev.KvValidated)]
    assert found.verdict == "ok", found.message
    assert found.pairs == (pair,)
    assert found.smallest_caught
    recorded = yaml.safe_load((console.session() / "session.yaml").read_text())["validations"]
    assert recorded["1"]["verdict"] == "ok"
    checks = [e for e in console.events() if isinstance(e, ev.CheckResult)]
    assert [e.verdict for e in checks if e.check == "kv-validation"] == ["ok"]


def test_prefill_and_decode_and_collocated_on_one_node(
    console: Console, cpu_nodes: list[Sshd]
) -> None:
    summary = run(console)
    assert [one["layout"] for one in summary["runs"]] == ["p1xtp1-d1xtp1", "1xtp1"]
    results = documents(console, summary)
    assert len(results) == 4
    for document in results:
        assert document["failed"] == 0
        assert document["completed"] >= 20
        assert document["median_ttft_ms"] > 0
        assert document["total_output_tokens"] == 16 * document["completed"]
        ours = document["pdconsole"]
        assert ours["slot_kind"] == "cpu"
        assert ours["versions"]["nodes"]["n1"]["vllm"].startswith("0.32.0")
        assert ours["versions"]["nodes"]["n1"]["nixl"] == "1.5.1"
    assert [d["disagg"] for d in results] == [True, True, False, False]
    assert results[0]["pdconsole"]["pairs"] == {"P1>D1": results[0]["completed"]}
    assert_validated(console, "P1>D1")
    assert_all_kv_came_from_p(console)
    finished = [e for e in console.events() if isinstance(e, ev.RequestFinished)]
    assert {e.error for e in finished} == {""}


def test_prefill_and_decode_on_two_nodes_over_tcp(console: Console, cpu_nodes: list[Sshd]) -> None:
    summary = run(
        console,
        "--manual=P1=n1:0 D1=n2:0",
        "--network=tcp",
        "--concurrency=2",
        "--min-window=3",
    )
    (document,) = documents(console, summary)
    assert document["failed"] == 0
    assert document["is_multinode"] is True
    assert document["pdconsole"]["pairs"] == {"P1>D1": document["completed"]}
    assert_all_kv_came_from_p(console)
