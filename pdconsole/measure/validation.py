"""Tries the KV transfers of a deployment that serves, by the two-step protocol itself.

Which P meets which D is chosen here, past the router. The method is that of model.validation.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import math
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

import msgspec

from pdconsole.measure.deployment import Deployment, Process
from pdconsole.measure.driver_spec import COMPLETIONS
from pdconsole.measure.errors import MeasureError
from pdconsole.model.validation import (
    OUTPUT_TOKENS,
    BlockIds,
    Case,
    Load,
    Score,
    count_wrong,
    one_replaced,
    prompt_lengths,
    prompt_tokens,
    swapped,
)
from pdconsole.profiles.schema import ModelProfile
from pdconsole.remote.client import NodeClient
from pdconsole.remote.errors import RemoteError

TIMEOUT_S = 180.0
# Every pair gets all lengths while they are few; of many pairs each gets two.
FEW_PAIRS = 4
LOAD_IN_FLIGHT = 4
# Corruption has been reported that shows only after 50 to 100 requests.
LOAD_REQUESTS = 100
LOAD_LONGEST_S = 120.0
LOAD_INPUT_LEN = 300
# Transfers that hang take TIMEOUT_S each: after so many pairs that failed, no more are tried.
ENOUGH_FAILED = 3
OTHER_PROMPT = "another prompt's blocks"

ASK_P = {
    "do_remote_decode": True,
    "do_remote_prefill": False,
    "remote_engine_id": None,
    "remote_block_ids": None,
    "remote_host": None,
    "remote_port": None,
}

Say = Callable[[str], object]


class _NoAnswerError(Exception):
    """A replica gave no completion; the sentence names it."""


class _UnscoredError(_NoAnswerError):
    """There is a completion, but the reference did not score it."""


class Tried(msgspec.Struct, frozen=True, kw_only=True):
    cases: tuple[Case, ...]
    load: Load | None = None  # None: not tried under load


async def try_transfers(
    deployment: Deployment,
    nodes: Mapping[str, NodeClient],
    model: ModelProfile,
    seed: str,
    *,
    under_load: bool = True,
    say: Say = lambda _: None,
) -> Tried:
    """Every case, idle and then, with `under_load`, beside a hundred requests of the router's.

    A replica that does not answer is an error in its case; once a transfer failed, the verdict is
    settled and little more is tried. Raises MeasureError when the deployment has no P and D.
    """
    return await _Trial(deployment, nodes, model, seed, say).carry_out(under_load)


class _Trial:
    def __init__(
        self,
        deployment: Deployment,
        nodes: Mapping[str, NodeClient],
        model: ModelProfile,
        seed: str,
        say: Say,
    ) -> None:
        self._deployment, self._nodes, self._model = deployment, nodes, model
        self._seed, self._say = seed, say
        workers = deployment.workers
        self._prefill = [worker for worker in workers if worker.role == "prefill"]
        self._decode = [worker for worker in workers if worker.role == "decode"]
        if not self._prefill or not self._decode:
            raise MeasureError("This layout hands no KV from one replica to another")
        self._last_id = model.vocab[1]
        self._numbers = itertools.count(1)

    async def carry_out(self, under_load: bool) -> Tried:
        if not self._lengths:
            self._say("the model is too short for the shortest prompt")
            return Tried(cases=())
        self._say("idle: transfers, and what a replica alone deviates from itself")
        cases = await self._healthy(loaded=False)
        if any(map(_failed, cases)):
            self._say("a transfer failed, so no more are tried")
            return Tried(cases=tuple(cases))
        cases += await self._selves(loaded=False)
        self._say("transfers corrupted on purpose")
        cases += await self._corrupted()
        if not under_load:
            return Tried(cases=tuple(cases))
        self._say(f"under load: {LOAD_REQUESTS} requests beside the same")
        async with self._load() as load:
            cases += await self._healthy(loaded=True)
            if not any(map(_failed, cases)):
                cases += await self._selves(loaded=True)
        return Tried(cases=tuple(cases), load=load.done)

    # --- cases ---

    async def _healthy(self, *, loaded: bool) -> list[Case]:
        """A pair is not tried further once a transfer of it failed."""
        cases: list[Case] = []
        for number, (p, d) in enumerate(itertools.product(self._prefill, self._decode)):
            for length in self._lengths_of(number):
                if length not in self._lengths:  # the vocabulary turned out to be larger
                    break
                cases.append(await self._transfer(p, d, length, loaded))
                if _failed(cases[-1]):
                    break
            if sum(map(_failed, cases)) == ENOUGH_FAILED:
                break
        return cases

    def _lengths_of(self, pair: int) -> tuple[int, ...]:
        if len(self._prefill) * len(self._decode) <= FEW_PAIRS:
            return self._lengths
        longer = self._lengths[1:] or self._lengths
        return (self._lengths[0], longer[pair % len(longer)])

    async def _transfer(self, p: Process, d: Process, length: int, loaded: bool) -> Case:
        number, prompt = self._prompt(length)
        case = Case(
            kind="transfer", prompt=number, length=length, who=f"{p.name}>{d.name}", loaded=loaded
        )
        try:
            request_id = _request_id()
            handed = await self._hand_over(p, prompt, request_id)
            score = await self._made_from(d, prompt, handed, request_id)
        except _NoAnswerError as e:
            unscored = isinstance(e, _UnscoredError)
            return msgspec.structs.replace(case, error=str(e), unscored=unscored)
        return msgspec.structs.replace(case, score=score)

    async def _selves(self, *, loaded: bool) -> list[Case]:
        """Rounding: the first D alone and the reference alone, nothing handed over."""
        cases = []
        for worker in (self._decode[0], self._reference):
            for length in self._lengths:
                number, prompt = self._prompt(length)
                case = Case(
                    kind="self", prompt=number, length=length, who=worker.name, loaded=loaded
                )
                try:
                    score = await self._scored(await self._complete(worker, prompt), prompt)
                except _NoAnswerError as e:
                    cases.append(msgspec.structs.replace(case, error=str(e)))
                    break  # one that hangs takes TIMEOUT_S a prompt
                else:
                    cases.append(msgspec.structs.replace(case, score=score))
        return cases

    async def _corrupted(self) -> list[Case]:
        """Every pair is given another prompt's blocks once, the first pair at every length and
        with a few wrong blocks too."""
        cases = []
        errors = 0
        for number, (p, d) in enumerate(itertools.product(self._prefill, self._decode)):
            for length in self._lengths if number == 0 else self._lengths[:1]:
                found, whole = await self._corruptions(p, d, length, all_kinds=number == 0)
                cases += found
                errors += not whole
                if errors == ENOUGH_FAILED:
                    return cases
        return cases

    async def _corruptions(
        self, p: Process, d: Process, length: int, *, all_kinds: bool
    ) -> tuple[list[Case], bool]:
        """The cases, and whether all were tried.

        Fresh prompts for each: a prefix cache must not answer. An error ends them: a refused wrong
        transfer says nothing about the right ones, and one that hangs takes TIMEOUT_S."""
        kinds: list[tuple[str, Callable[[BlockIds, BlockIds], BlockIds | None]]] = [
            (OTHER_PROMPT, lambda _own, other: other)
        ]
        if all_kinds:
            kinds += [
                ("one block another prompt's", one_replaced),
                ("two blocks swapped", lambda own, _other: swapped(own)),
            ]
        cases: list[Case] = []
        for name, corrupt in kinds:
            try:
                case = await self._corruption(p, d, length, name, corrupt)
            except _NoAnswerError as e:
                self._say(f"{name}, {length} tokens: {e}")
                return cases, False
            if case is not None:
                cases.append(case)
        return cases, True

    async def _corruption(
        self,
        p: Process,
        d: Process,
        length: int,
        name: str,
        corrupt: Callable[[BlockIds, BlockIds], BlockIds | None],
    ) -> Case | None:
        (number, prompt), (_, other_prompt) = self._prompt(length), self._prompt(length)
        request_id, other_id = _request_id(), _request_id()
        handed = await self._hand_over(p, prompt, request_id)
        other = await self._hand_over(p, other_prompt, other_id)
        own_ids: BlockIds = handed["remote_block_ids"]
        wrong_ids = corrupt(own_ids, other["remote_block_ids"])
        case = None
        if wrong_ids is not None:
            blocks, wrong = count_wrong(own_ids, wrong_ids)
            case = Case(
                kind="corrupted",
                prompt=number,
                length=length,
                who=f"{p.name}>{d.name}",
                corruption=name,
                # Two blocks swapped may be all that there are: still the prompt's own.
                control=name == OTHER_PROMPT and wrong == blocks,
                blocks=blocks,
                wrong_blocks=wrong,
                score=await self._made_from(
                    d, prompt, {**handed, "remote_block_ids": wrong_ids}, request_id
                ),
            )
        else:
            await self._complete(d, prompt, handed, request_id)
        # P holds what it has not been told is read: the other prompt's blocks until this.
        await self._complete(d, other_prompt, other, other_id)
        return case

    # --- requests ---

    @property
    def _lengths(self) -> tuple[int, ...]:
        return prompt_lengths(self._model.max_model_len, self._last_id)

    @property
    def _reference(self) -> Process:
        return self._prefill[0]

    def _prompt(self, length: int) -> tuple[int, list[int]]:
        number = next(self._numbers)
        return number, prompt_tokens(self._seed, number, length, self._model.vocab)

    async def _hand_over(self, p: Process, prompt: list[int], request_id: str) -> dict[str, Any]:
        """Step 1: P prefills and says where the KV is."""
        answer = await self._ask(
            p,
            {"prompt": prompt, "max_tokens": 1, "kv_transfer_params": ASK_P},
            request_id,
        )
        params = answer.get("kv_transfer_params")
        if not isinstance(params, dict) or not params.get("remote_block_ids"):
            raise _NoAnswerError(f"{p.name} on {p.node} hands no KV over: it named no blocks")
        return params

    async def _made_from(
        self, d: Process, prompt: list[int], handed: dict[str, Any], request_id: str
    ) -> Score:
        """Step 2, scored."""
        return await self._scored(await self._complete(d, prompt, handed, request_id), prompt)

    async def _complete(
        self,
        worker: Process,
        prompt: list[int],
        handed: dict[str, Any] | None = None,
        request_id: str = "",
    ) -> tuple[list[int], list[float]]:
        """Output tokens and their log-probabilities."""
        fields: dict[str, Any] = {"prompt": prompt, "max_tokens": OUTPUT_TOKENS, "logprobs": 1}
        if handed is not None:
            fields["kv_transfer_params"] = handed
        answer = await self._ask(worker, fields, request_id or _request_id())
        try:
            choice = answer["choices"][0]
            tokens = [int(token) for token in choice["token_ids"]]
            own = [float(value) for value in choice["logprobs"]["token_logprobs"]]
        except (KeyError, IndexError, TypeError, ValueError) as e:
            raise _NoAnswerError(
                f"{worker.name} on {worker.node} gave no tokens with log-probabilities ({e!r})"
            ) from e
        if len(tokens) != OUTPUT_TOKENS or len(own) != OUTPUT_TOKENS:
            raise _NoAnswerError(
                f"{worker.name} on {worker.node} gave {len(tokens)} tokens instead of"
                f" {OUTPUT_TOKENS}"
            )
        if not all(map(math.isfinite, own)):
            raise _NoAnswerError(
                f"{worker.name} on {worker.node} gave log-probabilities that are no numbers"
            )
        # The profile names ordinary tokens only; what is made may lie beyond them.
        self._last_id = max(self._last_id, *tokens)
        return tokens, own

    async def _scored(self, made: tuple[list[int], list[float]], prompt: list[int]) -> Score:
        """The reference reads prompt and output, and says how likely each output token was."""
        tokens, own = made
        worker = self._reference
        fields = {"prompt": prompt + tokens, "max_tokens": 1, "prompt_logprobs": 0}
        try:
            answer = await self._ask(worker, fields, _request_id())
        except _NoAnswerError as e:
            raise _UnscoredError(str(e)) from e
        try:
            listed = answer["choices"][0]["prompt_logprobs"][len(prompt) :]
            reference = [
                float(entry[str(token)]["logprob"])
                for token, entry in zip(tokens, listed, strict=True)
            ]
        except (KeyError, IndexError, TypeError, ValueError) as e:
            raise _UnscoredError(
                f"{worker.name} on {worker.node} does not score what it is given ({e!r})"
            ) from e
        if not all(map(math.isfinite, reference)):
            raise _UnscoredError(
                f"{worker.name} on {worker.node} scores with log-probabilities that are no numbers"
            )
        return Score(tokens=tuple(tokens), own=tuple(own), reference=tuple(reference))

    async def _ask(
        self, worker: Process, fields: dict[str, Any], request_id: str
    ) -> dict[str, Any]:
        said = f"{worker.name} on {worker.node}"
        try:
            return await self._post(self._nodes[worker.node], worker.url, fields, request_id)
        except RemoteError as e:
            if e.kind != "http":
                raise  # the node, not the replica
            raise _NoAnswerError(f"{said} gave no answer: {e.sentence}") from e
        except _NoAnswerError as e:
            raise _NoAnswerError(f"{said} {e}") from e

    async def _post(
        self, client: NodeClient, url: str, fields: dict[str, Any], request_id: str
    ) -> dict[str, Any]:
        body = {
            "model": self._model.served_name,
            "temperature": 0,
            "ignore_eos": True,
            "return_token_ids": True,
            **fields,
        }
        reply = await client.http(
            "POST",
            url + COMPLETIONS,
            body=msgspec.json.encode(body),
            # The older vLLM knows a transfer by the request's id: both steps need the same.
            headers={"Content-Type": "application/json", "X-Request-Id": request_id},
            timeout_s=TIMEOUT_S,
        )
        if reply.status != 200:
            text = reply.body.decode(errors="replace").strip()[:300]
            raise _NoAnswerError(f"answered {reply.status}: {text}")
        try:
            answer: dict[str, Any] = msgspec.json.decode(reply.body, type=dict[str, Any])
        except msgspec.DecodeError as e:
            raise _NoAnswerError(f"gave no completion: {e}") from e
        return answer

    # --- load ---

    @contextlib.asynccontextmanager
    async def _load(self) -> AsyncIterator[_Background]:
        """Requests through the router: half of them before the body, all of them by its end."""
        load = _Background(self._background)
        try:
            await load.until(LOAD_REQUESTS // 2)
            yield load
            await load.until(LOAD_REQUESTS)
        finally:
            await load.end()

    async def _background(self) -> None:
        router = next(p for p in self._deployment.processes if p.role == "router")
        _, prompt = self._prompt(min(LOAD_INPUT_LEN, self._lengths[-1]))
        fields = {"prompt": prompt, "max_tokens": OUTPUT_TOKENS}
        await self._post(self._nodes[router.node], router.url, fields, _request_id())


class _Background:
    """Keeps a few requests in flight until it is ended."""

    def __init__(self, send: Callable[[], Awaitable[None]]) -> None:
        self._send = send
        self._sent = self._failed = 0
        self._until = time.monotonic() + LOAD_LONGEST_S
        self._loops = [asyncio.create_task(self._keep_sending()) for _ in range(LOAD_IN_FLIGHT)]

    async def until(self, count: int) -> None:
        """So many have been answered, or the load has lasted long enough."""
        while self._sent < count and time.monotonic() < self._until:
            ended, _ = await asyncio.wait(
                self._loops, timeout=0.2, return_when=asyncio.FIRST_EXCEPTION
            )
            for loop in ended:
                loop.result()  # none ends by itself but by a fault of ours

    @property
    def done(self) -> Load:
        return Load(asked=LOAD_REQUESTS, answered=self._sent, failed=self._failed)

    async def end(self) -> None:
        for loop in self._loops:
            loop.cancel()
        await asyncio.gather(*self._loops, return_exceptions=True)

    async def _keep_sending(self) -> None:
        while True:
            try:
                await self._send()
            except (RemoteError, _NoAnswerError):
                self._failed += 1
                await asyncio.sleep(0.2)
            self._sent += 1


def _failed(case: Case) -> bool:
    """Its KV did not come over; of one that came and was not scored, that is not said."""
    return bool(case.error) and not case.unscored


def _request_id() -> str:
    return f"validate-{uuid.uuid4().hex}"
