"""How a replica's KV changes hands: the parameters of the two-step protocol, and the contacts."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from pdconsole.sim.arguments import KvTransferConfig
from pdconsole.sim.completions import KvTransferParams
from pdconsole.sim.engine import Replica
from pdconsole.sim.sequence import RemoteKv, Sequence
from pdconsole.sim.side_channel import Identity, Peers, SideChannelError, SideChannelServer

RENEW_EVERY_S = 5.0


class KvUnreachableError(Exception):
    """A prefill replica that holds a request's KV cannot be reached; the message says why."""


class KvHandover:
    """Both sides of it for one replica: it may hold KV for others, and fetch theirs."""

    def __init__(
        self, config: KvTransferConfig, identity: Identity, address: tuple[str, int]
    ) -> None:
        self.recompute = config.kv_load_failure_policy == "recompute"
        self.on_peer_lost: Callable[[str, list[str]], None] = _nobody
        self._identity = identity
        self._address = address
        self._peers = Peers(identity, on_lost=self._lost)
        self._wanted: dict[str, RemoteKv] = {}  # by our sequence's id
        self._server: asyncio.Server | None = None

    # --- held for others ---

    async def listen(self, replica: Replica, tick: Callable[[], None]) -> None:
        """Raises OSError where the side channel's address cannot be had."""

        def fetched(request_id: str) -> None:
            replica.release_held(request_id, time.monotonic())
            tick()

        def renewed(request_id: str) -> None:
            replica.held.renew(request_id, time.monotonic())

        server = SideChannelServer(self._identity, on_fetched=fetched, on_renew=renewed)
        self._server = await server.listen(*self._address)

    def params_of(self, sequence: Sequence, replica: Replica) -> dict[str, Any]:
        """What the router carries to the decode replica."""
        host, port = self._address
        return {
            "do_remote_prefill": True,
            "do_remote_decode": False,
            "remote_block_ids": [sequence.blocks],
            "remote_engine_id": self._identity.engine_id,
            "remote_request_id": sequence.id,
            "remote_host": host,
            "remote_port": port,
            "tp_size": replica.settings.tp,
            "dcp_size": 1,
            "pp_size": 1,
            "remote_num_tokens": sequence.prompt,
            "remote_blocks_expiry_time": time.time() + replica.settings.lease_s,
            "transfer_mode": "pull",
            "remote_prefill_cached_tokens": sequence.cached,
        }

    # --- fetched from others ---

    def remote_of(self, params: KvTransferParams) -> RemoteKv | None:
        """None where something is missing that a fetch needs."""
        blocks = params.remote_block_ids
        if not (params.remote_engine_id and params.remote_request_id and blocks):
            return None
        if not (params.remote_host and params.remote_port):
            return None
        first = blocks[0]
        ids = first if isinstance(first, list) else [b for b in blocks if isinstance(b, int)]
        return RemoteKv(
            engine_id=params.remote_engine_id,
            request_id=params.remote_request_id,
            tp=params.tp_size,
            blocks=tuple(ids),
        )

    def knows(self, engine_id: str) -> bool:
        return self._peers.knows(engine_id)

    async def contact(self, params: KvTransferParams) -> None:
        """Raises KvUnreachableError."""
        assert params.remote_engine_id is not None
        assert params.remote_host is not None
        assert params.remote_port is not None
        try:
            await self._peers.contact(
                params.remote_engine_id, params.remote_host, params.remote_port
            )
        except SideChannelError as error:
            raise KvUnreachableError(str(error)) from error

    def wants(self, sequence_id: str, remote: RemoteKv) -> None:
        """This sequence's KV is to be fetched: its lease is renewed until `done`."""
        self._wanted[sequence_id] = remote

    def done(self, sequence_id: str) -> bool:
        """Fetched, or wanted no longer. False: the prefill replica could not be told."""
        remote = self._wanted.pop(sequence_id, None)
        return remote is None or self._peers.tell_fetched(remote.engine_id, remote.request_id)

    async def renew_forever(self) -> None:
        while True:
            await asyncio.sleep(RENEW_EVERY_S)
            by_engine: dict[str, list[str]] = {}
            for remote in self._wanted.values():
                by_engine.setdefault(remote.engine_id, []).append(remote.request_id)
            for engine_id, request_ids in by_engine.items():
                self._peers.renew(engine_id, request_ids)

    def _lost(self, engine_id: str) -> None:
        ours = [key for key, remote in self._wanted.items() if remote.engine_id == engine_id]
        for sequence_id in ours:
            del self._wanted[sequence_id]
        self.on_peer_lost(engine_id, ours)


def _nobody(engine_id: str, sequence_ids: list[str]) -> None:
    """Nobody wants to know of a lost peer yet."""
