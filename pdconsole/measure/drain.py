"""Between points: wait until no worker has work left and the KV cache is released."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence

from pdconsole.measure.prometheus import total
from pdconsole.measure.sampling import RUNNING, WAITING, kv_usage

POLL_S = 0.25
# Share of the KV cache that may stay in use beyond what was in use before the point.
KV_SLACK = 0.002

Samples = Mapping[str, float]
Scrape = Callable[[str], Awaitable[Samples]]


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
    """What still holds each worker after `timeout_s`; empty when all are idle.

    None when `give_up` was set meanwhile: nobody knows. `before` are the scrapes from before the
    point.
    """
    deadline = now() + timeout_s
    while not give_up.is_set():
        scrapes = await asyncio.gather(*(scrape(worker) for worker in workers))
        busy = tuple(
            f"{worker} {reason}"
            for worker, samples in zip(workers, scrapes, strict=True)
            if (reason := _held_by(samples, before.get(worker, {})))
        )
        if not busy or now() >= deadline:
            return busy
        await sleep(POLL_S)
    return None


def _held_by(samples: Samples, before: Samples) -> str:
    running, waiting = total(samples, RUNNING), total(samples, WAITING)
    if running or waiting:
        return f"has {running or 0:.0f} requests running and {waiting or 0:.0f} waiting"
    used, used_before = kv_usage(samples), kv_usage(before) or 0.0
    if used is not None and used > used_before + KV_SLACK:
        return f"still holds {100 * used:.1f} % of its KV cache"
    return ""
