"""What a completion through the deployment says about who answered it."""

from __future__ import annotations

import json

import pytest
from serving_cases import MODEL, placed, planned, run_of

from pdconsole.remote.errors import RemoteError
from pdconsole.remote.values import HttpReply, ProcessInfo
from pdconsole.serving.errors import DeploymentError
from pdconsole.serving.smoke import smoke

PLAN = planned(run_of(placed("2P-TP2+2D-TP2")))
PAIR = "cmpl-___prefill_addr_10.0.0.11:8101___decode_addr_10.0.0.11:8102_0a1b2c-3d"


class Answering:
    def __init__(self, status: int = 200, body: object = None) -> None:
        self._reply = HttpReply(status=status, body=json.dumps(body).encode(), elapsed_ms=41.5)

    async def http(self, method: str, url: str, **_: object) -> HttpReply:
        assert (method, url) == ("POST", "http://10.0.0.11:8000/v1/completions")
        return self._reply

    async def processes(self) -> list[ProcessInfo]:
        return []


class Refusing(Answering):
    async def http(self, method: str, url: str, **_: object) -> HttpReply:
        raise RemoteError("p5-a", "http", "connection refused")


def completion(tokens: int, request_id: str = PAIR) -> dict[str, object]:
    usage = {"prompt_tokens": 76, "completion_tokens": tokens}
    return {"id": request_id, "choices": [{"text": " was", "index": 0}], "usage": usage}


async def test_the_pair_that_answered_is_named() -> None:
    reply = await smoke(PLAN, {"p5-a": Answering(body=completion(16))}, MODEL)  # type: ignore[dict-item]
    assert (reply.text, reply.input_tokens, reply.output_tokens) == (" was", 76, 16)
    assert (reply.prefill, reply.decode, reply.elapsed_ms) == ("P2", "D1", 41.5)


@pytest.mark.parametrize(
    ("node", "said"),
    [
        (Answering(500, {"error": "no prefill worker"}), "answered 500.*no prefill worker"),
        (Answering(body={"object": "error"}), "not a completion"),
        (Answering(body=completion(0)), "no tokens"),
        (Refusing(), "connection refused"),
    ],
)
async def test_what_is_not_an_answer_is_an_error(node: object, said: str) -> None:
    with pytest.raises(DeploymentError, match=said):
        await smoke(PLAN, {"p5-a": node}, MODEL)  # type: ignore[dict-item]
