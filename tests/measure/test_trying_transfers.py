"""Trying KV transfers, against replicas whose cache can be made to go wrong in known ways."""

from __future__ import annotations

import asyncio
import json
import types
from collections.abc import Callable
from typing import Any

import pytest

import pdconsole.measure.validation as validation
from pdconsole.measure.errors import MeasureError
from pdconsole.measure.validation import try_transfers
from pdconsole.model.validation import Case, Judgement, judge
from pdconsole.profiles import Profiles, shipped_profiles
from pdconsole.profiles.schema import ModelProfile
from pdconsole.remote.errors import RemoteError
from pdconsole.remote.values import HttpReply

BLOCK = 16
Cache = dict[int, tuple[int, ...]]  # block id -> the prompt tokens it holds the KV of


class Engine:
    """P and D of one model: the next token and its likelihood follow from what the cache holds."""

    def __init__(self) -> None:
        self.held: dict[str, Cache] = {}  # on P, by request id
        self.blocks = 0
        self.log: list[tuple[str, str]] = []  # who was asked for what
        # What D reads, given the block ids it was told and all that P holds.
        self.read: Callable[[list[int], Cache], list[tuple[int, ...]]] = lambda ids, kv: [
            kv[block] for block in ids
        ]

    def answer(self, url: str, body: dict[str, Any]) -> dict[str, Any]:
        who = {"p": "P1", "d": "D1", "r": "router"}[url.removeprefix("http://")[0]]
        prompt, params = tuple(body["prompt"]), body.get("kv_transfer_params")
        if params and params.get("do_remote_decode"):
            self.log.append((who, "hand over"))
            return {"choices": [{}], "kv_transfer_params": self.hand_over(prompt)}
        if "prompt_logprobs" in body:
            self.log.append((who, "score"))
            return {"choices": [{"prompt_logprobs": self.scores(prompt)}]}
        if not params:
            self.log.append((who, "complete"))
        else:
            self.log.append((who, "take over"))
            everything = {k: v for cache in self.held.values() for k, v in cache.items()}
            read = self.read(params["remote_block_ids"][0], everything)
            del self.held[params["remote_request_id"]]
            prompt = tuple(token for block in read for token in block)
        return {"choices": [self.made(prompt, body["max_tokens"])]}

    def hand_over(self, prompt: tuple[int, ...]) -> dict[str, Any]:
        cuts = [prompt[i : i + BLOCK] for i in range(0, len(prompt), BLOCK)]
        first = self.blocks
        self.blocks += len(cuts)
        name = f"request-{first}"
        self.held[name] = dict(enumerate(cuts, first))
        return {"remote_block_ids": [list(self.held[name])], "remote_request_id": name}

    def made(self, prompt: tuple[int, ...], count: int) -> dict[str, Any]:
        tokens = [hash((prompt, i)) % 1000 for i in range(count)]
        own = [likelihood(prompt, token) for token in tokens]
        return {"token_ids": tokens, "logprobs": {"token_logprobs": own}}

    def scores(self, text: tuple[int, ...]) -> list[Any]:
        prompt, made = text[: -validation.OUTPUT_TOKENS], text[-validation.OUTPUT_TOKENS :]
        entries = [{str(token): {"logprob": likelihood(prompt, token)}} for token in made]
        return [None] * len(prompt) + entries


def likelihood(prompt: tuple[int, ...], token: int) -> float:
    return -(hash((prompt, token)) % 700) / 100


class Client:
    """A node on which every replica listens."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    async def http(self, method: str, url: str, *, body: bytes, **_: Any) -> HttpReply:
        assert (method, url.split("/", 3)[3]) == ("POST", "v1/completions")
        await asyncio.sleep(0)
        answer = self.engine.answer(url, json.loads(body))
        return HttpReply(status=200, body=json.dumps(answer).encode(), elapsed_ms=1.0)


@pytest.fixture
def engine() -> Engine:
    return Engine()


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> ModelProfile:
    monkeypatch.setattr(validation, "LOAD_REQUESTS", 8)
    return Profiles.open(shipped_profiles().parent).model("tiny")


async def tried(engine: Engine, model: ModelProfile, **how: Any) -> tuple[Case, ...]:
    roles = {"P1": "prefill", "D1": "decode", "router": "router"}
    processes = [
        types.SimpleNamespace(name=name, role=role, node="a", url=f"http://{name[0].lower()}")
        for name, role in roles.items()
    ]
    deployment = types.SimpleNamespace(processes=processes, workers=processes[:2])
    client: Any = how.pop("client", Client(engine))
    return await try_transfers(deployment, {"a": client}, model, "seed", **how)  # type: ignore[arg-type]


def judged(cases: tuple[Case, ...]) -> Judgement:
    return judge(cases, "UCX on shm")


async def test_transfers_that_are_right_pass(engine: Engine, model: ModelProfile) -> None:
    cases = await tried(engine, model)
    found = judged(cases)
    assert found.verdict == "ok"
    assert found.deviation == 0
    assert found.control is not None
    assert found.control > 0.5
    # A block of 63, seen.
    assert found.smallest_caught.startswith("one block another prompt's (1 of 63 blocks, 1,000")
    loaded = [case.length for case in cases if case.kind == "transfer" and case.loaded]
    assert loaded == [20, 100, 405, 1000]
    assert sum(who == "router" for who, _ in engine.log) >= 8


async def test_nothing_stays_held_on_p(engine: Engine, model: ModelProfile) -> None:
    await tried(engine, model)
    assert engine.held == {}


async def test_d_and_the_reference_alone_are_scored_by_the_reference(
    engine: Engine, model: ModelProfile
) -> None:
    cases = await tried(engine, model, under_load=False)
    assert {case.who for case in cases if case.kind == "self"} == {"P1", "D1"}
    assert {who for who, what in engine.log if what == "score"} == {"P1"}


async def test_a_transport_that_mixes_blocks_up_fails(engine: Engine, model: ModelProfile) -> None:
    engine.read = lambda ids, kv: [kv[block] for block in (ids[1:2] or ids[:1]) + ids[1:]]
    found = judged(await tried(engine, model, under_load=False))
    assert found.verdict == "fail"
    assert "P1>D1 over UCX on shm" in found.message


async def test_it_is_seen_when_it_comes_only_under_load(
    engine: Engine, model: ModelProfile
) -> None:
    def read(ids: list[int], kv: Cache) -> list[tuple[int, ...]]:
        loaded = any(who == "router" for who, _ in engine.log)
        return [(0,) * BLOCK if loaded else kv[block] for block in ids]

    engine.read = read
    found = judged(await tried(engine, model))
    assert found.verdict == "fail"
    assert "4 of 8 prompts are wrong" in found.message
    assert "under load" in found.message


async def test_d_that_prefills_by_itself_is_found_out(engine: Engine, model: ModelProfile) -> None:
    answer = engine.answer

    def deaf(url: str, body: dict[str, Any]) -> dict[str, Any]:
        params = body.get("kv_transfer_params") or {}
        return answer(url, {**body, "kv_transfer_params": params if "http://p" in url else None})

    engine.answer = deaf  # type: ignore[method-assign]
    found = judged(await tried(engine, model, under_load=False))
    assert found.verdict == "fail"
    assert "prefills by itself" in found.message


class DeadD(Client):
    async def http(self, method: str, url: str, *, body: bytes, **how: Any) -> HttpReply:
        if "http://d" in url:
            raise RemoteError("a", "http", "nothing listens there (connection refused)")
        return await super().http(method, url, body=body, **how)


async def test_a_replica_that_does_not_answer_is_named(engine: Engine, model: ModelProfile) -> None:
    cases = await tried(engine, model, under_load=False, client=DeadD(engine))
    found = judged(cases)
    assert found.verdict == "fail"
    assert "D1 on a gave no answer: nothing listens there" in found.message


class LostNode(Client):
    async def http(self, method: str, url: str, *, body: bytes, **how: Any) -> HttpReply:
        raise RemoteError("a", "unreachable", "the connection does not come back")


async def test_a_lost_node_says_nothing_about_kv(engine: Engine, model: ModelProfile) -> None:
    with pytest.raises(RemoteError):
        await tried(engine, model, client=LostNode(engine))


async def test_without_p_there_is_nothing_to_try(model: ModelProfile) -> None:
    collocated: Any = types.SimpleNamespace(processes=[], workers=[])
    with pytest.raises(MeasureError):
        await try_transfers(collocated, {}, model, "seed")
