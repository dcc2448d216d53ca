"""A node in memory: processes come up, die or hang as told, on a clock that only sleeps move."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from pdconsole.remote.errors import RemoteError
from pdconsole.remote.values import HttpReply, ProcessInfo, ProcessSpec
from pdconsole.serving.plan import DeploymentPlan, PlannedProcess
from pdconsole.serving.startup import Pace


class FakeClock:
    def __init__(self) -> None:
        self.now = 100.0
        self.slept = asyncio.Event()

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.slept.set()
        await asyncio.sleep(0)

    @property
    def pace(self) -> Pace:
        return Pace(poll_s=1.0, link_grace_s=10.0, clock=self, sleep=self.sleep)


@dataclass
class Behaviour:
    """Of a process by name. Times are seconds after its start."""

    ready_s: float | None = 2.0  # None: never
    dies_s: float | None = None
    exit_code: int = 1
    log: str = "INFO loading weights"
    refuses_to_die: bool = False


@dataclass
class _Child:
    spec: ProcessSpec
    started: float
    state: str = "running"


@dataclass
class FakeNode:
    """The part of NodeClient that serving uses. `calls` is shared by all nodes of a test."""

    node: str
    clock: FakeClock
    plan: DeploymentPlan
    behave: Callable[[str], Behaviour]
    calls: list[tuple[str, ...]]
    occupied: str = ""
    foreign: str = ""  # the name of a process at whose URL somebody else answers
    lost: Callable[[float], bool] = lambda _: False
    locked: set[int] = field(default_factory=set)
    children: dict[str, _Child] = field(default_factory=dict)

    def _connected(self) -> None:
        if self.lost(self.clock.now):
            raise RemoteError(self.node, "lost", "the connection broke; check the network")

    def _behaviour(self, token: str) -> Behaviour:
        return self.behave(token.rsplit("/", 1)[1])

    def _age(self, child: _Child) -> float:
        return self.clock.now - child.started

    def _info(self, token: str) -> ProcessInfo:
        child, behaviour = self.children[token], self._behaviour(token)
        dies = behaviour.dies_s
        if child.state == "running" and dies is not None and self._age(child) >= dies:
            child.state = "exited"
        return ProcessInfo(
            token=token,
            pid=1,
            state=child.state,  # type: ignore[arg-type]
            exit_code=behaviour.exit_code if child.state == "exited" else None,
            log_size=len(behaviour.log.encode()),
            last_log=behaviour.log,
        )

    @property
    def running(self) -> set[str]:
        alive = (token for token in self.children if self._info(token).state == "running")
        return {token.rsplit("/", 1)[1] for token in alive}

    async def lock(self, slots: Sequence[int]) -> None:
        await asyncio.sleep(0)
        self.calls.append(("lock", self.node, *map(str, slots)))
        if self.occupied:
            raise RemoteError(self.node, "occupied", self.occupied)
        self.locked |= set(slots)

    async def unlock(self, slots: Sequence[int] | None = None) -> None:
        await asyncio.sleep(0)
        self.locked -= self.locked if slots is None else set(slots)

    async def start(self, spec: ProcessSpec) -> ProcessInfo:
        self._connected()
        await asyncio.sleep(0)
        child = self.children.get(spec.token)
        if child is None or child.state != "running":
            self.calls.append(("start", self.node, spec.token.rsplit("/", 1)[1]))
            self.children[spec.token] = _Child(spec, self.clock.now)
        return self._info(spec.token)

    async def stop(self, tokens: Sequence[str], grace_s: float = 10.0) -> list[ProcessInfo]:
        self._connected()
        await asyncio.sleep(0)
        known = [token for token in tokens if token in self.children]
        for token in known:
            if self._info(token).state == "running" and not self._behaviour(token).refuses_to_die:
                self.calls.append(("stop", self.node, token.rsplit("/", 1)[1]))
                self.children[token].state = "killed"
        return [self._info(token) for token in known]

    async def processes(self) -> list[ProcessInfo]:
        self._connected()
        await asyncio.sleep(0)
        return [self._info(token) for token in self.children]

    async def http(self, method: str, url: str, **_: Any) -> HttpReply:
        await asyncio.sleep(0)
        process = self._at(url)
        if process.name == self.foreign:
            return HttpReply(status=200, body=b"", elapsed_ms=1.0)
        token = self.plan.token(process)
        child = self.children.get(token)
        ready = self._behaviour(token).ready_s
        if child is None or self._info(token).state != "running" or ready is None:
            raise RemoteError(self.node, "http", f"cannot connect to {url}")
        if self._age(child) < ready:
            raise RemoteError(self.node, "http", f"cannot connect to {url}")
        return HttpReply(status=200, body=b"", elapsed_ms=1.0)

    def _at(self, url: str) -> PlannedProcess:
        return next(p for p in self.plan.processes if url.startswith(p.url))

    async def read(self, token: str, name: str, offset: int = 0, limit: int = 1 << 20) -> bytes:
        await asyncio.sleep(0)
        if name == "log":
            return self._behaviour(token).log.encode()[offset:]
        files = self.children[token].spec.files
        if name not in files:
            raise RemoteError(self.node, "missing", f"no file {name}")
        return files[name].encode()

    async def follow(self, token: str, *, log_offset: int = 0, records_offset: int = 0) -> None:
        await asyncio.sleep(0)
        self.calls.append(("follow", self.node, token.rsplit("/", 1)[1], str(log_offset)))
