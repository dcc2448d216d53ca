"""Whole points against small servers on loopback."""

from __future__ import annotations

import io
import json
import struct
import threading
import time
from collections import Counter
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import pytest

from pdconsole.agent.drive.command import StopSignal, drive
from pdconsole.agent.drive.pacing import poisson_offsets
from pdconsole.agent.drive.spec import parse_spec
from pdconsole.agent.drive.target import DriveError
from tests.agent_drive.paced import (
    CHUNKED,
    Request,
    answer_well,
    chunk,
    event,
    serving,
    token_event,
    usage_event,
)


def spec_of(url: str, **changes: Any) -> dict[str, Any]:
    spec = {
        "protocol": 1,
        "url": url + "/v1/completions",
        "model": "served",
        "load": {"kind": "concurrency", "value": 4},
        "input_len": 40,
        "output_len": 5,
        "vocab": [100, 200],
        "seed": "test",
        "warmup_requests": 4,
        "window_requests": 12,
        "max_window_s": 20,
        "timeout_s": 20,
        "drain_timeout_s": 20,
    }
    return {**spec, **changes}


class Said:
    """What a point said."""

    def __init__(self, lines: bytes, gaps: bytes = b"") -> None:
        self.lines = [json.loads(line) for line in lines.splitlines()]
        self.gaps = gaps

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [line for line in self.lines if line["kind"] == kind]

    @property
    def summary(self) -> dict[str, Any]:
        assert self.lines[-1]["kind"] == "summary"
        return self.lines[-1]

    def gap_records(self) -> list[tuple[int, tuple[float, ...]]]:
        records, at = [], 0
        while at < len(self.gaps):
            index, count = struct.unpack_from("<II", self.gaps, at)
            records.append((index, struct.unpack_from(f"<{count}f", self.gaps, at + 8)))
            at += 8 + 4 * count
        return records


def carry_out(spec: dict[str, Any], stop: StopSignal | None = None) -> Said:
    lines, gaps = io.BytesIO(), io.BytesIO()
    drive(parse_spec(spec, Path("/nowhere")), lines, gaps, stop or StopSignal())
    return Said(lines.getvalue(), gaps.getvalue())


def test_a_closed_loop_point() -> None:
    with serving(answer_well) as server:
        said = carry_out(spec_of(server.url))
    requests, summary = said.of("request"), said.summary
    assert [line["phase"] for line in said.of("phase")] == ["warmup", "window", "drain", "done"]
    window = [request for request in requests if request["phase"] == "window"]
    assert summary["completed"] == len(window) == 12
    assert (summary["errors"], summary["first_error"], summary["stopped"]) == (0, "", False)
    assert (summary["input_tokens"], summary["output_tokens"]) == (12 * 40, 12 * 5)
    assert summary["window_s"] == pytest.approx(summary["t1_node"] - summary["t0_node"], abs=2e-6)
    assert summary["prompt_tokens_mismatch"] == summary["output_tokens_mismatch"] == 0
    assert summary["max_in_flight"] == 4
    assert server.connections == 4  # kept alive, each used over and over
    for request, (index, gaps) in zip(requests, said.gap_records(), strict=True):
        assert index == request["index"]
        assert len(gaps) == request["itl_count"] == 4
        assert request["ttft_ms"] + sum(gaps) == pytest.approx(request["e2el_ms"], abs=0.01)
        assert request["tpot_ms"] * 4 == pytest.approx(sum(gaps), abs=0.01)
        assert request["request_id"].startswith("cmpl-")
    ticks = said.of("tick")
    assert sum(tick["finished"] for tick in ticks) == len(requests) == summary["sent"]
    assert sum(tick["output_tokens"] for tick in ticks) == 5 * len(requests)
    assert sum(count for tick in ticks for _, count in tick["itl"]) == 4 * len(requests)
    assert sum(count for tick in ticks for _, count in tick["e2el"]) == len(requests)


def test_what_is_told_of_the_stages_of_a_request() -> None:
    told = [
        None,  # a server without the flag
        {"queue_time_ms": 12.34567, "time_to_first_token_ms": 7, "mean_itl_ms": 1.0},
        {"queue_time_ms": None, "time_to_first_token_ms": "soon"},
    ]

    def answer(request: Request) -> None:
        metrics = told[request.index % 3]
        answer_well(request, **({} if metrics is None else {"metrics": metrics}))

    with serving(answer) as server:
        said = carry_out(spec_of(server.url))
    found = [request["stages_ms"] for request in said.of("request")]
    assert all(0 <= stages.pop("client") < 5000 for stages in found)
    assert {json.dumps(stages) for stages in found} == {
        "{}",
        '{"queue": 12.3457, "first_token": 7}',
    }


def test_what_is_sent() -> None:
    with serving(answer_well) as server:
        carry_out(spec_of(server.url))
        carry_out(spec_of(server.url, load={"kind": "concurrency", "value": 2}))
    assert {request.path for request in server.requests} == {"/v1/completions"}
    body = server.requests[0].body
    assert len(body["prompt"]) == 40
    assert (body["max_tokens"], body["model"], body["stream"]) == (5, "served", True)
    sent = Counter(tuple(request.body["prompt"]) for request in server.requests)
    # The same seed gives the same prompts in the same order, each once a point.
    assert max(sent.values()) == 2
    assert sum(count == 2 for count in sent.values()) >= 16


def test_a_body_of_known_length_with_all_tokens_at_once() -> None:
    def answer(request: Request) -> None:
        body = token_event() * 5 + usage_event(40, 5) + b"data: [DONE]\n\n"
        request.say(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))

    with serving(answer) as server:
        said = carry_out(spec_of(server.url))
    assert said.summary["completed"] == 12
    assert {request["itl_count"] for request in said.of("request")} == {4}
    assert server.connections == 4


def test_several_tokens_in_one_event_count_by_the_server_s_usage() -> None:
    def answer(request: Request) -> None:
        several = chunk(token_event(" five tokens in two events")) * 2
        ending = chunk(usage_event(39, 5)) + chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n"
        request.say(CHUNKED, several, ending)

    with serving(answer) as server:
        said = carry_out(spec_of(server.url))
    assert {r["output_tokens"] for r in said.of("request")} == {5}
    assert {r["itl_count"] for r in said.of("request")} == {1}
    assert sum(t["output_tokens"] for t in said.of("tick")) == 5 * len(said.of("request"))
    assert said.summary["prompt_tokens_mismatch"] == len(said.of("request"))


def test_errors_are_counted_as_errors() -> None:
    def answer(request: Request) -> bool | None:
        if request.index % 4 == 1:
            body = json.dumps({"error": {"message": "out of blocks"}}).encode()
            request.say(b"HTTP/1.1 500 Oops\r\nContent-Length: %d\r\n\r\n" % len(body), body)
        elif request.index % 4 == 2:
            request.say(CHUNKED, chunk(token_event()) * 3)
            return False
        elif request.index % 8 == 3:
            gone = event({"error": {"message": "engine died"}})
            request.say(CHUNKED, chunk(token_event()), chunk(gone), b"0\r\n\r\n")
        else:
            answer_well(request)
        return None

    with serving(answer) as server:
        said = carry_out(spec_of(server.url))
    errors = Counter(r["error"] for r in said.of("request") if r["error"])
    assert set(errors) == {
        "HTTP 500: out of blocks",
        "the server closed the stream after 3 token events",
        "the server reported in the stream: engine died",
    }
    window = [r for r in said.of("request") if r["phase"] == "window"]
    assert said.summary["completed"] == sum(not r["error"] for r in window) == 12
    assert said.summary["errors"] == sum(bool(r["error"]) for r in window) > 0
    assert said.summary["first_error"] in errors
    assert all(r["e2el_ms"] is None for r in said.of("request") if r["error"])


def test_a_server_that_is_gone_ends_the_point() -> None:
    def answer(request: Request) -> bool:
        return request.index >= 1000

    with serving(answer) as server, pytest.raises(DriveError) as raised:
        carry_out(spec_of(server.url))
    assert "20 requests in a row failed in the warmup" in str(raised.value)
    assert "closed the connection without an answer" in str(raised.value)


def test_a_server_that_is_not_there_is_said_at_once() -> None:
    with serving(answer_well) as server:
        url = server.url
    with pytest.raises(DriveError, match=r"cannot connect to http://127.*: connection refused"):
        carry_out(spec_of(url))


def test_a_server_that_goes_away_refuses_connections() -> None:
    def answer(request: Request) -> bool:
        if request.index == 8:
            closing.set()
        answer_well(request)
        return False

    closing = threading.Event()
    failures: list[str] = []

    def drive_on() -> None:
        try:
            carry_out(spec_of(url, window_requests=10_000))
        except DriveError as error:
            failures.append(str(error))

    with serving(answer) as server:
        url = server.url
        driver = threading.Thread(target=drive_on)
        driver.start()
        closing.wait(20)
    driver.join(20)
    assert "connection refused" in failures[0]


def test_a_request_that_takes_too_long_is_given_up() -> None:
    def answer(request: Request) -> None:
        if request.index == 6:
            release.wait(20)
        answer_well(request)

    release = threading.Event()
    with serving(answer) as server:
        said = carry_out(spec_of(server.url, timeout_s=0.3, min_window_s=0.5))
        release.set()
    errors = [r["error"] for r in said.of("request") if r["error"]]
    assert errors == ["no complete answer within 0.3 s"]


def test_a_connection_that_the_server_closed_while_idle_is_replaced_unseen() -> None:
    def answer(request: Request) -> bool:
        answer_well(request)
        return False  # without having said so

    with serving(answer) as server:
        said = carry_out(spec_of(server.url))
    assert said.summary["completed"] == 12
    assert not [r["error"] for r in said.of("request") if r["error"]]
    assert server.connections == len(server.requests) == len(said.of("request"))


LARGE = {
    "input_len": 2_000_000,  # some 8 MB: more than the socket's buffers hold
    "load": {"kind": "concurrency", "value": 1},
    "window": "whole",
    "window_requests": 2,
}


def test_a_large_request_is_written_in_parts() -> None:
    with serving(answer_well, receive_buffer=4096) as server:
        said = carry_out(spec_of(server.url, **LARGE))
    assert said.summary["completed"] == 2
    assert said.summary["prompt_tokens_mismatch"] == 0


def test_an_answer_that_comes_before_the_request_is_written_is_heard() -> None:
    def refuse(request: Request) -> None:
        request.say(b"HTTP/1.1 413 Payload Too Large\r\nContent-Length: 8\r\n\r\ntoo long")
        over.wait(20)  # reads no more than the headers

    over = threading.Event()
    with serving(refuse, receive_buffer=4096, before_body=True) as server:
        said = carry_out(spec_of(server.url, **LARGE, timeout_s=5))
        over.set()
    assert [r["error"] for r in said.of("request")] == ["HTTP 413: too long"] * 2
    assert server.connections == 2  # one with half a request on it is not used again


def test_an_open_loop_sends_on_schedule_whatever_the_server_does() -> None:
    def answer(request: Request) -> None:
        if request.index == 29:
            all_here.set()  # none is answered before the last has come
        all_here.wait(20)
        answer_well(request)

    all_here = threading.Event()
    load = {"kind": "request_rate", "value": 100.0}
    with serving(answer) as server:
        said = carry_out(
            spec_of(server.url, load=load, window="whole", window_requests=30, seed="open")
        )
    requests = sorted(said.of("request"), key=lambda request: request["index"])
    scheduled = [request["scheduled_node_t"] for request in requests]
    gaps = [b - a for a, b in pairwise(scheduled)]
    offsets = list(islice(poisson_offsets(100.0, "open"), 30))
    assert gaps == pytest.approx([b - a for a, b in pairwise(offsets)], abs=1e-5)
    for request in requests:
        late_s = request["sent_node_t"] - request["scheduled_node_t"]
        assert late_s >= 0
        assert request["late_ms"] == pytest.approx(late_s * 1e3, abs=0.01)
    assert said.summary["completed"] == said.summary["max_in_flight"] == 30
    assert said.summary["late_ms_max"] == pytest.approx(
        max(r["late_ms"] for r in requests), abs=0.01
    )


def test_an_open_loop_counts_what_was_scheduled_in_its_window() -> None:
    spec = {"load": {"kind": "request_rate", "value": 50.0}, "warmup_s": 0.3}
    with serving(answer_well) as server:
        said = carry_out(spec_of(server.url, **spec, min_window_s=0.6, window_requests=10))
    summary = said.summary
    assert summary["window_s"] == pytest.approx(0.6, abs=0.5)
    for request in said.of("request"):
        inside = summary["t0_node"] < request["scheduled_node_t"] <= summary["t1_node"]
        assert (request["phase"] == "window") == inside
    assert summary["completed"] >= 10


def test_an_open_loop_keeps_its_load_up_until_all_that_count_are_over() -> None:
    def answer(request: Request) -> None:
        time.sleep(0.3)
        answer_well(request)

    spec = {"load": {"kind": "request_rate", "value": 50.0}, "warmup_s": 0.1}
    with serving(answer) as server:
        said = carry_out(spec_of(server.url, **spec, min_window_s=0.4, window_requests=1))
    rows = said.of("request")
    last = max(r["end_node_t"] for r in rows if r["phase"] == "window")
    after = [r["sent_node_t"] for r in rows if r["phase"] == "drain"]
    assert said.summary["t1_node"] < min(after)
    assert len(after) > 5
    assert max(after) <= last + 1.0


def test_what_does_not_finish_is_given_up_after_the_drain() -> None:
    def answer(request: Request) -> None:
        if request.index == 7:
            request.say(CHUNKED, chunk(token_event()))
            release.wait(20)
        else:
            answer_well(request)

    release = threading.Event()
    with serving(answer) as server:
        said = carry_out(spec_of(server.url, drain_timeout_s=0.2))
        release.set()
    left = [r for r in said.of("request") if r["error"]]
    assert [(r["phase"], r["error"]) for r in left] == [
        ("drain", "still in flight 0.2 s after the window")
    ]
    assert (said.summary["errors"], said.summary["abandoned"]) == (0, 1)


def test_the_router_s_request_ids_tell_the_pair() -> None:
    def answer(request: Request) -> None:
        side = request.index % 2
        answer_well(
            request, f"cmpl-___prefill_addr_n_1:810{side}___decode_addr_10.0.0.2:8200_5a-6b{side}"
        )

    replicas = {"n_1:8100": "P1", "10.0.0.2:8200": "D1"}
    with serving(answer) as server:
        said = carry_out(spec_of(server.url, replicas=replicas))
    pairs = Counter((r["prefill"], r["decode"]) for r in said.of("request"))
    assert set(pairs) == {("P1", "D1"), ("n_1:8101", "D1")}
    assert {r["decode_addr"] for r in said.of("request")} == {"10.0.0.2:8200"}


def test_prefill_only_asks_each_prefill_replica_in_turn_for_one_token() -> None:
    with serving(answer_well) as one, serving(answer_well) as other:
        hosts = {server.url.removeprefix("http://"): server for server in (one, other)}
        replicas = {host: f"P{number}" for number, host in enumerate(hosts, start=1)}
        urls = [one.url, other.url]
        said = carry_out(spec_of(one.url, urls=urls, replicas=replicas, mode="prefill-only"))
    assert {r.body["max_tokens"] for r in one.requests + other.requests} == {1}
    assert abs(len(one.requests) - len(other.requests)) <= 1
    assert Counter(r["prefill"] for r in said.of("request")) == {
        "P1": len(one.requests),
        "P2": len(other.requests),
    }
    assert {r["tpot_ms"] for r in said.of("request")} == {None}
    assert said.summary["output_tokens_mismatch"] == 0


def test_decode_only_primes_each_prompt_and_sends_it_again_to_the_same_replica() -> None:
    with serving(answer_well) as one, serving(answer_well) as other:
        urls = [one.url, other.url]
        load = {"kind": "concurrency", "value": 5}
        said = carry_out(spec_of(one.url, urls=urls, mode="decode-only", load=load))
    assert said.summary["completed"] == 15
    primed: set[tuple[int, ...]] = set()
    for server in (one, other):
        seen = set()
        for request in server.requests:
            prompt = tuple(request.body["prompt"])
            assert request.body["max_tokens"] == (5 if prompt in seen else 1)
            seen.add(prompt)
        assert not primed & seen
        primed |= seen
    assert len(primed) == 6  # three for each, so that both get the same load
    assert abs(len(one.requests) - len(other.requests)) <= 1


def test_the_point_stops_when_it_is_told_to() -> None:
    def answer(request: Request) -> None:
        if request.index == 9:
            stop.requested = True
        answer_well(request)

    stop = StopSignal()
    with serving(answer) as server:
        said = carry_out(spec_of(server.url, window_requests=10_000), stop)
    assert said.summary["stopped"]
    assert said.summary["completed"] == sum(r["phase"] == "window" for r in said.of("request"))
