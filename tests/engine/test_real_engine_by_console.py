"""`pdconsole run` with real vLLM, NIXL and router on the CPU, through real OpenSSH."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
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
    events = console.events()
    last = {e.process: e for e in events if isinstance(e, ev.WorkerSampled) and e.run == "1"}
    assert last["D1"].local_compute_tokens == 0
    nixl = [e for e in events if isinstance(e, ev.NixlSampled)]
    assert {(e.run, e.process) for e in nixl} == {("1", "D1")}
    assert nixl[-1].bytes > 0
    assert nixl[-1].xfer_s > 0
    # A prompt of 300 tokens is three blocks of 128 on the CPU.
    request_bytes = 3 * 128 * shipped("models", "tiny")["kv_bytes_per_token"]
    assert nixl[-1].bytes <= nixl[-1].transfers * request_bytes
    troubles = (nixl[-1].failed_transfers, nixl[-1].expired, nixl[-1].notifications_after_expiry)
    assert troubles == (0, 0, 0)


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
    assert_all_kv_came_from_p(console)
    finished = [e for e in console.events() if isinstance(e, ev.RequestFinished)]
    assert {e.error for e in finished} == {""}


def test_prefill_and_decode_on_two_nodes_over_tcp(console: Console, cpu_nodes: list[Sshd]) -> None:
    # Two nodes on one machine have their slot locks in common, so each takes another slot.
    summary = run(
        console,
        "--manual=P1=n1:0 D1=n2:1",
        "--network=tcp",
        "--concurrency=2",
        "--min-window=3",
    )
    (document,) = documents(console, summary)
    assert document["failed"] == 0
    assert document["is_multinode"] is True
    assert document["pdconsole"]["pairs"] == {"P1>D1": document["completed"]}
    assert_all_kv_came_from_p(console)
