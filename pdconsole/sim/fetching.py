"""A decode replica's fetching of KV: first contact, posting, the shared link, the end."""

from __future__ import annotations

import heapq

import msgspec

from pdconsole.sim.blocks import merged_share
from pdconsole.sim.constants import EngineConstants, LinkConstants
from pdconsole.sim.sequence import RemoteKv, Sequence
from pdconsole.sim.transfer import SharedLink, TransferCost, transfer_cost

POST_S = 1e-3  # of a transfer whose descriptors all merge


class Fetched(msgspec.Struct, frozen=True, kw_only=True):
    """A decode replica has a request's KV; `bytes` is 0 where its own cache had enough."""

    sequence: Sequence
    posted: float
    at: float
    bytes: float
    post_s: float
    descriptors: int


class _Fetch(msgspec.Struct, frozen=True, eq=False):
    sequence: Sequence
    cost: TransferCost
    posted: float


class Fetcher:
    """Fetches in progress of one decode replica.

    `stands_until` is when the replica may compute again: a handshake and the posting of unmerged
    descriptors stop it.
    """

    def __init__(self, engine: EngineConstants, link: LinkConstants, tp: int, layers: int) -> None:
        self.stands_until = 0.0
        self.handshakes = 0
        self._engine = engine
        self._constants = link
        self._tp = tp
        self._layers = layers
        self._peers: dict[str, float] = {}  # engine id -> when its handshake is done
        self._pending: list[tuple[float, int, Sequence]] = []  # heap: wait for a handshake
        self._link: SharedLink[_Fetch] = SharedLink(link.gbps * 1e9 * tp)
        self._landing: list[tuple[float, int, _Fetch]] = []  # heap: all bytes sent
        self._count = 0

    def __len__(self) -> int:
        return len(self._pending) + self.in_progress

    @property
    def in_progress(self) -> int:
        return len(self._link) + len(self._landing)

    def start(self, sequence: Sequence, remote: RemoteKv, now: float) -> None:
        """Fetch `sequence.external` tokens; the first contact with an engine is a handshake."""
        ready = self._peers.get(remote.engine_id)
        if ready is None:
            ready = now + self._constants.handshake_s
            self._peers[remote.engine_id] = ready
            self.handshakes += 1
            self._stand(self._constants.handshake_s * self._engine.handshake_blocking_share, now)
        if ready <= now:
            self._post(sequence, remote, now)
        else:
            self._count += 1
            heapq.heappush(self._pending, (ready, self._count, sequence))

    def forget(self, engine_id: str) -> None:
        """The peer is gone; the next contact is a first one."""
        self._peers.pop(engine_id, None)

    def next_event(self) -> float:
        when = self._link.next_end()
        if self._pending:
            when = min(when, self._pending[0][0])
        if self._landing:
            when = min(when, self._landing[0][0])
        return when

    def advance(self, now: float) -> list[Fetched]:
        """Post what was waiting for a handshake; what has arrived by `now`, in order."""
        for ended, fetch in self._link.finish(now):
            self._count += 1
            heapq.heappush(self._landing, (ended + fetch.cost.latency_s, self._count, fetch))
        while self._pending and self._pending[0][0] <= now:
            sequence = heapq.heappop(self._pending)[2]
            if sequence.remote is not None:
                self._post(sequence, sequence.remote, now)
        arrived: list[Fetched] = []
        while self._landing and self._landing[0][0] <= now:
            at, _, fetch = heapq.heappop(self._landing)
            arrived.append(
                Fetched(
                    sequence=fetch.sequence,
                    posted=fetch.posted,
                    at=at,
                    bytes=fetch.cost.bytes,
                    post_s=POST_S + fetch.cost.blocked_s,
                    descriptors=fetch.cost.descriptors,
                )
            )
        return arrived

    def _post(self, sequence: Sequence, remote: RemoteKv, now: float) -> None:
        cost = transfer_cost(
            self._engine,
            self._constants,
            tokens=sequence.external,
            prefill_tp=remote.tp,
            decode_tp=self._tp,
            merged=merged_share(remote.blocks, sequence.blocks),
            layers=self._layers,
        )
        self._stand(cost.blocked_s, now)
        # Each rank pair has its own share of the link; where the degrees differ, some stay idle.
        share = cost.bytes * self._tp / min(self._tp, remote.tp)
        self._link.start(_Fetch(sequence, cost, now), share, now)

    def _stand(self, seconds: float, now: float) -> None:
        self.stands_until = max(self.stands_until, now) + seconds


def without_transfer(sequence: Sequence, now: float) -> Fetched:
    """The replica's own cache had enough; the prefill replica can let go all the same."""
    return Fetched(sequence=sequence, posted=now, at=now, bytes=0.0, post_s=0.0, descriptors=0)
