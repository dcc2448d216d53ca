"""What a cluster's nodes still need: found out, and done where it can be done without root."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from pdconsole.profiles import Profiles
from pdconsole.profiles.schema import ClusterProfile
from pdconsole.remote.client import NodeClient
from pdconsole.remote.errors import RemoteError
from pdconsole.remote.values import (
    LinkChanged,
    LogChunk,
    News,
    ProcessChanged,
    ProcessInfo,
    ProcessSpec,
)
from pdconsole.runner.nodes import SessionNodes
from pdconsole.runner.one_deployment import to_the_end
from pdconsole.runner.user_errors import UserError
from pdconsole.serving.engine_stacks import STACKS
from pdconsole.serving.node_setup import SetupStep, choose_stack, setup_steps

Say = Callable[[str], object]
LOOK_S = 15.0


def plan_setup(workspace: Path, name: str, stack: str | None) -> tuple[SetupStep, ...]:
    """What every node still needs for one combination of versions; None: the one that fits what
    is there. Raises RemoteError where a node cannot be asked."""
    cluster = _real_cluster(workspace, name)
    return to_the_end(_plan(cluster, stack))


def carry_out_setup(workspace: Path, name: str, steps: Sequence[SetupStep], say: Say) -> None:
    """Run the steps that need no root: nodes at once, the steps of a node one after the other.

    A step that fails ends its node's; raises UserError then, after the other nodes are done.
    """
    wanted = [step for step in steps if step.by == "run"]
    to_the_end(_carry_out(_real_cluster(workspace, name), wanted, say))


def _real_cluster(workspace: Path, name: str) -> ClusterProfile:
    cluster = Profiles.open(workspace).cluster(name)
    if cluster.simulated:
        raise UserError(f"the nodes of {name} are simulated; there is nothing to set up on them")
    return cluster


async def _plan(cluster: ClusterProfile, stack: str | None) -> tuple[SetupStep, ...]:
    nodes = SessionNodes(cluster, [n.name for n in cluster.nodes], _session(), _nothing)
    try:
        inventories = await nodes.open()
    finally:
        failures = await nodes.end()
    if failures:
        raise failures[0]
    chosen = next((s for s in STACKS if s.name == stack), None)
    chosen = chosen or choose_stack(cluster, inventories)
    return tuple(
        step
        for node in cluster.nodes
        for step in setup_steps(node, inventories[node.name], cluster, chosen)
    )


async def _carry_out(cluster: ClusterProfile, steps: Sequence[SetupStep], say: Say) -> None:
    names = list(dict.fromkeys(step.node for step in steps))
    ended: dict[str, asyncio.Future[ProcessInfo]] = {}

    def on_news(news: News) -> None:
        match news:
            case LogChunk():
                for line in news.data.decode("utf-8", "replace").splitlines():
                    say(f"{news.node}: {line}")
            case LinkChanged() if news.status in ("lost", "unreachable"):
                say(f"{news.node}: {news.status}: {news.message}")
            case ProcessChanged() if news.info.token in ended and news.info.state != "running":
                if not ended[news.info.token].done():
                    ended[news.info.token].set_result(news.info)
            case _:
                return

    session = _session()
    nodes = SessionNodes(cluster, names, session, on_news)
    try:
        await nodes.open()
        outcomes = await asyncio.gather(
            *(
                _steps_of_node(client, session, [s for s in steps if s.node == name], ended, say)
                for name, client in nodes.clients.items()
            )
        )
    finally:
        failures = await nodes.end()
    troubles = [trouble for trouble in outcomes if trouble]
    troubles += [str(failure) for failure in failures]
    if troubles:
        raise UserError("; ".join(troubles))


async def _steps_of_node(
    client: NodeClient,
    session: str,
    steps: Sequence[SetupStep],
    ended: dict[str, asyncio.Future[ProcessInfo]],
    say: Say,
) -> str:
    """Why they ended early, or nothing."""
    for number, step in enumerate(steps, 1):
        token = f"{session}/{client.node}/{number}"
        ended[token] = asyncio.get_running_loop().create_future()
        say(f"{client.node}: {step.title} begins")
        script = "\n".join(("set -eu", *step.commands))
        spec = ProcessSpec(token=token, session=session, argv=("sh", "-c", script))
        try:
            await client.start(spec)
            await client.follow(token)
            info = await _ended(client, ended[token])
        except RemoteError as error:  # this node's alone: others go on
            return f"{client.node}: {step.title}: {error}"
        if info.exit_code != 0:
            last = " / ".join(info.last_log.split("\n")[-3:]).strip(" /")
            return f"{client.node}: {step.title} failed ({info.exit_code}): {last}"
        say(f"{client.node}: {step.title} is done")
    return ""


async def _ended(client: NodeClient, process: asyncio.Future[ProcessInfo]) -> ProcessInfo:
    """Raises RemoteError when the node does not come back within the lease."""
    while True:
        await asyncio.wait((process,), timeout=LOOK_S)
        if process.done():
            return process.result()
        await client.processes()


def _session() -> str:
    return f"setup-{os.getpid()}"


def _nothing(_news: News) -> None:
    return
