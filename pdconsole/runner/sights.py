"""What the runner has seen of a cluster's nodes, as a Survey. No I/O: news and inventories in."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping

import msgspec

from pdconsole.measure.gpu_checks import IDLE_MEMORY_MIB
from pdconsole.model.events import GpuSample, LinkStatus
from pdconsole.model.grid import Slot
from pdconsole.model.survey import Owner, Survey, SurveyGpu, SurveyNode
from pdconsole.profiles.schema import ClusterProfile, NodeProfile
from pdconsole.remote.values import ClockSeen, GpusSeen, Inventory, LinkChanged, News, NodeGpu

GONE = ("unreachable", "closed")


@dataclasses.dataclass
class Sight:
    """One node, as last seen."""

    link: LinkStatus = "connecting"
    message: str = ""
    inventory: Inventory | None = None
    versions: dict[str, str] = dataclasses.field(default_factory=dict)
    versions_asked: bool = False  # programs were asked; one that is absent is not there
    samples: dict[int, GpuSample] = dataclasses.field(default_factory=dict)
    clock: ClockSeen | None = None
    seen_wall: float = 0.0


class Sights:
    """Every node of a cluster, as last seen."""

    def __init__(self, cluster: ClusterProfile, *, wall: Callable[[], float] = time.time) -> None:
        self.cluster = cluster
        self.by_node = {node.name: Sight() for node in cluster.nodes}
        self._wall = wall

    def take(self, news: News) -> None:
        match news:
            case LinkChanged():
                self._take_link(self.by_node[news.node], news)
            case GpusSeen():
                sight = self.by_node[news.node]
                sight.samples = {gpu.index: gpu for gpu in news.gpus}
                sight.seen_wall = self._wall()
            case ClockSeen():
                self.by_node[news.node].clock = news
            case _:
                return

    def _take_link(self, sight: Sight, news: LinkChanged) -> None:
        # While it is tried again, why it failed is what people need to read.
        if news.status == "connecting" and sight.link in ("unreachable", "lost"):
            return
        sight.link = news.status
        sight.message = "" if news.status == "up" else news.message

    def take_inventory(self, inventory: Inventory, *, with_versions: bool) -> None:
        """Versions, and what else was not asked for, stay as they are known."""
        sight = self.by_node[inventory.node]
        if with_versions:
            sight.versions, sight.versions_asked = dict(inventory.versions), True
        else:
            sight.versions = {**sight.versions, **inventory.versions}
        known = sight.inventory.looked if sight.inventory is not None else None
        if inventory.looked is None and known is not None:
            inventory = msgspec.structs.replace(inventory, looked=known)
        sight.inventory = inventory
        sight.seen_wall = self._wall()

    def take_trouble(self, node: str, message: str) -> None:
        sight = self.by_node[node]
        sight.link, sight.message = "unreachable", message

    def inventories(self) -> dict[str, Inventory]:
        """Of the nodes that are not known to be gone, with all versions that are known."""
        return {
            name: msgspec.structs.replace(sight.inventory, versions=sight.versions)
            for name, sight in self.by_node.items()
            if sight.link not in GONE and sight.inventory is not None
        }

    def versions(self) -> dict[str, dict[str, str]]:
        """Of the nodes whose programs were asked."""
        return {name: s.versions for name, s in self.by_node.items() if s.versions_asked}

    def clocks(self) -> dict[str, ClockSeen]:
        return {name: s.clock for name, s in self.by_node.items() if s.clock is not None}

    def unreachable(self) -> dict[str, str]:
        """Why, of each node that was tried and is not up."""
        return {
            name: sight.message or f"the connection is {sight.link}"
            for name, sight in self.by_node.items()
            if sight.link in GONE
        }

    def survey(self, occupied: Mapping[Slot, str] | None = None) -> Survey:
        """`occupied`: slots that the runner's own session uses now, and as what."""
        return Survey(
            cluster=self.cluster.name,
            simulated=self.cluster.simulated,
            fabric=self.cluster.fabric,
            nodes=tuple(
                survey_node(node, self.by_node[node.name], occupied or {})
                for node in self.cluster.nodes
            ),
        )


def survey_node(node: NodeProfile, sight: Sight, occupied: Mapping[Slot, str]) -> SurveyNode:
    inventory = sight.inventory if sight.link == "up" else None
    return SurveyNode(
        name=node.name,
        # Only with its inventory is there something to show.
        link="connecting" if sight.link == "up" and inventory is None else sight.link,
        message=sight.message,
        hostname=inventory.hostname if inventory else "",
        gpus=tuple(
            _slot(node, index, sight, inventory, occupied.get(Slot(node.name, index), ""))
            for index in range(node.gpus)
        ),
        versions=sight.versions if inventory else {},
        nics=inventory.nics if inventory else (),
        seen_wall=sight.seen_wall,
    )


def _slot(
    node: NodeProfile, index: int, sight: Sight, inventory: Inventory | None, used_as: str
) -> SurveyGpu:
    if inventory is None:
        owner: tuple[Owner, str] = ("ours", used_as) if used_as else ("unknown", "")
        return SurveyGpu(
            index=index,
            name=node.gpu_model,
            memory_mib=node.gpu_memory_mib,
            owner=owner[0],
            holder=owner[1],
        )
    device = 0 if node.kind == "gpu-share" else index
    gpu = next((g for g in inventory.gpus if g.index == device), None)
    owner = ("ours", used_as) if used_as else _owner(node, index, gpu, inventory)
    sample = sight.samples.get(device)
    used = None if gpu is None else float(gpu.memory_used_mib)
    return SurveyGpu(
        index=index,
        name=gpu.name if gpu else node.gpu_model,
        memory_mib=gpu.memory_mib if gpu else node.gpu_memory_mib,
        owner=owner[0],
        holder=owner[1],
        util_pct=sample.util_pct if sample else None,
        memory_used_mib=sample.memory_used_mib if sample else used,
        temperature_c=sample.temperature_c if sample else None,
    )


def _owner(
    node: NodeProfile, index: int, gpu: NodeGpu | None, inventory: Inventory
) -> tuple[Owner, str]:
    """Who is on a slot, by its lock and by what runs on its GPU."""
    for lock in inventory.locks:
        if lock.slot != index:
            continue
        of = f"session {lock.session or '?'}"
        if lock.ours or (lock.user and lock.user == inventory.user):
            return "ours", of
        return "others", f"{of} of {lock.user or '?'}"
    if node.kind == "cpu":
        return "free", ""
    if gpu is None:
        return "unknown", inventory.gpu_trouble or "the node does not list this GPU"
    if node.kind == "gpu-share":  # who is on the GPU need not be on this share of it
        return "free", ""
    return _resident(gpu)


def _resident(gpu: NodeGpu) -> tuple[Owner, str]:
    others = [p for p in gpu.processes if not p.token]
    if others:
        first = others[0]
        name = f" ({first.name})" if first.name else ""
        more = f" and {len(others) - 1} more" if len(others) > 1 else ""
        return "others", f"process {first.pid}{name} of user {first.user or '?'}{more}"
    if gpu.processes:
        return "ours", f"session {gpu.processes[0].token.split('/')[0]}"
    if gpu.memory_used_mib > IDLE_MEMORY_MIB:
        return "others", f"{gpu.memory_used_mib} MiB in use by a process not seen here"
    return "free", ""
