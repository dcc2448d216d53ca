"""vLLM, NIXL and vllm-router by themselves: does the installed stack pass KV from P to D at all?"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from engine_stack import ByHand, shipped

from pdconsole.agent.fetch import fetch
from pdconsole.agent.protocol import unpack
from pdconsole.measure.validation import try_transfers
from pdconsole.model.validation import Judgement, judge
from pdconsole.profiles import Profiles, shipped_profiles
from pdconsole.remote.values import HttpReply

pytestmark = [pytest.mark.engine, pytest.mark.slow, pytest.mark.timeout(600)]

BLOCK_TOKENS = 128  # of vLLM on the CPU
ASK_P = {
    "do_remote_decode": True,
    "do_remote_prefill": False,
    "remote_engine_id": None,
    "remote_block_ids": None,
    "remote_host": None,
    "remote_port": None,
}


def prompts() -> list[list[int]]:
    chance = random.Random(5)
    first, last = shipped("models", "tiny")["vocab"]
    return [[chance.randint(first, last) for _ in range(n)] for n in (20, 128, 400, 1500)]


def tokens(answer: dict) -> list[int]:  # type: ignore[type-arg]
    found: list[int] = answer["choices"][0]["token_ids"]
    assert len(found) == 16
    return found


def test_two_steps_move_the_cache_and_change_no_token(by_hand: ByHand) -> None:
    alone = [tokens(by_hand.complete(by_hand.p, prompt)) for prompt in prompts()]
    assert len(set(map(tuple, alone))) == len(alone), "output does not depend on the prompt"
    before = by_hand.metric(by_hand.d, "vllm:nixl_bytes_transferred_sum")
    split = []
    for prompt in prompts():
        step = by_hand.complete(by_hand.p, prompt, max_tokens=1, kv_transfer_params=ASK_P)
        params = step["kv_transfer_params"]
        assert params["do_remote_prefill"]
        split.append(tokens(by_hand.complete(by_hand.d, prompt, kv_transfer_params=params)))
    assert split == alone
    blocks = sum(-(-len(prompt) // BLOCK_TOKENS) for prompt in prompts())
    token_bytes = shipped("models", "tiny")["kv_bytes_per_token"]
    moved = by_hand.metric(by_hand.d, "vllm:nixl_bytes_transferred_sum") - before
    assert moved == blocks * BLOCK_TOKENS * token_bytes
    own = by_hand.metric(by_hand.d, "vllm:prompt_tokens_by_source_total", 'source="local_compute"')
    assert own == 0


def test_the_router_does_the_two_steps(by_hand: ByHand) -> None:
    for prompt in prompts():
        answer = by_hand.complete(by_hand.router, prompt)
        assert tokens(answer) == tokens(by_hand.complete(by_hand.p, prompt))
        for url in (by_hand.p, by_hand.d):
            assert url.removeprefix("http://") in answer["id"]


class ThisMachine:
    """Requests as a node's agent makes them; those to D may be changed on the way."""

    def __init__(self, d: str, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        self._d, self._change = d, change

    async def http(
        self, method: str, url: str, *, body: bytes, headers: dict[str, str], timeout_s: float
    ) -> HttpReply:
        if url.startswith(self._d):
            body = json.dumps(self._change(json.loads(body))).encode()
        answer = await asyncio.to_thread(fetch, method, url, body, headers, timeout_s)
        return HttpReply(
            status=answer["status"], body=unpack(answer["body"]), elapsed_ms=answer["elapsed_ms"]
        )


def validated(
    by_hand: ByHand,
    change: Callable[[dict[str, Any]], dict[str, Any]] = lambda asked: asked,
    *,
    under_load: bool = False,
) -> Judgement:
    urls = {"prefill": by_hand.p, "decode": by_hand.d, "router": by_hand.router}
    processes = [
        SimpleNamespace(name=role[0].upper() + "1", role=role, node="here", url=url)
        for role, url in urls.items()
    ]
    deployment: Any = SimpleNamespace(processes=processes, workers=processes[:2])
    client: Any = ThisMachine(by_hand.d, change)
    model = Profiles.open(shipped_profiles().parent).model("tiny")
    cases = asyncio.run(
        try_transfers(deployment, {"here": client}, model, "seed", under_load=under_load)
    )
    return judge(cases, "UCX on shm")


def test_transfers_that_are_right_are_validated_idle_and_under_load(by_hand: ByHand) -> None:
    found = validated(by_hand, under_load=True)
    assert found.verdict == "ok", found.message
    assert found.deviation is not None
    assert found.tolerance is not None
    assert found.control is not None
    assert found.deviation < found.tolerance < 0.1 * found.control
    # One block of the eight of the longest prompt is seen.
    assert found.smallest_caught.startswith("one block another prompt's (1 of 8 blocks")


def test_blocks_read_in_the_wrong_order_are_found(by_hand: ByHand) -> None:
    def reversed_blocks(asked: dict[str, Any]) -> dict[str, Any]:
        params = asked.get("kv_transfer_params")
        if params:
            params["remote_block_ids"] = [ids[::-1] for ids in params["remote_block_ids"]]
        return asked

    found = validated(by_hand, reversed_blocks)
    assert found.verdict == "fail"
    assert "2 of 4 prompts are wrong" in found.message  # the shorter ones are one block
    assert "P1>D1 over UCX on shm" in found.message


def test_a_decode_replica_that_prefills_by_itself_is_found_out(by_hand: ByHand) -> None:
    def forgetful(asked: dict[str, Any]) -> dict[str, Any]:
        return {name: v for name, v in asked.items() if name != "kv_transfer_params"}

    found = validated(by_hand, forgetful)
    assert found.verdict == "fail"
    assert "prefills by itself" in found.message
