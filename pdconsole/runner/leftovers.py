"""Processes of ours that some session left on a cluster's nodes: find them, end them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from pdconsole.profiles import ClusterProfile, Profiles
from pdconsole.remote.errors import RemoteError
from pdconsole.remote.values import News, ProcessInfo
from pdconsole.runner.nodes import SessionNodes
from pdconsole.sim.embedded import ensure_embedded

Leftovers = Mapping[str, Sequence[ProcessInfo]]  # by node


def find_leftovers(workspace: Path, cluster_name: str) -> Leftovers:
    """Of any session of this user, on every node of the cluster. Raises RemoteError."""
    return asyncio.run(_with_nodes(workspace, cluster_name, None))


def end_leftovers(workspace: Path, cluster_name: str, found: Leftovers) -> None:
    """End what `find_leftovers` found. Raises RemoteError when something does not die."""
    asyncio.run(_with_nodes(workspace, cluster_name, found))


async def _with_nodes(workspace: Path, cluster_name: str, to_end: Leftovers | None) -> Leftovers:
    cluster: ClusterProfile = Profiles.open(workspace).cluster(cluster_name)
    if cluster.simulated:
        cluster = await ensure_embedded(cluster)
    names = [node.name for node in cluster.nodes] if to_end is None else list(to_end)
    nodes = SessionNodes(cluster, names, f"clean-{os.getpid()}", _nothing)
    try:
        await nodes.open()
        if to_end is None:
            found = {name: await c.find_leftovers() for name, c in nodes.clients.items()}
            return {name: processes for name, processes in found.items() if processes}
        for name, processes in to_end.items():
            await nodes.clients[name].clean([p.token for p in processes])
        return {}
    finally:
        failures: list[RemoteError] = await nodes.end()
        if failures:
            raise failures[0]


def _nothing(_news: News) -> None:
    return
