"""Brings a planned run up, stage by stage, and takes it down again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING

from pdconsole.model.events import Event
from pdconsole.remote.errors import RemoteError
from pdconsole.remote.values import ProcessInfo
from pdconsole.serving.errors import DeploymentError, ServingError
from pdconsole.serving.log_words import log_lines
from pdconsole.serving.plan import DeploymentPlan, PlannedProcess
from pdconsole.serving.startup import Emit, Pace, Startup, answers_health, outcomes, process_state

if TYPE_CHECKING:
    from pdconsole.remote.client import NodeClient

__all__ = ["Pace", "is_healthy", "start", "stop"]


async def start(
    plan: DeploymentPlan,
    nodes: Mapping[str, NodeClient],
    emit: Emit,
    *,
    startup_timeout_s: float,
    log_offset: Callable[[PlannedProcess], int] = lambda _: 0,
    secrets: Mapping[str, str] | None = None,
    pace: Pace | None = None,
) -> None:
    """Returns when every process answers; each stage has `startup_timeout_s`.

    A process that runs already under the same plan is adopted, one under another plan is
    restarted. Every process's log is followed, an adopted one's from its `log_offset` (bytes) on.
    `secrets`: the variables that processes of the plan name.
    Raises DeploymentError naming the process, its node and its last words; before that, and when
    cancelled, everything of the plan is stopped.
    """
    startup = Startup(
        plan, nodes, emit, startup_timeout_s, log_offset, pace or Pace(), secrets or {}
    )
    try:
        await _bring_up(plan, nodes, startup)
    except BaseException as error:
        undoing = asyncio.ensure_future(_stop(plan, nodes, emit, told=startup.failed))
        try:
            # Shielded, so that a second cancellation cannot leave half of it running.
            await asyncio.shield(undoing)
        except DeploymentError as left:
            if isinstance(error, DeploymentError):
                raise error.also(str(left)) from error
            error.add_note(str(left))
        raise


async def is_healthy(plan: DeploymentPlan, nodes: Mapping[str, NodeClient]) -> bool:
    """Whether every process of the plan answers now; an unreachable node does not."""
    pace = Pace()
    answers = await asyncio.gather(
        *(answers_health(p, nodes[p.node], pace.health_timeout_s) for p in plan.processes)
    )
    return all(answers)


async def _bring_up(
    plan: DeploymentPlan, nodes: Mapping[str, NodeClient], startup: Startup
) -> None:
    try:
        await _lock(plan, nodes)
        for stage in plan.stages:
            await startup.bring_up(stage)
    except RemoteError as error:
        raise DeploymentError(str(error), node=error.node) from error


async def stop(plan: DeploymentPlan, nodes: Mapping[str, NodeClient], emit: Emit) -> None:
    """End the router, then the workers, see that they are gone, and free their slots.

    What does not run is passed over. Every node is tried; raises DeploymentError naming what may
    still run.
    """
    await _stop(plan, nodes, emit, told=frozenset())


async def _lock(plan: DeploymentPlan, nodes: Mapping[str, NodeClient]) -> None:
    for node in plan.nodes:
        if node not in nodes:
            raise DeploymentError(f"Node {node} is needed for run {plan.run} but not connected")
    for node in plan.nodes:
        slots = plan.slots_of(node)
        if slots:
            await nodes[node].lock(slots)


async def _stop(
    plan: DeploymentPlan,
    nodes: Mapping[str, NodeClient],
    emit: Emit,
    *,
    told: Collection[str],
) -> None:
    """`told`: names of processes whose end has been reported already."""
    problems: dict[str, str] = {}  # node -> sentence
    for stage in reversed(plan.stages):
        here = [node for node in dict.fromkeys(p.node for p in stage) if node in nodes]
        ended = await outcomes(
            _stop_on(plan, [p for p in stage if p.node == node], nodes[node], emit, told)
            for node in here
        )
        for node, outcome in zip(here, ended, strict=True):
            if isinstance(outcome, (RemoteError, ServingError)):
                problems[node] = str(outcome)
            elif isinstance(outcome, BaseException):
                raise outcome
    for node in plan.nodes:
        slots = plan.slots_of(node)
        if slots and node in nodes and node not in problems:
            try:
                await nodes[node].unlock(slots)
            except RemoteError as error:
                problems[node] = str(error)
    if problems:
        raise DeploymentError(
            f"Run {plan.run} could not be stopped everywhere. {' '.join(problems.values())} "
            "Run `pdconsole clean` for that cluster; at the latest the lease ends what is left.",
            node=next(iter(problems)),
        )


async def _stop_on(
    plan: DeploymentPlan,
    processes: list[PlannedProcess],
    client: NodeClient,
    emit: Emit,
    told: Collection[str],
) -> None:
    tokens = tuple(plan.token(process) for process in processes)
    before = {info.token: info for info in await client.processes()}
    running: list[PlannedProcess] = []
    for process in processes:
        info = before.get(plan.token(process))
        if info is None or process.name in told:
            continue
        if info.state == "running":
            running.append(process)
            emit(process_state(plan, process, "stopping"))
        elif info.state == "exited":
            emit(_ended_by_itself(plan, process, info))
    # All of them, also those that look ended: children may have outlived them.
    after = {info.token: info.state for info in await client.stop(tokens)}
    left = [p.name for p in processes if after.get(plan.token(p)) == "running"]
    for process in running:
        emit(process_state(plan, process, "failed" if process.name in left else "stopped"))
    if left:
        raise DeploymentError(f"{' and '.join(left)} on {processes[0].node} did not end.")


def _ended_by_itself(plan: DeploymentPlan, process: PlannedProcess, info: ProcessInfo) -> Event:
    return process_state(
        plan,
        process,
        "failed",
        message=f"ended by itself with exit code {info.exit_code}",
        last_log="".join(log_lines(info.last_log, 1)),
    )
