"""Command lines, word for word, and what holds for all of them.

The goldens are written anew, for a look at `git diff`, by
    PDCONSOLE_WRITE_GOLDENS=1 pytest tests/serving/test_command_lines.py
"""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from serving_cases import MODEL, P5, PROFILES, assert_golden, placed, planned, run_of

from pdconsole.model.feasible import feasible, rules_for
from pdconsole.model.placement import PlacementError
from pdconsole.profiles.schema import ModelProfile
from pdconsole.serving.plan import DeploymentPlan, PlannedProcess

GOLDENS = Path(__file__).parent / "goldens"
VERSIONS = ("0.11.0", "0.33.0")
CASES = (
    *((layout, "pack", "cuda-ipc") for layout in ("4P-TP1+2D-TP2", "2P-TP2+2D-TP2")),
    *((layout, "pack", "cuda-ipc") for layout in ("1P-TP2+1D-TP4", "1P-TP4+1D-TP4")),
    *((layout, "spread", "srd") for layout in ("8P-TP1+4D-TP2", "4P-TP2+4D-TP2")),
    *((layout, "spread", "srd") for layout in ("4P-TP2+2D-TP4", "2P-TP4+2D-TP4")),
    ("1P-TP4+1D-TP4", "spread", "tcp"),
    ("1P-TP4+1D-TP4", "spread", "libfabric"),
    ("1xtpep4-1xtpep4", "pack", "cuda-ipc"),
    *((layout, "pack", "cuda-ipc") for layout in ("8xTP1", "4xTP2", "2xTP4")),
)
CPU_LAYOUTS = ("1P-TP1+1D-TP1", "1xTP1")


def told(plan: DeploymentPlan) -> str:
    """Every process of a plan, a flag with its values on each line."""
    lines: list[str] = []
    for process in plan.processes:
        slots = ",".join(map(str, process.slots))
        lines.append(f"[{process.name}] {process.node} slots {slots or '-'} stage {process.stage}")
        lines += [f"  {name}={value}" for name, value in process.env.items()]
        lines.append("  " + re.sub(r" (--)", r"\n      \1", shlex.join(process.argv)))
        lines += [f"  health {process.health_url}", f"  metrics {process.metrics_url}", ""]
    lines += [f"note: {note}" for note in plan.notes]
    return "\n".join(lines).rstrip() + "\n"


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(("layout", "strategy", "network"), CASES)
def test_command_lines_are_as_in_the_goldens(
    layout: str, strategy: str, network: str, version: str
) -> None:
    placement = placed(layout, strategy)  # type: ignore[arg-type]
    version_refuses = rules_for(version).layout_refusal(placement.layout, MODEL.kv_heads)
    assert not version_refuses
    text = told(planned(run_of(placement, network), version=version))
    assert_golden(GOLDENS / f"{version}/{placement.layout.slug}_{strategy}-{network}.txt", text)


@pytest.mark.parametrize("layout", CPU_LAYOUTS)
def test_command_lines_on_a_cpu_are_as_in_the_goldens(layout: str) -> None:
    cluster, model = PROFILES.cluster("local-cpu"), PROFILES.model("tiny")
    placement = placed(layout, cluster=cluster)
    run = run_of(placement, "shm", workload_name="itl300-otl16")
    text = told(planned(run, cluster=cluster, model=model))
    assert_golden(GOLDENS / f"0.33.0/{placement.layout.slug}_pack-shm.txt", text)


def test_no_golden_is_left_over() -> None:
    names = {f"{placed(layout).layout.slug}_{where}-{net}.txt" for layout, where, net in CASES}
    on_cpu = {f"0.33.0/{placed(layout).layout.slug}_pack-shm.txt" for layout in CPU_LAYOUTS}
    found = {path.relative_to(GOLDENS).as_posix() for path in GOLDENS.rglob("*.txt")}
    assert found == on_cpu | {f"{version}/{name}" for version, name in product(VERSIONS, names)}


def layouts_that_fit() -> list[str]:
    rules = rules_for("0.33.0")
    return [layout.slug for layout in feasible(2, 8, (1, 2, 4, 8), rules, 8)]


@given(slug=st.sampled_from(layouts_that_fit()), strategy=st.sampled_from(("pack", "spread")))
def test_no_two_processes_meet_on_a_port_or_a_gpu(slug: str, strategy: str) -> None:
    try:
        placement = placed(slug, strategy)  # type: ignore[arg-type]
    except PlacementError:
        return
    plan = planned(run_of(placement, "srd"))
    ports = Counter(listening(plan))
    assert max(ports.values()) == 1, ports.most_common(3)
    gpus = Counter((p.node, gpu) for p in plan.workers for gpu in visible(p))
    assert max(gpus.values()) == 1
    assert sum(gpus.values()) == placement.layout.gpus
    for process in plan.workers:
        assert len(visible(process)) == process.tp == len(process.slots)


def listening(plan: DeploymentPlan) -> Iterator[tuple[str, int]]:
    """Every address and port that the plan's processes bind, with vLLM 0.11's port a rank."""
    for process in plan.processes:
        host, port = process.host_port.rsplit(":", 1)
        yield host, int(port)
        if not process.is_worker:
            yield host, int(value_of(process, "--prometheus-port"))
        if "VLLM_NIXL_SIDE_CHANNEL_PORT" in process.env:
            base = int(process.env["VLLM_NIXL_SIDE_CHANNEL_PORT"])
            yield from ((host, base + rank) for rank in range(process.tp))


def visible(process: PlannedProcess) -> list[int]:
    return [int(index) for index in process.env["CUDA_VISIBLE_DEVICES"].split(",")]


def value_of(process: PlannedProcess, flag: str) -> str:
    return process.argv[process.argv.index(flag) + 1]


def test_prefill_and_decode_agree_on_what_a_handshake_compares() -> None:
    for version, layout in product(VERSIONS, ("4P-TP1+2D-TP2", "2P-TP2+2D-TP2")):
        plan = planned(run_of(placed(layout)), version=version)
        facts = {
            (
                "--disable-hybrid-kv-cache-manager" in p.argv,
                p.env.get("VLLM_KV_CACHE_LAYOUT"),
                json.dumps(json.loads(value_of(p, "--kv-transfer-config")) | {"kv_role": ""}),
            )
            for p in plan.workers
        }
        assert len(facts) == 1


def test_prefix_caching_is_off_unless_the_mode_answers_from_it() -> None:
    by_mode = {
        mode: planned(run_of(placed("2xTP4"), mode=mode), version="0.11.0").workers[0].argv
        for mode in ("mixed", "prefill-only", "decode-only")
    }
    assert "--no-enable-prefix-caching" in by_mode["mixed"]
    assert "--no-enable-prefix-caching" in by_mode["prefill-only"]
    assert "--enable-prefix-caching" in by_mode["decode-only"]


@pytest.mark.parametrize("layout", ["2xTP4", "2P-TP2+1D-TP4"])
def test_decode_only_decodes_from_made_up_kv_where_vllm_can(layout: str) -> None:
    plan = planned(run_of(placed(layout), mode="decode-only"))
    assert plan.decodes_made_up_kv
    assert plan.notes == ()
    for worker in plan.workers:
        made_up = '"kv_connector":"DecodeBenchConnector"' in " ".join(worker.argv)
        assert made_up is (worker.role != "prefill")
        if made_up:
            assert "--no-enable-prefix-caching" in worker.argv
            assert "VLLM_NIXL_SIDE_CHANNEL_PORT" not in worker.env
    assert not planned(run_of(placed(layout))).decodes_made_up_kv


def test_decode_only_without_the_connector_is_from_the_prefix_cache_and_says_so() -> None:
    plan = planned(run_of(placed("2xTP4"), mode="decode-only"), version="0.11.0")
    assert not plan.decodes_made_up_kv
    assert "no DecodeBenchConnector" in " ".join(plan.notes)
    cluster = PROFILES.cluster("embedded")
    simulated = planned(
        run_of(placed("2xTP4", cluster=cluster), mode="decode-only"), cluster=cluster
    )
    assert not simulated.decodes_made_up_kv
    assert "--enable-prefix-caching" in simulated.workers[0].argv


def test_engine_args_of_the_model_profile_reach_every_worker() -> None:
    args = {"max-num-batched-tokens": 4096, "enforce-eager": True, "async-scheduling": False}
    model = ModelProfile.model_validate({**MODEL.model_dump(), "engine_args": args})
    for worker in planned(run_of(placed("2P-TP2+2D-TP2")), model=model).workers:
        assert value_of(worker, "--max-num-batched-tokens") == "4096"
        assert "--enforce-eager" in worker.argv
        assert "--no-async-scheduling" in worker.argv


@pytest.mark.parametrize(
    ("version", "args", "tells"),
    [
        ("0.24.0", {}, False),  # the flag came with 0.25
        ("0.25.0", {}, True),
        ("0.33.0", {"disable-log-stats": True}, False),  # vLLM refuses both together
    ],
)
def test_replicas_are_to_tell_the_stages_of_a_request(
    version: str, args: dict[str, bool], tells: bool
) -> None:
    model = ModelProfile.model_validate({**MODEL.model_dump(), "engine_args": args})
    plan = planned(run_of(placed("2P-TP2+2D-TP2")), version=version, model=model)
    for worker in plan.workers:
        assert ("--enable-per-request-metrics" in worker.argv) is tells


def test_a_simulated_worker_gets_its_engine_model_and_its_link() -> None:
    cluster = PROFILES.cluster("embedded")
    plan = planned(run_of(placed("1P-TP2+1D-TP2", cluster=cluster)), cluster=cluster)
    for worker in plan.workers:
        assert json.loads(worker.env["PDCONSOLE_SIM_ENGINE"])["tp"]["2"]["a_ms"] == 5.05
        assert json.loads(worker.env["PDCONSOLE_SIM_LINK"])["gbps"] == 20.0


def test_a_digest_tells_apart_what_would_be_started_differently() -> None:
    first = planned(run_of(placed("2P-TP2+2D-TP2"))).workers[0]
    assert first.digest == planned(run_of(placed("2P-TP2+2D-TP2"))).workers[0].digest
    others = (
        planned(run_of(placed("2P-TP2+2D-TP2")), version="0.11.0"),
        planned(run_of(placed("2P-TP2+2D-TP2"), network="srd")),
        planned(run_of(placed("2P-TP2+2D-TP2"), mode="decode-only")),
        planned(run_of(placed("P1=p5-a:4,5 P2=p5-a:0,1 D1=p5-a:2,3 D2=p5-a:6,7"))),
    )
    assert first.digest not in {plan.workers[0].digest for plan in others}


def router_flags() -> set[str]:
    router = Path(sys.executable).with_name("vllm-router")
    shown = subprocess.run([router, "--help"], capture_output=True, text=True, check=True)
    return set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]+", shown.stdout))


def test_the_installed_router_knows_every_flag() -> None:
    known = router_flags()
    for layout in ("2P-TP2+2D-TP2", "4xTP2"):
        used = {word for word in planned(run_of(placed(layout))).router.argv if word[:2] == "--"}
        assert used <= known, used - known


def test_the_router_never_pairs_in_lockstep_and_knows_every_worker() -> None:
    pd = planned(run_of(placed("2P-TP2+2D-TP2"))).router.argv
    assert pd.count("--prefill") == pd.count("--decode") == 2
    policies = {pd[pd.index(f"--{role}-policy") + 1] for role in ("prefill", "decode")}
    assert policies == {"round_robin", "random"}
    plain = planned(run_of(placed("4xTP2"))).router.argv
    assert sum(word.startswith("http://") for word in plain) == 4


def test_a_host_name_does_not_open_the_routers_metrics_to_the_world() -> None:
    nodes = [node.model_copy(update={"address": f"{node.name}.local"}) for node in P5.nodes]
    cluster = P5.model_copy(update={"nodes": nodes})
    router = planned(run_of(placed("4xTP2")), cluster=cluster).router
    assert value_of(router, "--host") == "p5-a.local"
    assert value_of(router, "--prometheus-host") == "127.0.0.1"
    assert router.metrics_url == "http://127.0.0.1:29000/metrics"
