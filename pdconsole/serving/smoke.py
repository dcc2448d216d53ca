"""One completion through a deployment: does it answer at all, and who answered?"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec

from pdconsole.profiles.schema import ModelProfile
from pdconsole.remote.errors import RemoteError
from pdconsole.serving.complaints import complaints_of
from pdconsole.serving.errors import DeploymentError
from pdconsole.serving.plan import DeploymentPlan

if TYPE_CHECKING:
    from pdconsole.remote.client import NodeClient

# Several KV blocks long, so that a transfer from P to D really happens.
PROMPT = (
    "The river rises in the hills above the town, runs past the old mill and the school, turns "
    "south where the railway crosses it, and reaches the sea after forty miles. Children who live "
    "beside it learn to swim before they learn to read, and every spring, when the snow melts, the "
    "whole town comes down to the bridge to see how high the water stands. This year it"
)
MAX_TOKENS = 16
TIMEOUT_S = 120.0

_PAIR = re.compile(r"___prefill_addr_(?P<prefill>.+?)___decode_addr_(?P<decode>.+)_[0-9a-f-]+$")


class SmokeReply(msgspec.Struct, frozen=True, kw_only=True):
    text: str
    input_tokens: int
    output_tokens: int
    elapsed_ms: float
    prefill: str = ""  # derived from the request id, where the router tells
    decode: str = ""


class _Choice(msgspec.Struct, frozen=True):
    text: str = ""


class _Usage(msgspec.Struct, frozen=True):
    prompt_tokens: int = 0
    completion_tokens: int = 0


class _Completion(msgspec.Struct, frozen=True):
    choices: tuple[_Choice, ...]
    id: str = ""
    usage: _Usage = _Usage()


async def smoke(
    plan: DeploymentPlan, nodes: Mapping[str, NodeClient], model: ModelProfile
) -> SmokeReply:
    """Asks the router, from its own node, to complete a short text.

    Raises DeploymentError if no completion comes back.
    """
    router = plan.router
    body = msgspec.json.encode(
        {
            "model": model.served_name,
            "prompt": PROMPT,
            "max_tokens": MAX_TOKENS,
            "temperature": 0,
            "ignore_eos": True,
        }
    )
    complaints = complaints_of(plan, nodes)
    await complaints.listen()
    try:
        reply = await nodes[router.node].http(
            "POST",
            f"{router.url}/v1/completions",
            body=body,
            headers={"Content-Type": "application/json"},
            timeout_s=TIMEOUT_S,
        )
    except RemoteError as error:
        raise _failed(plan, str(error)) from error
    if reply.status != 200:
        said = reply.body.decode(errors="replace").strip()[:300]
        why = await complaints.heard()
        raise _failed(plan, f"The router answered {reply.status}: {said}. {why}".strip())
    try:
        completion = msgspec.json.decode(reply.body, type=_Completion)
    except msgspec.DecodeError as error:
        raise _failed(plan, f"The answer is not a completion: {error}") from error
    usage = completion.usage
    if not completion.choices or usage.completion_tokens < 1:
        raise _failed(plan, "The answer holds no tokens.")
    prefill, decode = pair_of(plan, completion.id)
    return SmokeReply(
        text=completion.choices[0].text,
        input_tokens=usage.prompt_tokens,
        output_tokens=usage.completion_tokens,
        elapsed_ms=reply.elapsed_ms,
        prefill=prefill,
        decode=decode,
    )


def pair_of(plan: DeploymentPlan, request_id: str) -> tuple[str, str]:
    """The prefill and decode replica that an answer's id names; empty where it names none."""
    match = _PAIR.search(request_id)
    if match is None:
        return "", ""
    names = {worker.host_port: worker.name for worker in plan.workers}
    prefill, decode = match["prefill"], match["decode"]
    return names.get(prefill, prefill), names.get(decode, decode)


def _failed(plan: DeploymentPlan, why: str) -> DeploymentError:
    router = plan.router
    return DeploymentError(
        f"No completion came back through the router at {router.url} on {router.node}. {why} "
        "Next: read the logs of the workers; nothing but this one request was sent.",
        process=router.name,
        node=router.node,
    )
