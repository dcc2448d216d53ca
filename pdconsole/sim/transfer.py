"""KV transfer over a link: how long it takes, and how transfers at the same time share it."""

from __future__ import annotations

import heapq
import math
from typing import Generic, TypeVar

import msgspec

from pdconsole.sim.constants import EngineConstants, LinkConstants

Key = TypeVar("Key")


class TransferCost(msgspec.Struct, frozen=True):
    """Of one request's KV: bytes in all, seconds beside the bytes' own, seconds that D stands."""

    bytes: float
    latency_s: float
    blocked_s: float
    descriptors: int


def transfer_cost(
    engine: EngineConstants,
    link: LinkConstants,
    *,
    tokens: int,
    prefill_tp: int,
    decode_tp: int,
    merged: float,
    layers: int,
) -> TransferCost:
    """Cost of fetching `tokens` of KV, of which the share `merged` (0 to 1) joins descriptors.

    Nothing merges where the degrees differ: each rank then reads a slice of every block. Posting
    what is not merged takes time per token, for part of which the decode replica stands still.
    """
    equal = prefill_tp == decode_tp
    unmerged = 1.0 - merged if equal else 1.0
    factor = link.unmerged_factor_equal_tp if equal else link.unmerged_factor
    loose = tokens * unmerged * factor
    blocks = math.ceil(tokens / engine.block_tokens)
    return TransferCost(
        bytes=float(tokens * engine.kv_bytes_per_token),
        latency_s=link.latency_ms * 1e-3 + loose * engine.unmerged_us_per_token * 1e-6,
        blocked_s=loose * engine.unmerged_block_us_per_token * 1e-6,
        # keys and values of each layer, one descriptor for a run of joined blocks
        descriptors=2 * layers * max(1, round(blocks * unmerged)),
    )


class SharedLink(Generic[Key]):
    """Transfers in progress share the bandwidth equally.

    Kept in the link's own time, which runs at `rate / active` bytes a second: a transfer of b bytes
    that starts at v ends at v + b, whatever starts or ends meanwhile.
    """

    def __init__(self, bytes_per_s: float) -> None:
        self._rate = bytes_per_s
        self._now = 0.0
        self._served = 0.0  # the link's own time, bytes
        self._active: list[tuple[float, int, Key]] = []  # heap by end
        self._count = 0

    def __len__(self) -> int:
        return len(self._active)

    def start(self, key: Key, size: float, now: float) -> None:
        """Call `finish(now)` first, so that what ended before `now` no longer shares."""
        self._advance(now)
        self._count += 1
        heapq.heappush(self._active, (self._served + size, self._count, key))

    def next_end(self) -> float:
        """When the next transfer ends if none starts; inf where none is active."""
        if not self._active:
            return math.inf
        return self._now + (self._active[0][0] - self._served) * len(self._active) / self._rate

    def finish(self, now: float) -> list[tuple[float, Key]]:
        """Ended by `now`, in order, each with its time of end."""
        ended: list[tuple[float, Key]] = []
        while self._active and (end := self.next_end()) <= now:
            target, _, key = heapq.heappop(self._active)
            self._now, self._served = max(end, self._now), target
            ended.append((end, key))
        self._advance(now)
        return ended

    def _advance(self, now: float) -> None:
        if now > self._now:
            if self._active:
                self._served += (now - self._now) * self._rate / len(self._active)
            self._now = now
