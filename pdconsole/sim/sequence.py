"""One request inside a replica: what is asked, how far it is, and when each stage happened."""

from __future__ import annotations

import math
from collections.abc import Sequence as Several

import msgspec


class RemoteKv(msgspec.Struct, frozen=True):
    """Where a prefill replica holds a request's KV."""

    engine_id: str
    request_id: str
    tp: int
    blocks: tuple[int, ...]


class Sequence:
    """A request in a replica. Times are seconds of the engine's clock; NaN until they happen.

    `total` tokens are known (prompt and generated), `computed` of them have their KV in `blocks`.
    A sequence decodes when one token remains to be computed, else it prefills.
    """

    __slots__ = (
        "aborted",
        "arrived",
        "blocks",
        "cached",
        "computed",
        "external",
        "finished",
        "first_token",
        "generated",
        "hashes",
        "held",
        "id",
        "last_token",
        "max_tokens",
        "preempted",
        "prompt",
        "ready",
        "remote",
        "room",
        "scheduled",
        "total",
    )

    def __init__(
        self,
        id: str,  # noqa: A002
        *,
        prompt: int,
        max_tokens: int,
        arrived: float,
        ready: float | None = None,
        hashes: Several[int] = (),
        remote: RemoteKv | None = None,
        held: bool = False,
    ) -> None:
        self.id = id
        self.prompt = prompt
        self.max_tokens = max_tokens
        self.hashes = hashes  # chained hashes of the prompt's full blocks; empty: not cached
        self.remote = remote  # KV to fetch before decoding
        self.held = held  # keep the KV for a decode replica when done
        self.arrived = arrived  # at the front end
        self.ready = arrived if ready is None else ready  # for the scheduler
        self.scheduled = math.nan
        self.first_token = math.nan
        self.last_token = math.nan
        self.blocks: list[int] = []
        self.room = 0  # tokens that `blocks` can hold
        self.total = prompt
        self.computed = 0
        self.generated = 0
        self.cached = 0  # prompt tokens found in the replica's own prefix cache
        self.external = 0  # prompt tokens fetched from a prefill replica
        self.preempted = 0  # times
        self.finished = False
        self.aborted = False

    def anew(self) -> Sequence:
        """The same request from its beginning, without KV from elsewhere."""
        return Sequence(
            f"{self.id}-again",
            prompt=self.prompt,
            max_tokens=self.max_tokens,
            arrived=self.arrived,
            hashes=self.hashes,
        )

    def __repr__(self) -> str:
        return (
            f"<Sequence {self.id} {self.computed}/{self.total} of {self.prompt}+{self.max_tokens}>"
        )


def block_hashes(token_ids: bytes, bytes_per_block: int) -> list[int]:
    """Chained hashes of the full blocks of a prompt given as packed token ids."""
    hashes: list[int] = []
    previous = 0
    for start in range(0, len(token_ids) - bytes_per_block + 1, bytes_per_block):
        previous = hash((previous, token_ids[start : start + bytes_per_block]))
        hashes.append(previous)
    return hashes
