"""vLLM, NIXL and vllm-router by themselves: does the installed stack pass KV from P to D at all?"""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from engine_stack import ByHand, shipped

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


@pytest.fixture(scope="module")
def by_hand(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ByHand]:
    servers = ByHand(tiny_model, tmp_path_factory.mktemp("logs"))
    try:
        servers.start()
        yield servers
    finally:
        servers.stop()


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
