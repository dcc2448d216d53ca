"""Reads the workers' full /metrics, made on their own nodes, and the router's CPU time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence

import msgspec

from pdconsole.measure.deployment import Process
from pdconsole.measure.errors import MeasureError
from pdconsole.measure.prometheus import parse
from pdconsole.remote.client import NodeClient
from pdconsole.remote.errors import RemoteError

TIMEOUT_S = 10.0

Samples = dict[str, float]


class Scrape(msgspec.Struct, frozen=True, kw_only=True):
    """What could be read at one moment; what could not is missing and named in `failures`."""

    at: float  # this machine's monotonic seconds
    workers: dict[str, Samples] = {}
    router_cpu_s: float | None = None
    failures: tuple[str, ...] = ()


async def scrape_worker(worker: Process, client: NodeClient) -> Samples:
    """One worker's samples, histogram buckets included. Raises MeasureError."""
    try:
        reply = await client.http("GET", worker.metrics_url, timeout_s=TIMEOUT_S)
    except RemoteError as e:
        raise MeasureError(f"{worker.name} on {worker.node} does not give its metrics: {e}") from e
    if reply.status != 200:
        raise MeasureError(
            f"{worker.name} on {worker.node} answers {worker.metrics_url} with HTTP {reply.status}"
        )
    return parse(reply.body.decode("utf-8", "replace"))


async def scrape_all(
    workers: Sequence[Process], nodes: Mapping[str, NodeClient], router: tuple[str, str] | None
) -> Scrape:
    """All workers at once. `router` is its node and token."""
    at = time.monotonic()
    outcomes = await asyncio.gather(
        *(scrape_worker(worker, nodes[worker.node]) for worker in workers),
        return_exceptions=True,
    )
    read: dict[str, Samples] = {}
    failures: list[str] = []
    for worker, outcome in zip(workers, outcomes, strict=True):
        if isinstance(outcome, MeasureError):
            failures.append(str(outcome))
        elif isinstance(outcome, BaseException):
            raise outcome
        else:
            read[worker.name] = outcome
    cpu_s = None
    if router is not None:
        try:
            cpu_s = await _cpu_s(nodes[router[0]], router[1])
        except RemoteError as e:
            failures.append(f"The router's CPU time is not known: {e}")
    return Scrape(at=at, workers=read, router_cpu_s=cpu_s, failures=tuple(failures))


async def _cpu_s(client: NodeClient, token: str) -> float | None:
    """CPU seconds that a process has used; None where its agent does not tell."""
    for info in await client.processes():
        if info.token == token:
            return getattr(info, "cpu_s", None)
    return None
