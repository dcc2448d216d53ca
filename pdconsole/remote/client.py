"""A node as the rest of pdconsole sees it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from pdconsole.remote.errors import RemoteError
from pdconsole.remote.values import (
    HttpReply,
    Inventory,
    News,
    ProcessInfo,
    ProcessSpec,
    SshTarget,
)

__all__ = ["NodeClient", "RemoteError"]


class NodeClient:
    """One connection and one agent of one session on one node."""

    def __init__(
        self,
        target: SshTarget,
        session: str,
        on_news: Callable[[News], None],
        *,
        lease_s: float = 300.0,
        lease_policy: Literal["kill", "keep"] = "kill",
        version_commands: Mapping[str, Sequence[str]] | None = None,
        version_env: Mapping[str, str] | None = None,
    ) -> None:
        raise NotImplementedError

    @property
    def node(self) -> str:
        raise NotImplementedError

    async def open(self) -> Inventory:
        raise NotImplementedError

    async def close(self, *, end_agent: bool = False) -> None:
        raise NotImplementedError

    async def inventory(self) -> Inventory:
        raise NotImplementedError

    async def lock(self, slots: Sequence[int]) -> None:
        raise NotImplementedError

    async def unlock(self, slots: Sequence[int] | None = None) -> None:
        raise NotImplementedError

    async def start(self, spec: ProcessSpec) -> ProcessInfo:
        raise NotImplementedError

    async def stop(self, tokens: Sequence[str], grace_s: float = 10.0) -> list[ProcessInfo]:
        raise NotImplementedError

    async def processes(self) -> list[ProcessInfo]:
        raise NotImplementedError

    async def http(
        self,
        method: str,
        url: str,
        *,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        timeout_s: float = 10.0,
    ) -> HttpReply:
        raise NotImplementedError

    async def read(self, token: str, name: str, offset: int = 0, limit: int = 1 << 20) -> bytes:
        raise NotImplementedError

    async def watch(
        self,
        *,
        gpus_s: float | None = None,
        nics_s: float | None = None,
        metrics: Mapping[str, tuple[str, float]] | None = None,
    ) -> None:
        raise NotImplementedError

    async def follow(self, token: str, *, log_offset: int = 0, records_offset: int = 0) -> None:
        raise NotImplementedError

    async def find_leftovers(self) -> list[ProcessInfo]:
        raise NotImplementedError

    async def clean(self, tokens: Sequence[str], grace_s: float = 10.0) -> None:
        raise NotImplementedError
