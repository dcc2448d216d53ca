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
from pdconsole.measure.validation import Tried, try_transfers
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


async def tried(engine: Engine, model: ModelProfile, pairs: int = 1, **how: Any) -> Tried:
    prefill = {f"P{n + 1}": "prefill" for n in range(pairs)}
    roles = {**prefill, "D1": "decode", "router": "router"}
    processes = [
        types.SimpleNamespace(name=name, role=role, node="a", url=f"http://{name[0].lower()}")
        for name, role in roles.items()
    ]
    deployment = types.SimpleNamespace(processes=processes, workers=processes[:-1])
    client: Any = how.pop("client", Client(engine))
    return await try_transfers(deployment, {"a": client}, model, "seed", **how)  # type: ignore[arg-type]


def judged(found: Tried) -> Judgement:
    return judge(found.cases, "UCX on shm", found.load)


async def test_transfers_that_are_right_pass(engine: Engine, model: ModelProfile) -> None:
    made = await tried(engine, model)
    found = judged(made)
    assert found.verdict == "ok"
    assert found.deviation == 0
    assert found.control is not None
    assert found.control > 0.5
    # A block of 63, seen.
    assert found.smallest_caught.startswith("one block another prompt's (1 of 63 blocks, 1,000")
    loaded = [case.length for case in healthy(made) if case.loaded]
    assert loaded == [20, 100, 405, 1000]
    assert sum(who == "router" for who, _ in engine.log) >= 8


def healthy(made: Tried) -> list[Case]:
    return [case for case in made.cases if case.kind == "transfer"]


async def test_nothing_stays_held_on_p(engine: Engine, model: ModelProfile) -> None:
    await tried(engine, model)
    assert engine.held == {}


async def test_d_and_the_reference_alone_are_scored_by_the_reference(
    engine: Engine, model: ModelProfile
) -> None:
    made = await tried(engine, model, under_load=False)
    assert {case.who for case in made.cases if case.kind == "self"} == {"P1", "D1"}
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
    found = judged(await tried(engine, model, under_load=False, client=DeadD(engine)))
    assert found.verdict == "fail"
    assert "D1 on a gave no answer: nothing listens there" in found.message


async def test_transfers_that_fail_are_not_tried_for_hours(
    engine: Engine, model: ModelProfile
) -> None:
    made = await tried(engine, model, pairs=6, client=DeadD(engine))
    # One that hangs takes minutes.
    assert [case.who for case in made.cases] == ["P1>D1", "P2>D1", "P3>D1"]
    assert not any(who == "router" for who, _ in engine.log)


class RefusesWrong(Client):
    """D takes another prompt's blocks for a fault, or hangs on them."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self.refused = 0

    async def http(self, method: str, url: str, *, body: bytes, **how: Any) -> HttpReply:
        asked = json.loads(body).get("kv_transfer_params") or {}
        own = self.engine.held.get(asked.get("remote_request_id") or "")
        if own is not None and asked["remote_block_ids"] != [list(own)]:
            self.refused += 1
            return HttpReply(status=500, body=b"timed out", elapsed_ms=180e3)
        return await super().http(method, url, body=body, **how)


async def test_an_error_ends_what_is_corrupted_on_purpose(
    engine: Engine, model: ModelProfile
) -> None:
    client = RefusesWrong(engine)
    said: list[str] = []
    made = await tried(engine, model, pairs=6, under_load=False, client=client, say=said.append)
    assert len(healthy(made)) == 12
    assert not [case for case in made.cases if case.kind == "corrupted"]
    # One kind at each of three lengths, not three kinds at four lengths and five more pairs.
    assert client.refused == 3
    refusals = [line for line in said if "timed out" in line]
    assert [line.split(":")[0] for line in refusals] == [
        f"another prompt's blocks, {length} tokens" for length in (20, 100, 405)
    ]


class SilentRouter(Client):
    async def http(self, method: str, url: str, *, body: bytes, **how: Any) -> HttpReply:
        if "http://r" in url:
            return HttpReply(status=503, body=b"no workers", elapsed_ms=1.0)
        return await super().http(method, url, body=body, **how)


async def test_a_load_that_was_none_is_said(
    engine: Engine, model: ModelProfile, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = judged(await tried(engine, model, client=SilentRouter(engine)))
    assert found.verdict == "warn"
    assert "requests beside the loaded transfers failed" in found.message


class NoNumbers(Client):
    """D's log-probabilities overflow once it has read KV."""

    async def http(self, method: str, url: str, *, body: bytes, **how: Any) -> HttpReply:
        reply = await super().http(method, url, body=body, **how)
        asked = json.loads(body).get("kv_transfer_params") or {}
        if "remote_request_id" not in asked:
            return reply
        answer = json.loads(reply.body)
        tokens = answer["choices"][0]["logprobs"]["token_logprobs"]
        tokens[:] = ["nan"] * len(tokens)
        return HttpReply(status=200, body=json.dumps(answer).encode(), elapsed_ms=1.0)


async def test_log_probabilities_that_are_no_numbers_fail(
    engine: Engine, model: ModelProfile
) -> None:
    found = judged(await tried(engine, model, under_load=False, client=NoNumbers(engine)))
    assert found.verdict == "fail"
    assert "D1 on a gave log-probabilities that are no numbers" in found.message


async def test_two_blocks_swapped_are_no_control(engine: Engine, model: ModelProfile) -> None:
    """Of 20 tokens they are all blocks that there are, and still the prompt's own."""
    made = await tried(engine, model, under_load=False)
    controls = [case for case in made.cases if case.control]
    assert {case.corruption for case in controls} == {"another prompt's blocks"}
    assert [case.length for case in controls] == [20, 100, 405, 1000]


async def test_a_vocabulary_beyond_the_profiles_shortens_the_prompts(
    engine: Engine, model: ModelProfile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server that scores holds the logits of a whole prompt."""
    made = engine.made

    def far(prompt: tuple[int, ...], count: int) -> dict[str, Any]:
        answer = made(prompt, count)
        tokens = [300_000 + token for token in answer["token_ids"]]
        own = [likelihood(prompt, token) for token in tokens]
        return {"token_ids": tokens, "logprobs": {"token_logprobs": own}}

    monkeypatch.setattr(engine, "made", far)
    tried_with = await tried(engine, model, under_load=False)
    assert [case.length for case in healthy(tried_with)] == [20, 100, 405]
    assert max(case.length for case in tried_with.cases) == 405


async def test_a_model_too_short_for_any_prompt_is_not_judged(
    engine: Engine, model: ModelProfile
) -> None:
    short = model.model_copy(update={"max_model_len": 40})
    assert judged(await tried(engine, short)).verdict == "unknown"


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
