"""One layout, deployed for a command and taken down again; nothing is recorded."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from typing import Any, Literal, TypeVar

from pdconsole.measure.preflight import preflight
from pdconsole.model import events as ev
from pdconsole.model.layout import parse_layout
from pdconsole.model.placement import place
from pdconsole.model.plan import RunPlan
from pdconsole.model.workload import Workload
from pdconsole.profiles import Profiles
from pdconsole.profiles.schema import ClusterProfile, ModelProfile, NetworkProfile
from pdconsole.remote.client import NodeClient
from pdconsole.remote.errors import RemoteError
from pdconsole.remote.values import News
from pdconsole.runner.nodes import SessionNodes, end_all, nodes_of
from pdconsole.runner.planning import grid_of
from pdconsole.runner.ray_token import secrets_of
from pdconsole.runner.user_errors import UserError, refusal
from pdconsole.serving import deployment
from pdconsole.serving.errors import ServingError
from pdconsole.serving.plan import DeploymentPlan
from pdconsole.serving.planning import plan_deployment
from pdconsole.sim.embedded import ensure_embedded

Say = Callable[[str], object]
T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Wanted:
    """What a command deploys, and for what."""

    purpose: str  # names the run and, with the process id, the session on the nodes
    cluster: ClusterProfile
    model: ModelProfile
    network: NetworkProfile
    run: RunPlan
    ignore_checks: bool
    say: Say


def wanted(
    profiles: Profiles,
    purpose: str,
    *,
    layout: str,
    cluster: str,
    model: str,
    network: str,
    placement: Literal["pack", "spread"],
    ignore_checks: bool,
    workload: Workload,
    say: Say,
) -> Wanted:
    """Raises the parts' own exceptions for names and layouts that are not."""
    placed = place(parse_layout(layout), grid_of(profiles.cluster(cluster)), placement)
    run = RunPlan(
        id=purpose,
        placement=placed,
        network=network,
        workload=workload,
        points=(),
        result_dir="",
    )
    return Wanted(
        purpose,
        profiles.cluster(cluster),
        profiles.model(model),
        profiles.network(network),
        run,
        ignore_checks,
        say,
    )


@contextlib.asynccontextmanager
async def deployed(w: Wanted) -> AsyncIterator[tuple[DeploymentPlan, Mapping[str, NodeClient]]]:
    """The plan and the nodes' clients while it serves; nothing still runs afterwards."""
    cluster = await ensure_embedded(w.cluster) if w.cluster.simulated else w.cluster
    session = f"{w.purpose}-{os.getpid()}"

    def show(event: ev.Event) -> None:
        if isinstance(event, ev.ProcessState) and event.status in ("ready", "failed"):
            w.say(f"{event.process} on {event.node} {event.status}")

    def nothing(_news: News) -> None:
        return

    nodes = SessionNodes(
        cluster, nodes_of(cluster, [w.run]), session, nothing, models=[w.model.source]
    )

    async with undone(lambda: end_all(nodes), w.say):
        inventories = await nodes.open()
        checks = preflight(
            inventories,
            [w.run],
            cluster=cluster,
            model=w.model,
            networks={w.network.name: w.network},
            session=session,
        )
        refused = refusal(checks)
        if refused and not w.ignore_checks:
            raise UserError(refused)
        plan = plan_deployment(
            w.run,
            cluster=cluster,
            model=w.model,
            network=w.network,
            versions={name: inv.versions for name, inv in inventories.items()},
            session=session,
        )
        await deployment.start(
            plan,
            nodes.clients,
            show,
            startup_timeout_s=cluster.startup_timeout_s,
            secrets=secrets_of(plan),
        )
        async with undone(lambda: deployment.stop(plan, nodes.clients, show), w.say):
            yield plan, nodes.clients


def to_the_end(work: Coroutine[Any, Any, T]) -> T:
    """Run a command's work. What it deployed is taken down also where the command is told to end,
    or its terminal goes away; KeyboardInterrupt is raised then."""

    async def told() -> T:
        task = asyncio.current_task()
        assert task is not None
        for number in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup has it
                asyncio.get_running_loop().add_signal_handler(number, task.cancel)
        return await work

    try:
        return asyncio.run(told())
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None


@contextlib.asynccontextmanager
async def undone(undo: Callable[[], Awaitable[None]], say: Say) -> AsyncIterator[None]:
    """Undoes it whatever happens. What cannot be undone must not hide why it came to that."""
    try:
        yield
    except BaseException:
        try:
            await undo()
        except (RemoteError, ServingError) as left:
            say(str(left))
        raise
    await undo()
