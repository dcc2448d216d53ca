"""Around points: wait until no worker has work left and the KV cache is released."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence

from pdconsole.measure.errors import MeasureError
from pdconsole.measure.prometheus import total
from pdconsole.measure.sampling import RUNNING, WAITING, kv_usage

POLL_S = 0.25
# Share of the KV cache that may stay in use beyond what was in use before the point.
KV_SLACK = 0.002

Samples = Mapping[str, float]
Scrape = Callable[[str], Awaitable[Samples]]


async def until_idle(
    workers: Sequence[str],
    scrape: Scrape,
    *,
    timeout_s: float,
    give_up: asyncio.Event,
    now: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> dict[str, Samples] | None:
    """Before a point: the workers' samples, once none has a request left.

    None when `give_up` was set meanwhile. Raises MeasureError when one stays busy: then somebody
    else uses it.
    """
    deadline = now() + timeout_s
    while not give_up.is_set():
        samples = await _scrapes(workers, scrape)
        busy = [f"{name} {reason}" for name, s in samples.items() if (reason := _work_of(s))]
        if not busy:
            return samples
        if now() >= deadline:
            raise MeasureError(
                f"after {timeout_s:.0f} s {' and '.join(busy)}, which are not of this session's"
                " load driver; see who else uses this deployment"
            )
        await sleep(POLL_S)
    return None


async def drain(
    workers: Sequence[str],
    scrape: Scrape,
    *,
    before: Mapping[str, Samples],
    timeout_s: float,
    give_up: asyncio.Event,
    now: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> tuple[str, ...] | None:
    """After a point: what still holds each worker after `timeout_s`; empty when all are idle.

    None when `give_up` was set meanwhile: nobody knows. `before` are the samples from before the
    point.
    """
    deadline = now() + timeout_s
    while not give_up.is_set():
        samples = await _scrapes(workers, scrape)
        busy = tuple(
            f"{name} {reason}"
            for name, s in samples.items()
            if (reason := _work_of(s) or _kv_held(s, before.get(name, {})))
        )
        if not busy or now() >= deadline:
            return busy
        await sleep(POLL_S)
    return None


async def _scrapes(workers: Sequence[str], scrape: Scrape) -> dict[str, Samples]:
    found = await asyncio.gather(*(scrape(worker) for worker in workers))
    return dict(zip(workers, found, strict=True))


def _work_of(samples: Samples) -> str:
    running, waiting = total(samples, RUNNING), total(samples, WAITING)
    if running or waiting:
        return f"has {running or 0:.0f} requests running and {waiting or 0:.0f} waiting"
    return ""


def _kv_held(samples: Samples, before: Samples) -> str:
    used, used_before = kv_usage(samples), kv_usage(before) or 0.0
    if used is not None and used > used_before + KV_SLACK:
        return f"still holds {100 * used:.1f} % of its KV cache"
    return ""
