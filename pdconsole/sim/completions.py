"""The /v1/completions of vLLM: what a request says, and the bytes of its answers.

An output token is a made-up word, the same for a prompt on every replica, so that an answer through
prefill and decode equals the collocated one.
"""

from __future__ import annotations

import zlib
from array import array
from typing import Any, TypeAlias

import msgspec

from pdconsole.sim.http import chunk

FIRST_TOKEN_ID = 1000
TOKEN_IDS = 190_000
DEFAULT_MAX_TOKENS = 16
BYTES_PER_TOKEN = 4  # of a prompt given as text
_TOKEN_CODE = "I"
PACKED_TOKEN_BYTES = array(_TOKEN_CODE).itemsize

DONE = chunk(b"data: [DONE]\n\n")

Prompt: TypeAlias = str | list[int | str | list[int]]


class RequestRefused(Exception):  # noqa: N818
    """A request that cannot be served: HTTP status and vLLM's error type beside the message."""

    def __init__(self, message: str, *, status: int = 400, kind: str = "BadRequestError") -> None:
        super().__init__(message)
        self.status = status
        self.kind = kind


class StreamOptions(msgspec.Struct, frozen=True):
    include_usage: bool = False
    continuous_usage_stats: bool = False


class KvTransferParams(msgspec.Struct, frozen=True):
    """What a router passes from step to step. Fields that the other step fills are None."""

    do_remote_decode: bool = False
    do_remote_prefill: bool = False
    remote_engine_id: str | None = None
    remote_block_ids: list[list[int] | int] | None = None
    remote_request_id: str | None = None
    remote_host: str | None = None
    remote_port: int | None = None
    tp_size: int = 1
    remote_num_tokens: int | None = None


class CompletionRequest(msgspec.Struct, frozen=True):
    model: str | None = None
    prompt: Prompt = ""
    max_tokens: int | None = None
    n: int | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    return_token_ids: bool | None = None
    kv_transfer_params: KvTransferParams | None = None

    @property
    def wants_usage(self) -> bool:
        return self.stream_options is not None and self.stream_options.include_usage


_decoder = msgspec.json.Decoder(CompletionRequest)


def decode_request(body: bytes) -> CompletionRequest:
    """Raises RequestRefused."""
    try:
        request = _decoder.decode(body)
    except msgspec.DecodeError as error:
        raise RequestRefused(str(error)) from error
    if request.n not in (None, 1):
        raise RequestRefused("the simulated worker makes one completion a request (n=1)")
    return request


def pack_prompt(prompt: Prompt) -> array[int]:
    """The token ids of a prompt. Raises RequestRefused."""
    try:
        if isinstance(prompt, str):
            return _pack_text(prompt)
        if prompt and not isinstance(prompt[0], int):
            if len(prompt) > 1:
                raise RequestRefused("the simulated worker takes one prompt a request")
            first = prompt[0]
            return _pack_text(first) if isinstance(first, str) else array(_TOKEN_CODE, first)
        return array(_TOKEN_CODE, prompt)  # type: ignore[arg-type]
    except (TypeError, OverflowError) as error:
        raise RequestRefused(f"prompt is not a list of token ids: {error}") from error


def _pack_text(text: str) -> array[int]:
    data = text.encode()
    words = (data[i : i + BYTES_PER_TOKEN] for i in range(0, len(data), BYTES_PER_TOKEN))
    return array(_TOKEN_CODE, (FIRST_TOKEN_ID + zlib.crc32(w) % TOKEN_IDS for w in words))


def prompt_seed(token_ids: bytes) -> int:
    """What the output of a prompt is made from."""
    return zlib.crc32(token_ids)


def token_id(seed: int, index: int) -> int:
    """The output token at `index` (from 0) of a prompt."""
    return FIRST_TOKEN_ID + (seed + index * 2_654_435_761) % TOKEN_IDS


class Answer:
    """Makes the bytes of one request's answer, whole or streamed."""

    __slots__ = (
        "_created",
        "_frame_after",
        "_frame_before",
        "_id",
        "_model",
        "_prompt",
        "_seed",
        "_with_ids",
    )

    def __init__(
        self,
        response_id: str,
        model: str,
        created: int,
        token_ids: array[int],
        seed: int,
        *,
        with_ids: bool,
    ) -> None:
        self._id = response_id
        self._model = model
        self._created = created
        self._prompt = token_ids
        self._seed = seed
        self._with_ids = with_ids
        # Of a chunk in mid-stream only the text changes.
        head = msgspec.json.encode(self._envelope([])).removesuffix(b"[]}")
        self._frame_before = b"data: " + head + b'[{"index":0,"text":"'
        self._frame_after = (
            b'","logprobs":null,"finish_reason":null,"stop_reason":null,'
            b'"prompt_token_ids":null,"token_ids":null}],"usage":null}\n\n'
        )
        assert self._frame_before.endswith(b'"choices":[{"index":0,"text":"')

    def _envelope(self, choices: list[Any]) -> dict[str, Any]:
        return {
            "id": self._id,
            "object": "text_completion",
            "created": self._created,
            "model": self._model,
            "choices": choices,
        }

    def token_chunk(self, index: int, *, last: bool) -> bytes:
        """The HTTP chunk with the output token at `index`."""
        token = token_id(self._seed, index)
        if last or self._with_ids:
            return self._full_chunk(token, index, last=last)
        before, after = self._frame_before, self._frame_after
        text = b" t%d" % token
        size = len(before) + len(text) + len(after)
        return b"%x\r\n%b%b%b\r\n" % (size, before, text, after)

    def _full_chunk(self, token: int, index: int, *, last: bool) -> bytes:
        first_with_ids = self._with_ids and index == 0
        choice = {
            "index": 0,
            "text": f" t{token}",
            "logprobs": None,
            "finish_reason": "length" if last else None,
            "stop_reason": None,
            "prompt_token_ids": self._prompt.tolist() if first_with_ids else None,
            "token_ids": [token] if self._with_ids else None,
        }
        return _event({**self._envelope([choice]), "usage": None})

    def usage_chunk(self, generated: int, metrics: dict[str, Any] | None) -> bytes:
        """The last one of a stream; `metrics` ride on it where the server was told to give them."""
        extra = {} if metrics is None else {"metrics": metrics}
        return _event({**self._envelope([]), "usage": self._usage(generated), **extra})

    def whole(
        self,
        generated: int,
        kv_transfer_params: dict[str, Any] | None,
        metrics: dict[str, Any] | None,
    ) -> bytes:
        """The body of an answer that is not streamed."""
        tokens = [token_id(self._seed, index) for index in range(generated)]
        choice = {
            "index": 0,
            "text": "".join(f" t{token}" for token in tokens),
            "logprobs": None,
            "finish_reason": "length",
            "stop_reason": None,
            "token_ids": tokens if self._with_ids else None,
            "prompt_logprobs": None,
            "prompt_token_ids": self._prompt.tolist() if self._with_ids else None,
        }
        return msgspec.json.encode(
            {
                **self._envelope([choice]),
                "service_tier": None,
                "system_fingerprint": None,
                "usage": self._usage(generated),
                "kv_transfer_params": kv_transfer_params,
                "metrics": metrics,
            }
        )

    def _usage(self, generated: int) -> dict[str, Any]:
        prompt = len(self._prompt)
        return {
            "prompt_tokens": prompt,
            "total_tokens": prompt + generated,
            "completion_tokens": generated,
            "prompt_tokens_details": None,
        }


def _event(body: dict[str, Any]) -> bytes:
    return chunk(b"data: " + msgspec.json.encode(body) + b"\n\n")


def error_body(message: str, kind: str, status: int) -> bytes:
    """The body of an error, as vLLM writes it."""
    error = {"message": message, "type": kind, "param": None, "code": status}
    return msgspec.json.encode({"error": error})


def error_event(message: str, kind: str, status: int) -> bytes:
    """The HTTP chunk that ends a stream which has begun."""
    return chunk(b"data: " + error_body(message, kind, status) + b"\n\n")
