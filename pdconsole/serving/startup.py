"""One deployment coming up: processes started or adopted, their health waited for."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from pdconsole.model.events import Event, ProcessState, ProcessStatus
from pdconsole.remote.errors import RemoteError
from pdconsole.remote.values import ProcessInfo
from pdconsole.serving.errors import DeploymentError
from pdconsole.serving.log_words import Diagnosis, log_lines
from pdconsole.serving.plan import PLAN_FILE, DeploymentPlan, PlannedProcess
from pdconsole.serving.startup_failures import diagnose, stuck

if TYPE_CHECKING:
    from pdconsole.remote.client import NodeClient

Emit = Callable[[Event], None]
T = TypeVar("T")

LOG_TAIL_BYTES = 1 << 16  # a cause may stand a traceback or two above the last line
SHOWN_LINES = 12


@dataclasses.dataclass(frozen=True)
class Pace:
    """How often a deployment is looked at, and how long a lost node is waited for."""

    poll_s: float = 0.5
    health_timeout_s: float = 5.0
    link_grace_s: float = 60.0
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep


class Startup:
    """Raises DeploymentError or RemoteError; stops nothing."""

    def __init__(
        self,
        plan: DeploymentPlan,
        nodes: Mapping[str, NodeClient],
        emit: Emit,
        timeout_s: float,
        log_offset: Callable[[PlannedProcess], int],
        pace: Pace,
        secrets: Mapping[str, str],
    ) -> None:
        self._plan = plan
        self._secrets = secrets
        self._nodes = nodes
        self._emit = emit
        self._timeout_s = timeout_s
        self._log_offset = log_offset
        self._pace = pace
        self._up: list[PlannedProcess] = []  # started or adopted, in this order
        self._adopted: set[str] = set()
        self._ready: set[str] = set()
        self._last_line: dict[str, str] = {}
        self._lost_since: dict[str, float] = {}
        self.failed: set[str] = set()  # names whose failure was reported

    async def bring_up(self, stage: Iterable[PlannedProcess]) -> None:
        processes = tuple(stage)
        began = self._pace.clock()
        infos = await self._infos(dict.fromkeys(p.node for p in processes))
        started = await outcomes(self._start(p, infos.get(self._plan.token(p))) for p in processes)
        for outcome in started:
            if outcome is not None:
                raise outcome
        self._up += processes
        pending = list(processes)
        while pending:
            await self._look_for_the_dead()
            wait_s = self._pace.health_timeout_s
            healthy = await asyncio.gather(
                *(answers_health(p, self._nodes[p.node], wait_s) for p in pending)
            )
            for process, ready in zip(tuple(pending), healthy, strict=True):
                if ready:
                    pending.remove(process)
                    self._ready.add(process.name)
                    took = f"after {self._pace.clock() - began:.1f} s"
                    adopted = process.name in self._adopted
                    self._tell(process, "ready", "ran already" if adopted else took)
            if pending and self._pace.clock() - began > self._timeout_s:
                self._give_up(pending)
            if pending:
                await self._pace.sleep(self._pace.poll_s)

    async def _start(self, process: PlannedProcess, known: ProcessInfo | None) -> None:
        client, token = self._nodes[process.node], self._plan.token(process)
        self._tell(process, "starting")
        if known is not None and known.state == "running":
            if await self._digest(process) == process.digest:
                self._adopted.add(process.name)
            else:
                await client.stop((token,))
        await self._refuse_a_foreigner(process)
        try:
            await client.start(self._plan.spec(process, self._secrets))
        except RemoteError as error:
            self._fail(process, f"{process.name} could not be started. {error}", ())
        # A process that was started anew writes a new log.
        offset = self._log_offset(process) if process.name in self._adopted else 0
        await client.follow(token, log_offset=offset)
        self._tell(process, "loading")

    async def _refuse_a_foreigner(self, process: PlannedProcess) -> None:
        """Who answers there before the process was started would be taken for it, and measured."""
        client = self._nodes[process.node]
        wait_s = self._pace.health_timeout_s
        if process.name not in self._adopted and await answers_health(process, client, wait_s):
            self._fail(
                process,
                f"{process.name} was not started on {process.node}: somebody answers at "
                f"{process.health_url} already. Next: run `pdconsole clean` for leftovers of ours, "
                "or move the ports of the cluster profile",
                (),
            )

    async def _digest(self, process: PlannedProcess) -> str:
        """Of the plan by which the running process was started; empty if it left none."""
        client = self._nodes[process.node]
        try:
            return (await client.read(self._plan.token(process), PLAN_FILE)).decode().strip()
        except RemoteError as error:
            if error.kind != "missing":
                raise
            return ""

    async def _look_for_the_dead(self) -> None:
        """Notes each process's last log line; raises for one that ended."""
        nodes = [n for n in self._plan.nodes if any(p.node == n for p in self._up)]
        found = await outcomes(self._nodes[node].processes() for node in nodes)
        for node, infos in zip(nodes, found, strict=True):
            if isinstance(infos, RemoteError):
                self._bear_with(node, infos)
                continue
            if isinstance(infos, BaseException):
                raise infos
            self._lost_since.pop(node, None)
            by_token = {info.token: info for info in infos}
            for process in (p for p in self._up if p.node == node):
                info = by_token.get(self._plan.token(process))
                if info is None or info.state != "running":
                    await self._report_dead(process, info)
                elif process.name not in self._ready and (cause := stuck(info.last_log)):
                    lines = log_lines(info.last_log, SHOWN_LINES)
                    self._report(process, "cannot come up", cause, lines)
                else:
                    self._show_progress(process, info)

    def _bear_with(self, node: str, error: RemoteError) -> None:
        """A link may come back; nothing ends on the node meanwhile, thanks to its lease."""
        now = self._pace.clock()
        if now - self._lost_since.setdefault(node, now) > self._pace.link_grace_s:
            raise error

    def _show_progress(self, process: PlannedProcess, info: ProcessInfo) -> None:
        lines = log_lines(info.last_log, 1)
        if process.name in self._ready or not lines:
            return
        if lines[0] != self._last_line.get(process.name):
            self._last_line[process.name] = lines[0]
            self._tell(process, "loading")

    async def _infos(self, nodes: Iterable[str]) -> dict[str, ProcessInfo]:
        lists = await asyncio.gather(*(self._nodes[node].processes() for node in nodes))
        return {info.token: info for infos in lists for info in infos}

    async def _report_dead(self, process: PlannedProcess, info: ProcessInfo | None) -> NoReturn:
        log = "" if info is None else await self._tail(process, info)
        exit_code = None if info is None else info.exit_code
        cause = diagnose(log, exit_code)
        how = "ended" if exit_code is None else f"ended with exit code {exit_code}"
        self._report(process, f"{how} during start-up", cause, log_lines(log, SHOWN_LINES))

    def _report(
        self, process: PlannedProcess, how: str, cause: Diagnosis, lines: tuple[str, ...]
    ) -> NoReturn:
        why = f": {cause.what}" if cause.what else ""
        said = f" It said: {cause.line}" if cause.line else ""
        advice = cause.advice or (
            f"read its log, logs/{process.node}/{self._plan.run}-{process.name}.log of the session"
        )
        self._fail(
            process,
            f"{process.name} on {process.node} {how}{why}. Next: {advice}.{said}",
            lines,
        )

    async def _tail(self, process: PlannedProcess, info: ProcessInfo) -> str:
        offset = max(0, info.log_size - LOG_TAIL_BYTES)
        try:
            tail = await self._nodes[process.node].read(info.token, "log", offset)
        except RemoteError:
            return info.last_log
        return tail.decode(errors="replace")

    def _give_up(self, pending: list[PlannedProcess]) -> NoReturn:
        process = pending[0]
        others = f" (nor did {', '.join(p.name for p in pending[1:])})" if pending[1:] else ""
        line = self._last_line.get(process.name, "")
        self._fail(
            process,
            f"{process.name} on {process.node} did not answer {process.health_url} within "
            f"{self._timeout_s:g} s{others}. Next: if its log shows progress, raise "
            f"startup_timeout_s of the cluster profile. It said last: {line or 'nothing'}",
            (line,) if line else (),
        )

    def _fail(self, process: PlannedProcess, message: str, lines: tuple[str, ...]) -> NoReturn:
        self._tell(process, "failed", message=message)
        self.failed.add(process.name)
        raise DeploymentError(message, process=process.name, node=process.node, last_lines=lines)

    def _tell(self, process: PlannedProcess, status: ProcessStatus, message: str = "") -> None:
        line = self._last_line.get(process.name, "")
        self._emit(process_state(self._plan, process, status, message=message, last_log=line))


def process_state(
    plan: DeploymentPlan,
    process: PlannedProcess,
    status: ProcessStatus,
    *,
    message: str = "",
    last_log: str = "",
) -> ProcessState:
    return ProcessState(
        run=plan.run,
        process=process.name,
        node=process.node,
        status=status,
        role=process.role,
        tp=process.tp,
        # What Ray holds on a node is shown as what its replicas have.
        slots=() if process.role == "ray" else process.slots,
        url=process.url,
        message=message,
        last_log=last_log,
    )


async def answers_health(process: PlannedProcess, client: NodeClient, timeout_s: float) -> bool:
    """Whether the process says 200 to its own node."""
    try:
        reply = await client.http("GET", process.health_url, timeout_s=timeout_s)
    except RemoteError:
        return False  # not listening; what is wrong with a node shows in its processes
    return reply.status == 200


async def outcomes(jobs: Iterable[Coroutine[Any, Any, T]]) -> list[T | BaseException]:
    """The result or the exception of each, once all have ended: none is left half done."""
    return await asyncio.gather(*jobs, return_exceptions=True)
