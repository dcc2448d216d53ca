"""News of the nodes as events of the session. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from pdconsole.measure.sampling import sample_events
from pdconsole.model import events as ev
from pdconsole.remote.values import (
    ClockSeen,
    GpusSeen,
    Inventory,
    LinkChanged,
    MetricsSeen,
    News,
    NicsSeen,
)


def metrics_name(run: str, process: str, role: str) -> str:
    """The name under which a worker's /metrics are watched; it says whose they are."""
    return f"{run}/{process}/{role}"


def events_of(news: News, started_monotonic: float) -> Iterator[ev.Event]:
    """What the recording keeps of one piece of news.

    `started_monotonic` is this process's `time.monotonic()` at the session's t = 0. Logs and a
    driver's records are not events: they have files and readers of their own.
    """
    match news:
        case LinkChanged():
            yield ev.NodeLink(node=news.node, status=news.status, message=news.message)
        case ClockSeen():
            # node = ours + offset and ours = t + started, so node = t + (started + offset)
            yield ev.NodeClock(
                node=news.node, offset_s=started_monotonic + news.offset_s, bound_s=news.bound_s
            )
        case GpusSeen():
            yield ev.GpusSampled(node=news.node, node_t=news.node_t, gpus=news.gpus)
        case NicsSeen():
            yield ev.NicsSampled(node=news.node, node_t=news.node_t, counters=news.counters)
        case MetricsSeen():
            run, process, role = news.name.split("/")
            yield from sample_events(run, process, role, news.node_t, news.values)
        case _:
            return


def inventory_event(inventory: Inventory) -> ev.NodeInventory:
    versions = dict(inventory.versions)
    versions.setdefault("python", inventory.python)
    if inventory.driver:
        versions.setdefault("driver", inventory.driver)
    return ev.NodeInventory(
        node=inventory.node,
        hostname=inventory.hostname,
        gpus=tuple(
            ev.GpuInfo(index=g.index, name=g.name, memory_mib=g.memory_mib, uuid=g.uuid)
            for g in inventory.gpus
        ),
        versions=versions,
        nics=inventory.nics,
        simulated=inventory.simulated,
    )
