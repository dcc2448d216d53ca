"""vLLM, NIXL and vllm-router by themselves: does the installed stack pass KV from P to D at all?"""

from __future__ import annotations

import asyncio
import json
import random
import urllib.error
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from engine_stack import STACK, ByHand, shipped

from pdconsole.agent.fetch import fetch
from pdconsole.agent.protocol import unpack
from pdconsole.measure.validation import try_transfers
from pdconsole.model.layout import parse_layout
from pdconsole.model.placement import place
from pdconsole.model.plan import RunPlan
from pdconsole.model.validation import Judgement, judge
from pdconsole.model.workload import Workload
from pdconsole.profiles import Profiles, shipped_profiles
from pdconsole.remote.values import HttpReply
from pdconsole.runner.planning import grid_of
from pdconsole.serving.failures_at_work import complaint
from pdconsole.serving.planning import plan_deployment

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
    tried = asyncio.run(
        try_transfers(deployment, {"here": client}, model, "seed", under_load=under_load)
    )
    return judge(tried.cases, "UCX on shm", tried.load)


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


def test_a_prefill_replica_that_is_restarted_under_a_decode_replica(by_hand: ByHand) -> None:
    prompt = prompts()[2]

    def handed_over() -> dict[str, Any]:
        step = by_hand.complete(by_hand.p, prompt, max_tokens=1, kv_transfer_params=ASK_P)
        return dict(step["kv_transfer_params"])

    by_hand.complete(by_hand.d, prompt, kv_transfer_params=handed_over())
    stale = handed_over()
    said_before = len(by_hand.log("D"))
    by_hand.start_anew("P")
    with pytest.raises(urllib.error.HTTPError, match="500"):
        by_hand.complete(by_hand.d, prompt, kv_transfer_params=stale)
    said = complaint(by_hand.log("D")[said_before:])
    assert said is not None
    assert "prefill replica" in said.what
    by_hand.complete(by_hand.d, prompt, kv_transfer_params=handed_over())


def test_decode_only_prefills_nothing(by_hand: ByHand) -> None:
    prompt = prompts()[2]
    profiles = Profiles((shipped_profiles(),))
    cluster, model = profiles.cluster("local-cpu"), profiles.model("tiny")
    run = RunPlan(
        id="1",
        placement=place(parse_layout("1xTP1"), grid_of(cluster), "pack"),
        network="shm",
        workload=Workload(name="w", input_len=300, output_len=16, mode="decode-only"),
        points=(),
        result_dir="",
    )
    versions = {"local": {"vllm": "0.32.0"}}
    plan = plan_deployment(
        run, cluster=cluster, model=model, network=None, versions=versions, session="s"
    )
    (worker,) = plan.workers
    argv = [str(by_hand.model) if word == model.source else word for word in worker.argv[2:]]
    port = argv.index("--port")
    url = by_hand.start_another(
        "B", (f"{STACK}/bin/vllm", "serve", *argv[:port], *argv[port + 2 :]), worker.env
    )
    try:
        by_hand.complete(url, prompt)
        by_source = "vllm:prompt_tokens_by_source_total"
        assert by_hand.metric(url, by_source, 'source="local_compute"') <= 1
        assert by_hand.metric(url, by_source, 'source="external_kv_transfer"') >= len(prompt) - 1
    finally:
        by_hand.end("B")
