"""Processes of ours that some session left on a cluster's nodes: find them, end them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path

import msgspec

from pdconsole.profiles import Profiles
from pdconsole.remote.values import News
from pdconsole.runner.nodes import SessionNodes, end_all
from pdconsole.sim.embedded import ensure_embedded


class Leftover(msgspec.Struct, frozen=True, kw_only=True):
    """A process, or several of one token, that a session started on a node."""

    node: str
    token: str  # <session>/<run>/<process>
    pids: tuple[int, ...]
    supervised: bool  # the agent of its session is alive, so it may be wanted

    def __str__(self) -> str:
        agent = "its session's agent is alive" if self.supervised else "its agent is gone"
        return f"{self.node}: {self.token}, pid {', '.join(map(str, self.pids))}, {agent}"


def find_leftovers(workspace: Path, cluster_name: str) -> list[Leftover]:
    """Of any session of this user, on every node of the cluster. Raises RemoteError."""
    return asyncio.run(_with_nodes(workspace, cluster_name, ()))


def end_leftovers(workspace: Path, cluster_name: str, found: Sequence[Leftover]) -> None:
    """End what `find_leftovers` found. Raises RemoteError when something does not die."""
    asyncio.run(_with_nodes(workspace, cluster_name, found))


async def _with_nodes(
    workspace: Path, cluster_name: str, to_end: Sequence[Leftover]
) -> list[Leftover]:
    """Ends `to_end`; without any, looks for what is there."""
    cluster = Profiles.open(workspace).cluster(cluster_name)
    if cluster.simulated:
        cluster = await ensure_embedded(cluster)
    names = [node.name for node in cluster.nodes]
    nodes = SessionNodes(cluster, names, f"clean-{os.getpid()}", _nothing)
    try:
        await nodes.open()
        for name, client in nodes.clients.items():
            tokens = [entry.token for entry in to_end if entry.node == name]
            if tokens:
                await client.clean(tokens)
        if to_end:
            return []
        return [
            Leftover(
                node=name,
                token=process.token,
                pids=process.pids or (process.pid,),
                supervised=process.supervised,
            )
            for name, client in nodes.clients.items()
            for process in await client.find_leftovers()
        ]
    finally:
        await end_all(nodes)


def _nothing(_news: News) -> None:
    return
