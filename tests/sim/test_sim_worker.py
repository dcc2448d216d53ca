"""One simulated worker as a process: what a client, a router and a scraper see of it."""

from __future__ import annotations

import http.client
import json
import signal
import time

import pytest
from real_processes import MODEL, Processes, Served

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def worker(processes: Processes) -> Served:
    served = processes.worker("--no-enable-prefix-caching", "--some-new-flag", "7")
    served.wait_until_healthy()
    return served


def test_a_stream_has_a_chunk_for_each_token_then_usage_then_done(worker: Served) -> None:
    *tokens, usage, done = worker.stream(
        [5, 6, 7], 4, stream_options={"include_usage": True}, ignore_eos=True
    )
    assert done == "[DONE]"
    assert [t["choices"][0]["finish_reason"] for t in tokens] == [None, None, None, "length"]
    assert all(t["object"] == "text_completion" and t["model"] == MODEL for t in tokens)
    assert len({t["id"] for t in tokens}) == 1
    assert usage["choices"] == []
    assert usage["usage"]["prompt_tokens"] == 3
    assert usage["usage"]["completion_tokens"] == 4
    assert usage["usage"]["total_tokens"] == 7


def test_a_whole_answer_equals_the_streamed_one(worker: Served) -> None:
    streamed = worker.stream([5, 6, 7], 4, return_token_ids=True)[:-1]
    status, whole = worker.complete([5, 6, 7], 4, return_token_ids=True, request_id="abc1")
    assert status == 200
    assert whole["id"] == "cmpl-abc1"
    assert whole["choices"][0]["text"] == "".join(t["choices"][0]["text"] for t in streamed)
    ids = [i for t in streamed for i in t["choices"][0]["token_ids"]]
    assert whole["choices"][0]["token_ids"] == ids
    assert streamed[0]["choices"][0]["prompt_token_ids"] == [5, 6, 7]
    assert whole["kv_transfer_params"] is None


def test_with_the_flag_an_answer_tells_its_stages(worker: Served, processes: Processes) -> None:
    plain = worker.stream([5, 6, 7], 4, stream_options={"include_usage": True})
    assert "metrics" not in plain[-2]
    telling = processes.worker("--enable-per-request-metrics")
    telling.wait_until_healthy()
    *tokens, usage, _ = telling.stream([5, 6, 7], 4, stream_options={"include_usage": True})
    assert not any("metrics" in token for token in tokens)
    told = usage["metrics"]
    assert sorted(told) == [
        *("generation_time_ms", "mean_itl_ms", "queue_time_ms", "time_to_first_token_ms"),
        "tokens_per_second",
    ]
    assert told["time_to_first_token_ms"] > 0 <= told["queue_time_ms"]
    assert told["generation_time_ms"] == pytest.approx(3 * told["mean_itl_ms"])
    assert telling.complete([5, 6, 7], 1)[1]["metrics"]["mean_itl_ms"] is None


def test_what_cannot_be_served_is_refused_in_vllms_words(worker: Served) -> None:
    status, body = worker.ask("POST", "/v1/completions", {"model": "other", "prompt": [1]})
    error = json.loads(body)["error"]
    assert (status, error["code"], error["type"]) == (404, 404, "NotFoundError")
    status, answer = worker.complete([1] * 16_000, 10)
    assert status == 400
    assert "maximum context length is 16000" in answer["error"]["message"]
    assert worker.complete([1.5])[0] == 400
    assert worker.complete([[1, 2], [3]])[0] == 400
    assert worker.ask("GET", "/nothing")[0] == 404
    assert worker.ask("GET", "/v1/completions")[0] == 405


def test_one_connection_serves_many_requests_even_sent_ahead(worker: Served) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", worker.port, timeout=10)
    body = json.dumps({"model": MODEL, "prompt": [1, 2], "max_tokens": 1}).encode()
    head = f"POST /v1/completions HTTP/1.1\r\ncontent-length: {len(body)}\r\n\r\n".encode()
    connection.connect()
    connection.sock.sendall((head + body) * 3)
    for _ in range(3):
        response = http.client.HTTPResponse(connection.sock)
        response.begin()
        assert json.loads(response.read())["usage"]["completion_tokens"] == 1
    connection.close()


def test_a_client_that_leaves_frees_its_place(worker: Served) -> None:
    before = worker.metric("vllm:request_success_total", finished_reason="abort") or 0.0
    connection = http.client.HTTPConnection("127.0.0.1", worker.port, timeout=10)
    body = json.dumps({"model": MODEL, "prompt": [1, 2], "max_tokens": 5000, "stream": True})
    connection.request("POST", "/v1/completions", body)
    assert connection.getresponse().readline()
    assert worker.metric("vllm:num_requests_running") == 1.0
    connection.close()
    deadline = time.monotonic() + 10
    while worker.metric("vllm:num_requests_running") and time.monotonic() < deadline:
        time.sleep(0.02)
    assert worker.metric("vllm:num_requests_running") == 0.0
    assert worker.metric("vllm:request_success_total", finished_reason="abort") == before + 1
    assert worker.metric("vllm:kv_cache_usage_perc") == 0.0


def test_metrics_have_vllms_names_and_count_what_was_done(worker: Served) -> None:
    names = ("prompt_tokens_total", "generation_tokens_total", "inter_token_latency_seconds_count")
    before = {name: worker.metric(f"vllm:{name}") or 0.0 for name in names}
    worker.stream(list(range(1000)), 11)
    grown = {name: (worker.metric(f"vllm:{name}") or 0.0) - before[name] for name in names}
    assert list(grown.values()) == [1000, 11, 10]
    text = worker.ask("GET", "/metrics")[1].decode()
    for name in (
        'time_to_first_token_seconds_bucket{model_name="m",engine="0",le="0.001"}',
        'request_time_per_output_token_seconds_bucket{model_name="m",engine="0",le="0.025"}',
        'e2e_request_latency_seconds_bucket{model_name="m",engine="0",le="0.3"}',
        'request_queue_time_seconds_bucket{model_name="m",engine="0",le="+Inf"}',
        'request_prefill_time_seconds_sum{model_name="m",engine="0"}',
        'request_decode_time_seconds_sum{model_name="m",engine="0"}',
        'num_requests_waiting{model_name="m",engine="0"}',
        'num_preemptions_total{model_name="m",engine="0"}',
        'prefix_cache_queries_total{model_name="m",engine="0"} 0.0',
    ):
        assert f"vllm:{name}" in text
    assert worker.metric("pdconsole_sim_late_seconds_count")
    assert worker.metric("pdconsole_sim_late_p99_seconds") is not None


def test_its_log_says_that_it_is_simulated_and_what_it_ignores(worker: Served) -> None:
    lines = worker.log.read_text().splitlines()
    assert all(line.endswith("(simulated)") for line in lines)
    assert any("Ignoring argument --some-new-flag" in line for line in lines)
    assert any("GPU KV cache size: 2,000,000 tokens" in line for line in lines)


@pytest.mark.parametrize(
    ("env", "flags", "said"),
    [
        ({"PDCONSOLE_SIM_FAULT": "die"}, (), "Engine core initialization failed"),
        ({"PDCONSOLE_SIM_FAULT": "oom"}, (), "CUDA out of memory"),
        ({"PDCONSOLE_SIM_FAULT": "crash:0.1"}, (), "EngineDeadError"),
        ({"PDCONSOLE_SIM_ENGINE": "{}"}, (), "does not hold the model profile's engine_model"),
        ({}, ("-tp", "3"), "no constants for tensor-parallel size 3"),
        ({}, ("--kv-transfer-config", "{"), "--kv-transfer-config"),
        ({}, ("--host", "0.0.0.0"), "is no loopback address"),
    ],
)
def test_it_dies_with_a_telling_last_line(
    processes: Processes, env: dict[str, str], flags: tuple[str, ...], said: str
) -> None:
    served = processes.worker(*flags, **env)
    assert served.process.wait(20) != 0
    last = served.log.read_text().splitlines()[-1]
    assert said in last


def test_a_port_that_is_taken_is_seen_at_once(processes: Processes, worker: Served) -> None:
    second = processes.worker("--port", str(worker.port))
    assert second.process.wait(20) == 1
    assert "address already in use" in second.log.read_text()
    assert "Starting to load model" not in second.log.read_text()


def test_sigterm_ends_it_even_while_it_loads(processes: Processes) -> None:
    served = processes.worker(PDCONSOLE_SIM_FAULT="hang")
    deadline = time.monotonic() + 20
    while "Model loading took" not in served.log.read_text() and time.monotonic() < deadline:
        time.sleep(0.02)
    served.process.send_signal(signal.SIGTERM)
    assert served.process.wait(10) == 0
