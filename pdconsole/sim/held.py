"""KV that a prefill replica keeps for decode replicas, each under a lease."""

from __future__ import annotations

import heapq
import math

import msgspec

from pdconsole.sim.blocks import BlockPool


class Expired(msgspec.Struct, frozen=True):
    """A prefill replica freed KV that nobody fetched in time."""

    request_id: str
    at: float


class HeldKv:
    """Blocks by request id; freed when fetched, or when the lease runs out."""

    def __init__(self, pool: BlockPool, lease_s: float) -> None:
        self._pool = pool
        self._lease_s = lease_s
        self._blocks: dict[str, list[int]] = {}
        self._until: dict[str, float] = {}
        self._leases: list[tuple[float, str]] = []  # heap; entries of renewed leases are stale

    def __len__(self) -> int:
        return len(self._blocks)

    def keep(self, request_id: str, blocks: list[int], now: float) -> float:
        """Returns when the lease runs out."""
        self._blocks[request_id] = blocks
        return self._lease(request_id, now)

    def renew(self, request_id: str, now: float) -> bool:
        """False: it is gone."""
        if request_id not in self._blocks:
            return False
        self._lease(request_id, now)
        return True

    def _lease(self, request_id: str, now: float) -> float:
        until = now + self._lease_s
        self._until[request_id] = until
        heapq.heappush(self._leases, (until, request_id))
        return until

    def release(self, request_id: str) -> bool:
        """False: it is gone."""
        blocks = self._blocks.pop(request_id, None)
        if blocks is None:
            return False
        del self._until[request_id]
        self._pool.release(blocks)
        return True

    def next_event(self) -> float:
        """When a lease may run out; inf where nothing is held."""
        return self._leases[0][0] if self._leases else math.inf

    def expire(self, now: float) -> list[Expired]:
        expired: list[Expired] = []
        while self._leases and self._leases[0][0] <= now:
            when, request_id = heapq.heappop(self._leases)
            if self._until.get(request_id, math.inf) <= when and self.release(request_id):
                expired.append(Expired(request_id, when))
        return expired
