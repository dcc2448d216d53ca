"""One ssh session that runs the agent's relay: requests, answers and news as JSON lines."""

from __future__ import annotations

import asyncio
import collections
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import asyncssh
import msgspec

from pdconsole.remote.archive import agent_archive
from pdconsole.remote.bootstrap import command
from pdconsole.remote.errors import RemoteError
from pdconsole.remote.ssh import Wire, open_wire
from pdconsole.remote.values import SshTarget

MARK = b"pdconsole-node "
# Shipping, and an earlier agent of the session that is still ending (up to a minute).
HANDSHAKE_S = 120.0
MAX_BANNER = 1 << 20
STDERR_KEPT = 4096
READ = 1 << 16

Message = dict[str, Any]
_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(dict[str, Any])


class LinkLostError(Exception):
    """The connection broke; `str()` says how."""


class Channel:
    """An open line to the agent. `closed` is set when it is over, `why` says why."""

    def __init__(self, node: str, wire: Wire, process: asyncssh.SSHClientProcess[bytes]) -> None:
        self._node = node
        self._wire = wire
        self._process = process
        self._buffer = bytearray()
        self._scanned = 0
        self._stderr: collections.deque[bytes] = collections.deque(maxlen=16)
        self._pending: dict[int, asyncio.Future[Message]] = {}
        self._count = 0
        self._tasks = [asyncio.ensure_future(self._drain_stderr())]
        self.closed = asyncio.Event()
        self.why = ""

    # -- the way in

    async def handshake(self) -> None:
        """Ships the agent where it is missing; returns when lines reach it."""
        while True:
            line = await self._marked_line()
            if "ready" in line:
                return
            if "need" in line:
                self._process.stdin.write(agent_archive().data)
                await self._process.stdin.drain()
            elif "fatal" in line:
                fatal = line["fatal"]
                raise RemoteError(self._node, fatal["kind"], fatal["message"])

    async def _marked_line(self) -> Message:
        noise = 0
        while True:
            end = self._buffer.find(b"\n")
            if end < 0:
                data = await self._process.stdout.read(READ)
                if not data:
                    raise await self._no_handshake()
                self._buffer += data
                continue
            line = bytes(self._buffer[:end])
            del self._buffer[: end + 1]
            start = line.find(MARK)
            if start >= 0:
                return _decoder.decode(line[start + len(MARK) :])
            noise += len(line)
            if noise > MAX_BANNER:
                raise RemoteError(
                    self._node, "agent", "its login scripts print without end; quieten them"
                )

    async def _no_handshake(self) -> RemoteError:
        await self._process.wait_closed()
        status = self._process.returncode
        said = await self._last_stderr()
        if status in (126, 127) or "Unknown option: -I" in said:
            return RemoteError(
                self._node,
                "python",
                f"there is no usable Python at engine.python of the cluster profile ({said}); "
                "install Python 3.9 or newer there, or set its path",
            )
        return RemoteError(
            self._node,
            "agent",
            f"the agent does not start (exit status {status}): {said or 'it said nothing'}; "
            "try `ssh` to the node by hand",
        )

    async def _last_stderr(self) -> str:
        with suppress(TimeoutError):
            async with asyncio.timeout(1.0):
                await asyncio.shield(self._tasks[0])
        lines = b"".join(self._stderr).decode("utf-8", "replace").strip().splitlines()
        return lines[-1] if lines else ""

    async def _drain_stderr(self) -> None:
        while data := await self._process.stderr.read(STDERR_KEPT):
            self._stderr.append(data)

    # -- talk

    def begin(self, on_news: Callable[[Message], None]) -> None:
        self._tasks.append(asyncio.ensure_future(self._hear(on_news)))

    async def request(self, op: str, fields: Message) -> Message:
        """The agent's answer. Raises RemoteError if it refuses, LinkLostError if it is gone."""
        if self.closed.is_set():
            raise LinkLostError(self.why)
        self._count += 1
        number = self._count
        future: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self._pending[number] = future
        try:
            self._process.stdin.write(_encoder.encode({**fields, "id": number, "op": op}) + b"\n")
            await self._process.stdin.drain()
            answer = await future
        except (asyncssh.Error, OSError) as error:
            raise LinkLostError(str(error)) from error
        finally:
            self._pending.pop(number, None)
            if future.done() and not future.cancelled():
                future.exception()  # seen, also when `drain` was the one to raise
        if "error" in answer:
            refusal = answer["error"]
            raise RemoteError(self._node, refusal["kind"], refusal["message"])
        ok: Message = answer["ok"]
        return ok

    async def _hear(self, on_news: Callable[[Message], None]) -> None:
        why = "the connection was closed"
        try:
            while True:
                self._take_lines(on_news)
                data = await self._process.stdout.read(READ)
                if not data:
                    break
                self._buffer += data
            said = await self._last_stderr()
            why = f"the agent's relay ended{': ' + said if said else ''}"
        except (asyncssh.Error, OSError, msgspec.DecodeError) as error:
            why = str(error) or type(error).__name__
        finally:
            self._close(why)

    def _take_lines(self, on_news: Callable[[Message], None]) -> None:
        start = 0
        while (end := self._buffer.find(b"\n", max(start, self._scanned))) >= 0:
            line = bytes(self._buffer[start:end])
            start = end + 1
            self._take(_decoder.decode(line), on_news)
        del self._buffer[:start]
        self._scanned = len(self._buffer)

    def _take(self, message: Message, on_news: Callable[[Message], None]) -> None:
        if "news" in message:
            on_news(message)
            return
        future = self._pending.get(message["id"])
        if future is not None and not future.done():
            future.set_result(message)

    def _close(self, why: str) -> None:
        self.why = self.why or why
        self.closed.set()
        for future in self._pending.values():
            if not future.done():
                future.set_exception(LinkLostError(self.why))

    async def close(self, why: str = "closed here") -> None:
        self._close(why)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._wire.close()


async def open_channel(
    target: SshTarget, options: Message, on_news: Callable[[Message], None]
) -> Channel:
    """Logs in, ships the agent if it is not there, finds or starts it. Raises RemoteError."""
    archive = agent_archive()
    wire = await open_wire(target)
    channel: Channel | None = None
    try:
        line = command(target.python, target.work_dir, archive.sha256, len(archive.data), options)
        process: asyncssh.SSHClientProcess[bytes] = await wire.connection.create_process(
            line, encoding=None, request_pty=False, stderr=asyncssh.PIPE
        )
        channel = Channel(target.node, wire, process)
        async with asyncio.timeout(HANDSHAKE_S):
            await channel.handshake()
        channel.begin(on_news)
        return channel
    except TimeoutError as error:
        await _give_up(wire, channel)
        raise RemoteError(
            target.node,
            "agent",
            f"the agent does not answer within {HANDSHAKE_S:g} s; see whether the node is "
            "overloaded, and agent.log in its work directory",
        ) from error
    except (asyncssh.Error, OSError, msgspec.DecodeError) as error:
        await _give_up(wire, channel)
        raise RemoteError(
            target.node, "unreachable", f"the connection broke while the agent started: {error}"
        ) from error
    except BaseException:
        await _give_up(wire, channel)
        raise


async def _give_up(wire: Wire, channel: Channel | None) -> None:
    if channel is not None:
        await channel.close()
    else:
        await wire.close()
