"""The agent's end of one connection: lines out, with a sense of how much is waiting."""

from __future__ import annotations

import asyncio

from pdconsole.agent.protocol import Message, encode

# Beyond this many unsent bytes nothing more is read from files, and samples are left out.
FULL_BYTES = 1 << 20


class Link:
    def __init__(self, writer: asyncio.StreamWriter, client: str) -> None:
        self._writer = writer
        self.client = client

    @property
    def open(self) -> bool:
        return not self._writer.is_closing()

    @property
    def full(self) -> bool:
        return self._writer.transport.get_write_buffer_size() > FULL_BYTES

    def send(self, message: Message) -> None:
        if self.open:
            self._writer.write(encode(message))

    async def drain(self) -> None:
        """Until little is waiting, or the other side is gone."""
        try:
            await self._writer.drain()
        except ConnectionError:
            return

    def close(self) -> None:
        self._writer.close()
