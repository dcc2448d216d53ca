"""Follows a running load driver until it is done, somebody ends it, or something dies."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Literal, Protocol

from pdconsole.measure.deployment import Process
from pdconsole.measure.driver_log import DriverLog
from pdconsole.measure.errors import MeasureError
from pdconsole.measure.scrape import Scrape
from pdconsole.model.events import Event
from pdconsole.remote.client import NodeClient
from pdconsole.remote.errors import RemoteError
from pdconsole.remote.values import LinkChanged, News, ProcessChanged, ProcessInfo, Records
from pdconsole.serving.failures_at_work import complaint
from pdconsole.serving.startup_failures import diagnose

# A driver ticks once a second; before its first tick it may prime caches or warm pairs.
SILENT_S = 60.0
FIRST_WORD_S = 1200.0
LAST_LINES = 3

Ending = Literal["finished", "skipped", "stopped"]


class Control(Protocol):
    """What operators wish; either event ends the point."""

    stop_requested: asyncio.Event
    skip_requested: asyncio.Event


class DriverWatch:
    """`members` are the deployment's processes by token; `scrape` reads all servers, now."""

    def __init__(
        self,
        log: DriverLog,
        *,
        point: str,
        token: str,
        node: str,
        members: Mapping[str, Process],
        nodes: Mapping[str, NodeClient],
        lease_s: float,
        emit: Callable[[Event], None],
        scrape: Callable[[], Awaitable[Scrape]],
    ) -> None:
        self._log = log
        self._point = point
        self._token = token
        self._node = node
        self._members = members
        self._nodes = nodes
        self._watched_nodes = {node, *(member.node for member in members.values())}
        self._lease_s = lease_s
        self._emit = emit
        self._scrape = scrape
        self._opening: asyncio.Task[Scrape] | None = None
        self._closing: asyncio.Task[Scrape] | None = None
        self._heard_at = 0.0
        self._lost_since: dict[str, float] = {}
        self.failed = False
        self.dead = False  # a process of the deployment is, and that was told
        self.given_up = ""  # the node whose lease ran out

    async def until_over(self, news: asyncio.Queue[News], control: Control) -> Ending:
        """Raises MeasureError naming what died."""
        self._heard_at = _now()
        wishes: dict[asyncio.Task[Literal[True]], Ending] = {
            asyncio.ensure_future(control.stop_requested.wait()): "stopped",
            asyncio.ensure_future(control.skip_requested.wait()): "skipped",
        }
        coming = asyncio.ensure_future(news.get())
        try:
            while True:
                await asyncio.wait(
                    {coming, *wishes},
                    timeout=max(0.0, self._deadline() - _now()),
                    return_when=asyncio.FIRST_COMPLETED,
                )
                for wish, ending in wishes.items():
                    if wish.done():
                        return ending
                if not coming.done():
                    self._check_time()
                    continue
                if await self._take(coming.result()):
                    return "finished"
                coming = asyncio.ensure_future(news.get())
        except MeasureError:
            self.failed = True
            raise
        finally:
            for task in (coming, *wishes):
                task.cancel()

    async def scrapes(self) -> tuple[Scrape | None, Scrape | None]:
        """Of the window's opening and closing; None for one that never came."""
        opening = await self._opening if self._opening else None
        return opening, await self._closing if self._closing else None

    def cancel(self) -> None:
        """Gives up scrapes that are under way."""
        for task in (self._opening, self._closing):
            if task is not None and not task.done():
                task.cancel()

    async def _take(self, news: News) -> bool:
        """True when the driver has ended well."""
        match news:
            case Records(token=self._token, lines=lines):
                self._heard_at = _now()
                for line in lines:
                    self._hear(line)
            case LinkChanged(node=node) if node in self._watched_nodes:
                self._link(news)
            case ProcessChanged(info=info) if info.state != "running":
                if info.token == self._token:
                    await self._driver_ended(info)
                    return True
                if info.token in self._members:
                    raise MeasureError(self._death(info))
            case _:
                pass
        return False

    def _hear(self, line: bytes) -> None:
        for event in self._log.take(line):
            self._emit(event)
        if self._log.phase == "window" and self._opening is None:
            self._opening = asyncio.ensure_future(self._scrape())
        if self._log.phase in ("drain", "done") and self._closing is None:
            self._closing = asyncio.ensure_future(self._scrape())

    def _link(self, news: LinkChanged) -> None:
        if news.status == "up":
            self._lost_since.pop(news.node, None)
            self._heard_at = _now()
        elif news.status == "closed":
            raise MeasureError(
                f"Point {self._point}: the connection to {news.node} was closed in its middle"
            )
        else:
            self._lost_since.setdefault(news.node, _now())

    def _deadline(self) -> float:
        """When waiting longer would be in vain."""
        if self._lost_since:
            return min(self._lost_since.values()) + self._lease_s
        return self._heard_at + (SILENT_S if self._log.ticked else FIRST_WORD_S)

    def _check_time(self) -> None:
        if _now() < self._deadline():
            return
        if self._lost_since:
            node = self.given_up = min(self._lost_since, key=self._lost_since.__getitem__)
            raise MeasureError(
                f"Point {self._point}: {node} could not be reached for {self._lease_s:.0f} s, after"
                " which it has ended everything itself; see whether it is up, then resume"
            )
        raise MeasureError(
            f"Point {self._point}: the load driver on {self._node} has said nothing for"
            f" {_now() - self._heard_at:.0f} s; see whether that node hangs"
        )

    async def _driver_ended(self, info: ProcessInfo) -> None:
        """Raises MeasureError unless it ended well."""
        log = self._log
        if log.summary is not None and not log.summary.stopped and info.exit_code == 0:
            return
        dead = await self._dead_member()
        if dead is not None:
            raise MeasureError(self._death(dead))
        where = f"Point {self._point}: the load driver on {self._node}"
        if log.fatal:
            raise MeasureError(f"{where} gave up: {log.fatal}")
        if log.summary is not None and log.summary.stopped:
            raise MeasureError(f"{where} was ended from outside before its window was over")
        raise MeasureError(f"{where} {_how(info)}{_last_lines(info)}")

    async def _dead_member(self) -> ProcessInfo | None:
        """A process of the deployment that is not running: then that is why the driver gave up."""
        for node in sorted(self._watched_nodes):
            try:
                infos = await self._nodes[node].processes()
            except RemoteError:
                continue  # the driver's own end is told instead
            for info in infos:
                if info.token in self._members and info.state != "running":
                    return info
        return None

    def _death(self, info: ProcessInfo) -> str:
        self.dead = True
        member = self._members[info.token]
        cause = complaint(info.last_log) or diagnose(info.last_log, info.exit_code)
        why = f": {cause.what}. Next: {cause.advice}" if cause.what else ""
        what = "the router" if member.role == "router" else member.name
        return (
            f"Point {self._point}: {what} on {member.node} {_how(info)} in the middle of it"
            f"{why}{_last_lines(info)}"
        )


def _how(info: ProcessInfo) -> str:
    if info.state == "killed":
        return f"was ended ({info.reason})" if info.reason else "was ended"
    if info.exit_code is not None and info.exit_code < 0:
        return f"was killed by signal {-info.exit_code}"
    return "ended" if info.exit_code is None else f"ended with exit code {info.exit_code}"


def _last_lines(info: ProcessInfo) -> str:
    lines = [line.strip() for line in info.last_log.splitlines() if line.strip()]
    return f"; its last lines: {' / '.join(lines[-LAST_LINES:])}" if lines else ""


def _now() -> float:
    return asyncio.get_running_loop().time()
