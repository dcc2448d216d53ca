"""Every prefill replica meets every decode replica, and who failed is named."""

from __future__ import annotations

import json
from contextlib import ExitStack
from typing import Any

import pytest

from pdconsole.agent.drive.target import DriveError
from tests.agent_drive.paced import Answerer, Request, Server, answer_well, serving
from tests.agent_drive.test_drive import carry_out, spec_of


def say_json(request: Request, content: dict[str, Any], status: bytes = b"200 OK") -> None:
    body = json.dumps(content).encode()
    request.say(b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n" % (status, len(body)), body)


def prefill(request: Request) -> None:
    asked = request.body["kv_transfer_params"]
    assert asked["do_remote_decode"]
    assert not asked["do_remote_prefill"]
    given = {"do_remote_prefill": True, "remote_engine_id": "e", "remote_block_ids": [[1, 2]]}
    say_json(request, {"kv_transfer_params": given})


def decode(request: Request) -> None:
    say_json(request, {"choices": [{"text": "a b"}]})


class Deployment:
    def __init__(self, stack: ExitStack, **answerers: Answerer) -> None:
        self.servers: dict[str, Server] = {
            name: stack.enter_context(serving(answerer)) for name, answerer in answerers.items()
        }

    def spec(self) -> dict[str, Any]:
        pairs: dict[str, Any] = {
            role: {n: s.url for n, s in self.servers.items() if n.startswith(letter)}
            for role, letter in (("prefill", "P"), ("decode", "D"))
        }
        return spec_of(self.servers["router"].url, warm_pairs={**pairs, "input_len": 32})


def test_all_pairs_meet_by_the_two_step_protocol() -> None:
    with ExitStack() as stack:
        deployment = Deployment(
            stack, router=answer_well, P1=prefill, P2=prefill, D1=decode, D2=decode, D3=decode
        )
        said = carry_out(deployment.spec())
    servers = deployment.servers
    assert said.lines[0]["phase"] == "warmup"
    assert said.summary["completed"] == 12
    firsts = {
        name: {tuple(r.body["prompt"]) for r in servers[name].requests} for name in ("P1", "P2")
    }
    for name in ("D1", "D2", "D3"):
        asked = servers[name].requests
        assert len(asked) == 2
        for request in asked:
            assert len(request.body["prompt"]) == 32
            assert request.body["kv_transfer_params"]["remote_block_ids"] == [[1, 2]]
        for prompts in firsts.values():
            assert len(prompts & {tuple(r.body["prompt"]) for r in asked}) == 1
    assert len(firsts["P1"] | firsts["P2"]) == 6  # no prompt was met twice


def test_both_steps_of_a_pair_have_one_request_id() -> None:
    """By it vLLM 0.11 frees the KV on P once D has read it."""
    with ExitStack() as stack:
        deployment = Deployment(stack, router=answer_well, P1=prefill, D1=decode, D2=decode)
        carry_out(deployment.spec())
    servers = deployment.servers
    given = {r.headers["x-request-id"]: tuple(r.body["prompt"]) for r in servers["P1"].requests}
    assert len(given) == 2
    for name in ("D1", "D2"):
        (step,) = servers[name].requests
        assert given[step.headers["x-request-id"]] == tuple(step.body["prompt"])


def test_a_decode_replica_that_fails_is_named_with_its_pair() -> None:
    def broken(request: Request) -> None:
        say_json(request, {"error": "handshake failed"}, b"500 Internal Server Error")

    with ExitStack() as stack:
        deployment = Deployment(stack, router=answer_well, P1=prefill, D1=decode, D2=broken)
        with pytest.raises(DriveError, match=r"pair P1 > D2 failed: .*HTTP 500.*handshake failed"):
            carry_out(deployment.spec())
    assert not deployment.servers["router"].requests


def test_a_prefill_replica_that_transfers_nothing_is_named_with_its_pair() -> None:
    with ExitStack() as stack:
        deployment = Deployment(stack, router=answer_well, P1=decode, D1=decode)
        with pytest.raises(DriveError, match=r"pair P1 > D1 failed: .*--kv-transfer-config"):
            carry_out(deployment.spec())


def test_a_replica_that_is_not_there_is_named_with_its_pair() -> None:
    with ExitStack() as stack:
        deployment = Deployment(stack, router=answer_well, P1=prefill, D1=decode)
        spec = deployment.spec()
        with serving(decode) as gone:
            spec["warm_pairs"]["decode"]["D2"] = gone.url
        with pytest.raises(DriveError, match=r"pair P1 > D2 failed: .*connection refused"):
            carry_out(spec)
