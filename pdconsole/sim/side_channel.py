"""The side channel between simulated prefill and decode replicas: JSON lines over TCP.

A decode replica dials the address that the prefill replica's answer named, presents a hash of all
that must be equal on both sides, and later says which requests' KV it has fetched or still wants.
A wrong address, another configuration or a dead replica therefore fails as it would for real.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Callable, Iterable
from typing import Literal

import msgspec

CONTACT_TIMEOUT_S = 5.0


class SideChannelError(Exception):
    """No contact with a prefill replica; the message says which and why."""


class Identity(msgspec.Struct, frozen=True):
    """Who speaks: the engine, the node it is on, and its compatibility hash."""

    engine_id: str
    node: str
    compatibility: str
    tp: int


class _Line(msgspec.Struct, omit_defaults=True):
    """One line of either direction."""

    kind: Literal["hello", "welcome", "refused", "fetched", "renew"]
    engine_id: str = ""
    node: str = ""
    compatibility: str = ""
    tp: int = 0
    reason: str = ""
    request_ids: list[str] = []


_decoder = msgspec.json.Decoder(_Line)
_encoder = msgspec.json.Encoder()


def _encode(line: _Line) -> bytes:
    return _encoder.encode(line) + b"\n"


class SideChannelServer:
    """What a replica listens on. `on_fetched` and `on_renew` get request ids."""

    def __init__(
        self,
        identity: Identity,
        *,
        on_fetched: Callable[[str], None],
        on_renew: Callable[[str], None],
    ) -> None:
        self._identity = identity
        self._on_fetched = on_fetched
        self._on_renew = on_renew
        self._reachable_from_other_nodes = False

    async def listen(self, host: str, port: int) -> asyncio.Server:
        """Raises OSError where the address is not this machine's, or the port is taken."""
        self._reachable_from_other_nodes = not _is_localhost(host)
        return await asyncio.start_server(self._serve, host, port)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            hello = _decoder.decode(await reader.readline())
            reason = self._refusal(hello)
            if reason is None:
                own = self._identity
                writer.write(_encode(_Line("welcome", engine_id=own.engine_id, tp=own.tp)))
                async for text in reader:
                    self._hear(_decoder.decode(text))
            elif reason:
                writer.write(_encode(_Line("refused", reason=reason)))
                await writer.drain()
        except (ConnectionError, msgspec.DecodeError):
            pass  # the peer left, or it is none of ours
        except asyncio.CancelledError:
            pass  # we end; asyncio's own callback would print a traceback for it
        finally:
            writer.close()

    def _refusal(self, hello: _Line) -> str | None:
        """None: welcome. Empty: not even an answer, as from a port nobody listens on."""
        own = self._identity
        if hello.node != own.node and not self._reachable_from_other_nodes:
            return ""
        if hello.engine_id != own.engine_id:
            return f"engine {hello.engine_id} is not here, this is {own.engine_id}"
        if hello.compatibility != own.compatibility:
            return "compatibility hash mismatch"
        return None

    def _hear(self, line: _Line) -> None:
        for request_id in line.request_ids:
            if line.kind == "fetched":
                self._on_fetched(request_id)
            elif line.kind == "renew":
                self._on_renew(request_id)


class Peers:
    """A decode replica's connections to prefill replicas, by engine id."""

    def __init__(self, identity: Identity, *, on_lost: Callable[[str], None]) -> None:
        self._identity = identity
        self._on_lost = on_lost  # gets the engine id of a peer that went away
        self._writers: dict[str, asyncio.StreamWriter] = {}
        self._contacts: dict[str, asyncio.Task[None]] = {}
        self._watches: set[asyncio.Task[None]] = set()

    def knows(self, engine_id: str) -> bool:
        """Whether there is contact now."""
        return engine_id in self._writers

    async def contact(self, engine_id: str, host: str, port: int) -> None:
        """First contact with a prefill replica, once for all who ask. Raises SideChannelError."""
        if self.knows(engine_id):
            return
        task = self._contacts.get(engine_id)
        if task is None:
            task = asyncio.create_task(self._dial(engine_id, host, port))
            self._contacts[engine_id] = task
            task.add_done_callback(lambda _: self._contacts.pop(engine_id, None))
        await asyncio.shield(task)

    async def _dial(self, engine_id: str, host: str, port: int) -> None:
        where = f"side channel {host}:{port} of engine {engine_id}"
        try:
            async with asyncio.timeout(CONTACT_TIMEOUT_S):
                reader, writer = await asyncio.open_connection(host, port)
                own = self._identity
                hello = _Line(
                    "hello", engine_id=engine_id, node=own.node, compatibility=own.compatibility
                )
                writer.write(_encode(hello))
                answer = _decoder.decode(await reader.readline())
        except TimeoutError as error:
            raise SideChannelError(f"{where}: no answer") from error
        except OSError as error:
            raise SideChannelError(f"{where}: {error.strerror or error}") from error
        except msgspec.DecodeError as error:
            raise SideChannelError(f"{where}: closed without an answer") from error
        if answer.kind != "welcome":
            writer.close()
            raise SideChannelError(f"{where}: {answer.reason}")
        self._writers[engine_id] = writer
        watch = asyncio.create_task(self._watch(engine_id, reader))
        self._watches.add(watch)
        watch.add_done_callback(self._watches.discard)

    async def _watch(self, engine_id: str, reader: asyncio.StreamReader) -> None:
        try:
            while await reader.read(4096):
                pass  # a prefill replica has nothing more to say
        except ConnectionError:
            pass  # gone, as at the end of the stream
        self._writers.pop(engine_id).close()
        self._on_lost(engine_id)

    def tell_fetched(self, engine_id: str, request_id: str) -> bool:
        """The prefill replica may free this request's KV. False: there is no contact."""
        return self._tell(engine_id, _Line("fetched", request_ids=[request_id]))

    def renew(self, engine_id: str, request_ids: Iterable[str]) -> bool:
        """These requests' KV is still wanted. False: there is no contact."""
        return self._tell(engine_id, _Line("renew", request_ids=list(request_ids)))

    def _tell(self, engine_id: str, line: _Line) -> bool:
        writer = self._writers.get(engine_id)
        if writer is None or writer.is_closing():
            return False
        writer.write(_encode(line))
        return True


def _is_localhost(host: str) -> bool:
    """127.0.0.1 and its names; other loopback addresses are those of simulated nodes."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host) == ipaddress.ip_address("127.0.0.1")
    except ValueError:
        return False
