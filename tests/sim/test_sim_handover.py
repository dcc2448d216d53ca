"""KV from a prefill to a decode replica, by the two-step protocol and through the real router."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from real_processes import PREFILL_ASK, Processes, Served

pytestmark = pytest.mark.slow

PROMPT = list(range(2000, 4500))
BLOCKS = -(-len(PROMPT) // 16)


@pytest.fixture(scope="module")
def workers(processes: Processes) -> dict[str, Served]:
    quick = ("--no-enable-prefix-caching",)
    served = {
        "P": processes.kv_worker("kv_producer", 2, *quick),
        "D": processes.kv_worker("kv_consumer", 2, *quick),
        "C": processes.worker(*quick),
    }
    for worker in served.values():
        worker.wait_until_healthy()
    return served


def prefill(worker: Served, prompt: list[int] = PROMPT) -> dict[str, Any]:
    status, answer = worker.complete(prompt, 1, kv_transfer_params=PREFILL_ASK)
    assert status == 200
    return dict(answer["kv_transfer_params"])


def wait_for(worker: Served, name: str, value: float) -> None:
    deadline = time.monotonic() + 10
    while (worker.metric(name) or 0.0) != pytest.approx(value):
        assert time.monotonic() < deadline, f"{name} is {worker.metric(name)}"
        time.sleep(0.02)


def test_two_steps_give_the_collocated_answer(workers: dict[str, Served]) -> None:
    p, d = workers["P"], workers["D"]
    params = prefill(p)
    assert params["do_remote_prefill"]
    assert len(params["remote_block_ids"][0]) == BLOCKS
    assert params["remote_num_tokens"] == len(PROMPT)
    assert (params["tp_size"], params["transfer_mode"]) == (2, "pull")
    assert (p.metric("vllm:kv_cache_usage_perc") or 0) > 0
    moved = d.metric("vllm:nixl_bytes_transferred_sum") or 0.0
    status, answer = d.complete(PROMPT, 5, kv_transfer_params=params)
    assert status == 200
    assert answer["choices"][0]["text"] == workers["C"].complete(PROMPT, 5)[1]["choices"][0]["text"]
    grown = (d.metric("vllm:nixl_bytes_transferred_sum") or 0.0) - moved
    assert grown == len(PROMPT) * 73_728
    assert d.metric("vllm:nixl_bytes_transferred_count") == 2.0, "one for each rank"
    source = "vllm:prompt_tokens_by_source_total"
    assert d.metric(source, source="external_kv_transfer") == len(PROMPT)
    assert d.metric(source, source="local_compute") == 0.0
    wait_for(p, "vllm:kv_cache_usage_perc", 0.0)


def test_without_parameters_decode_quietly_prefills_itself(workers: dict[str, Served]) -> None:
    d = workers["D"]
    before = d.metric("vllm:prompt_tokens_by_source_total", source="local_compute") or 0.0
    params = {**prefill(workers["P"]), "remote_host": None}
    assert d.complete(PROMPT, 2, kv_transfer_params=params)[0] == 200
    after = d.metric("vllm:prompt_tokens_by_source_total", source="local_compute")
    assert after == before + len(PROMPT)
    assert "Got invalid KVTransferParams" in d.log.read_text()


@pytest.mark.parametrize("wrong", [{"remote_port": 1}, {"remote_engine_id": "someone-else"}])
def test_a_wrong_address_or_engine_fails_the_request(
    workers: dict[str, Served], wrong: dict[str, Any]
) -> None:
    d = workers["D"]
    params = {**prefill(workers["P"]), "remote_engine_id": "unmet", **wrong}
    failed = d.metric("vllm:nixl_num_failed_transfers_total") or 0.0
    assert d.complete(PROMPT, 2, kv_transfer_params=params)[0] == 500
    events = d.stream(PROMPT, 2, kv_transfer_params=params)
    assert events[0]["error"]["code"] == 500
    assert events[-1] == "[DONE]"
    assert (d.metric("vllm:nixl_num_failed_transfers_total") or 0.0) == failed + 4


def test_unequal_configurations_do_not_shake_hands(processes: Processes) -> None:
    p = processes.kv_worker("kv_producer", 2, "--kv-cache-dtype", "fp8")
    d = processes.kv_worker("kv_consumer", 2)
    p.wait_until_healthy()
    d.wait_until_healthy()
    assert d.complete(PROMPT, 2, kv_transfer_params=prefill(p))[0] == 500
    assert "compatibility hash mismatch" in d.log.read_text()


def test_a_side_channel_on_localhost_is_not_there_for_another_node(processes: Processes) -> None:
    p = processes.kv_worker("kv_producer", PDCONSOLE_SIM_NODE_DIR=_node(processes, "node1"))
    d = processes.kv_worker("kv_consumer", PDCONSOLE_SIM_NODE_DIR=_node(processes, "node2"))
    p.wait_until_healthy()
    d.wait_until_healthy()
    assert d.complete(PROMPT, 2, kv_transfer_params=prefill(p))[0] == 500
    assert "closed without an answer" in d.log.read_text()


def _node(processes: Processes, name: str) -> str:
    directory = processes.directory / name
    (directory / "gpus").mkdir(parents=True)
    lines = [f"{i},GPU-{i},81559,NVIDIA H100 80GB HBM3 (simulated),570\n" for i in range(8)]
    (directory / "gpus" / "inventory").write_text("".join(lines))
    return str(directory)


def test_when_prefill_dies_what_it_holds_is_lost(processes: Processes) -> None:
    p, d = processes.kv_worker("kv_producer"), processes.kv_worker("kv_consumer")
    p.wait_until_healthy()
    d.wait_until_healthy()
    with ThreadPoolExecutor() as threads:
        # The first contact takes 2.3 s: prefill dies in the middle of it.
        answer = threads.submit(d.complete, PROMPT, 2, kv_transfer_params=prefill(p))
        wait_for(d, "pdconsole_sim_handshakes_total", 1.0)
        p.process.kill()
        assert answer.result()[0] == 500
    assert d.metric("vllm:nixl_num_failed_transfers_total") == 2.0
    wait_for(d, "vllm:kv_cache_usage_perc", 0.0)
    assert d.complete(PROMPT, 2)[0] == 200, "decode itself lives on"


def test_kv_that_nobody_fetches_expires(processes: Processes) -> None:
    config = (
        '{"kv_connector":"NixlConnector","kv_role":"kv_producer",'
        '"kv_connector_extra_config":{"kv_lease_duration":0.5}}'
    )
    p = processes.kv_worker("kv_producer", 2, "--kv-transfer-config", config)
    p.wait_until_healthy()
    prefill(p)
    wait_for(p, "vllm:nixl_num_kv_expired_reqs_total", 1.0)
    assert p.metric("vllm:kv_cache_usage_perc") == 0.0
    assert "Releasing expired KV blocks" in p.log.read_text()


def test_the_real_router_in_its_pd_mode(processes: Processes, workers: dict[str, Served]) -> None:
    p, d = processes.kv_worker("kv_producer"), processes.kv_worker("kv_consumer")
    p.wait_until_healthy()
    d.wait_until_healthy()
    router = processes.router(
        *("--vllm-pd-disaggregation", "--kv-connector", "nixl", "--policy", "round_robin"),
        *("--prefill", f"http://127.0.0.1:{p.port}", "--decode", f"http://127.0.0.1:{d.port}"),
    )
    router.wait_until_healthy()
    prompts = [[n, *PROMPT] for n in range(8)]
    with ThreadPoolExecutor(8) as threads:
        streams = list(
            threads.map(
                lambda prompt: router.stream(prompt, 6, stream_options={"include_usage": True}),
                prompts,
            )
        )
    for prompt, events in zip(prompts, streams, strict=True):
        assert f"___prefill_addr_127.0.0.1:{p.port}___decode_addr_" in events[0]["id"]
        assert events[-2]["usage"]["completion_tokens"] == 6
        text = "".join(e["choices"][0]["text"] for e in events[:-2])
        assert text == workers["C"].complete(prompt, 6)[1]["choices"][0]["text"]
    assert d.metric("vllm:prompt_tokens_by_source_total", source="local_compute") == 0.0
    assert d.metric("pdconsole_sim_handshakes_total") == 1.0
    wait_for(p, "vllm:kv_cache_usage_perc", 0.0)


def test_the_real_router_in_plain_mode(processes: Processes, workers: dict[str, Served]) -> None:
    c = workers["C"]
    router = processes.router(
        "--worker-urls", f"http://127.0.0.1:{c.port}", "--policy", "round_robin"
    )
    router.wait_until_healthy()
    assert router.complete(PROMPT, 4)[1]["usage"]["completion_tokens"] == 4
    assert router.stream(PROMPT, 4)[-1] == "[DONE]"
