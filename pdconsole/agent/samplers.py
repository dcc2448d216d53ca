"""What one connection wants sampled: GPUs, NIC counters, Prometheus endpoints.

Each sampler is a task of its own, so that a slow or dead target delays nobody. A target that
fails gives no sample: absent, never zero.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any, Awaitable, Callable, Dict, List

from pdconsole.agent import gpus, nics
from pdconsole.agent.link import Link
from pdconsole.agent.patience import within
from pdconsole.agent.prometheus import Samples, Scraper

SCRAPE_TIMEOUT_S = 5.0


class Samplers:
    def __init__(self, link: Link, nic_root: str) -> None:
        self._link = link
        self._nic_root = nic_root
        self._tasks: List[asyncio.Task[None]] = []

    def watch(self, wanted: Dict[str, Any]) -> None:
        """Replaces what is sampled: {"gpus_s", "nics_s", "metrics": {name: [url, interval_s]}}."""
        self.close()
        if wanted.get("gpus_s"):
            self._begin(self._gpus(float(wanted["gpus_s"])))
        if wanted.get("nics_s"):
            self._begin(self._nics(float(wanted["nics_s"])))
        targets = wanted.get("metrics") or {}
        for rank, (name, (url, interval_s)) in enumerate(sorted(targets.items())):
            # Spread over the interval, so that scrapes do not come in bursts.
            delay_s = float(interval_s) * rank / len(targets)
            self._begin(self._metrics(name, url, float(interval_s), delay_s))

    def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        self._tasks.clear()

    def _begin(self, sampler: Any) -> None:
        self._tasks.append(asyncio.ensure_future(sampler))

    async def _gpus(self, interval_s: float) -> None:
        async for rows in gpus.samples(interval_s):
            if not self._link.full:
                self._link.send({"news": "gpus", "t": time.monotonic(), "gpus": rows})

    async def _nics(self, interval_s: float) -> None:
        counters = nics.NicCounters(self._nic_root)
        try:
            await _every(interval_s, lambda: self._send_nics(counters))
        finally:
            counters.close()

    async def _send_nics(self, counters: nics.NicCounters) -> None:
        values = counters.read()
        if values and not self._link.full:
            self._link.send({"news": "nics", "t": time.monotonic(), "counters": values})

    async def _metrics(self, name: str, url: str, interval_s: float, delay_s: float) -> None:
        await asyncio.sleep(delay_s)
        scraper = Scraper(url)
        target = _Target(name, scraper, self._link)
        try:
            await _every(interval_s, target.sample)
        finally:
            scraper.close()


class _Target:
    """One endpoint; sends what changed since the last sample that was sent."""

    def __init__(self, name: str, scraper: Scraper, link: Link) -> None:
        self._name = name
        self._scraper = scraper
        self._link = link
        self._samples = Samples()
        self._whole_next = True

    async def sample(self) -> None:
        if self._link.full:
            return
        asked = time.monotonic()
        try:
            text = await within(self._scraper.get(), SCRAPE_TIMEOUT_S)
        except (OSError, EOFError, ValueError, asyncio.TimeoutError, asyncio.LimitOverrunError):
            self._scraper.close()
            return
        node_t = (asked + time.monotonic()) / 2
        changed, whole = self._samples.update(text)
        if self._whole_next:
            changed, whole = self._samples.values, True
        self._whole_next = False
        self._link.send(
            {"news": "metrics", "name": self._name, "t": node_t, "values": changed, "whole": whole}
        )


async def _every(interval_s: float, sample: Callable[[], Awaitable[None]]) -> None:
    """On a fixed grid of time; what was missed is not made up for."""
    loop = asyncio.get_running_loop()
    due = loop.time()
    while True:
        await sample()
        due += interval_s
        late = loop.time() - due
        if late > 0:
            due += interval_s * (late // interval_s)
        await asyncio.sleep(max(0.0, due - loop.time()))
