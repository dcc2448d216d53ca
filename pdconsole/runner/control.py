"""The control socket: a line of JSON a call, a line back, carried out in order of arrival."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec

from pdconsole.model.request import Call, Reply

_decoder = msgspec.json.Decoder(Call)
_encoder = msgspec.json.Encoder()

MAX_LINE = 1 << 20

Handler = Callable[[Call], Awaitable[Reply]]


class ControlServer:
    """Accepts clients on a UNIX socket; `attached` says how many are connected."""

    def __init__(self, path: Path, handle: Handler) -> None:
        self._path = path
        self._handle = handle
        self._one_at_a_time = asyncio.Lock()
        self._server: asyncio.Server | None = None
        self._clients: set[asyncio.Task[None]] = set()

    @property
    def attached(self) -> int:
        return len(self._clients)

    async def open(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            self._path.unlink()
        self._server = await asyncio.start_unix_server(
            self._serve, path=str(self._path), limit=MAX_LINE
        )
        self._path.chmod(0o600)

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        for task in tuple(self._clients):
            task.cancel()
        await asyncio.gather(*self._clients, return_exceptions=True)
        with contextlib.suppress(FileNotFoundError):
            self._path.unlink()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._clients.add(task)
        try:
            while line := await reader.readline():
                writer.write(_encoder.encode(await self._answer(line)) + b"\n")
                await writer.drain()
        except (ConnectionError, asyncio.CancelledError, ValueError):
            # The client left, or the runner ends, or a line was longer than any call is.
            pass
        finally:
            self._clients.discard(task)
            writer.close()

    async def _answer(self, line: bytes) -> Reply:
        try:
            call = _decoder.decode(line)
        except msgspec.DecodeError as e:
            return Reply(error=f"the runner does not understand this call: {e}")
        async with self._one_at_a_time:
            return await self._handle(call)
