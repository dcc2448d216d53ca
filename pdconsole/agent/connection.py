"""What the agent keeps for the one client that it has."""

from __future__ import annotations

import asyncio
import time

from pdconsole.agent.link import Link
from pdconsole.agent.protocol import log
from pdconsole.agent.samplers import Samplers
from pdconsole.agent.tails import Tails

PUMP_S = 0.2
TROUBLED_PUMP_S = 5.0


class Connection:
    """The one client, what it follows and what it has sampled."""

    def __init__(self, link: Link, nic_root: str) -> None:
        self.link = link
        self.tails = Tails()
        self.samplers = Samplers(link, nic_root)
        self._pump = asyncio.ensure_future(self._pumping())

    async def _pumping(self) -> None:
        while True:
            try:
                self.tails.pump(self.link, now=time.monotonic())
            except OSError as error:
                log(f"cannot read what processes wrote: {error}")
                await asyncio.sleep(TROUBLED_PUMP_S)
            await asyncio.sleep(PUMP_S)

    async def flush(self) -> None:
        """Sends all that ended processes left in their files, and their ends."""
        self.tails.hurry()
        while self.link.open and self.tails.ends_waiting:
            self.tails.pump(self.link, now=time.monotonic())
            await self.link.drain()
            await asyncio.sleep(0)

    def close(self) -> None:
        self._pump.cancel()
        self.samplers.close()
        self.tails.close()
        self.link.close()
