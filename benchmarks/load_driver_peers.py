"""Other readers of the same streams, to hold the load driver against.

    python load_driver_peers.py bare|uvloop|aiohttp PORT STREAMS TOKENS SECONDS INPUT_LEN

Each keeps STREAMS requests of TOKENS tokens in flight for SECONDS, then lets them finish, and
prints one JSON line {"tokens": n, "cpu_s": s, "flights": [[id, sent, stamp, ...], ...]}, with the
process's CPU time up to the last token, so without this line's cost. They do no more than read,
stamp and ask again: no token is parsed, nothing is recorded. `bare` is the floor: epoll, recv and
a clock, in Python.
"""

from __future__ import annotations

import json
import re
import select
import socket
import sys
from time import monotonic, process_time
from typing import cast

FLIGHTS_KEPT = 4000
END = b"0\r\n\r\n"


def request_bytes(tokens: int, input_len: int) -> bytes:
    body = json.dumps(
        {"model": "paced", "prompt": [101000] * input_len, "max_tokens": tokens, "stream": True}
    ).encode()
    head = f"POST /v1/completions HTTP/1.1\r\nHost: paced\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


class Tally:
    """The stamps of the flights that finished."""

    def __init__(self, tokens: int) -> None:
        self._tokens = tokens
        self.finished = 0
        self.flights: list[list[float | str]] = []

    def add(self, named_read: bytes, sent: float, stamps: list[float]) -> None:
        self.finished += 1
        found = re.search(rb'"id":"([^"]+)"', named_read)
        if found and len(stamps) >= self._tokens and len(self.flights) < FLIGHTS_KEPT:
            self.flights.append([found[1].decode(), sent, *stamps[: self._tokens]])

    def print(self) -> None:
        cpu_s, tokens = process_time(), self.finished * self._tokens
        print(json.dumps({"tokens": tokens, "cpu_s": cpu_s, "flights": self.flights}))


def bare(port: int, streams: int, tokens: int, seconds: float, input_len: int) -> Tally:
    request, tally = request_bytes(tokens, input_len), Tally(tokens)
    epoll = select.epoll()
    sockets, sent, stamps = {}, {}, {}
    end = monotonic() + seconds
    for _ in range(streams):
        sock = socket.create_connection(("127.0.0.1", port))
        fd = sock.fileno()
        epoll.register(fd, select.EPOLLIN)
        sockets[fd], stamps[fd], sent[fd] = sock, [], monotonic()
        sock.sendall(request)
    while sockets:
        for fd, _ in epoll.poll():
            data = sockets[fd].recv(65536)
            now = monotonic()
            stamps[fd].append(now)
            if data.endswith(END):
                tally.add(data, sent[fd], stamps[fd])
                stamps[fd] = []
                if now < end:
                    sent[fd] = monotonic()
                    sockets[fd].sendall(request)
                else:
                    sockets.pop(fd).close()
    return tally


def on_uvloop(port: int, streams: int, tokens: int, seconds: float, input_len: int) -> Tally:
    import asyncio

    import httptools
    import uvloop

    request, tally = request_bytes(tokens, input_len), Tally(tokens)
    end = monotonic() + seconds

    class Reader(asyncio.Protocol):
        def __init__(self) -> None:
            self.closed = asyncio.get_running_loop().create_future()

        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport = cast(asyncio.Transport, transport)
            self.ask()

        def ask(self) -> None:
            self.parser = httptools.HttpResponseParser(self)
            self.stamps: list[float] = []
            self.sent = monotonic()
            self.transport.write(request)

        def data_received(self, data: bytes) -> None:
            self.now = monotonic()
            self.last = data
            self.parser.feed_data(data)

        def on_body(self, body: bytes) -> None:
            self.stamps.append(self.now)

        def on_message_complete(self) -> None:
            tally.add(self.last, self.sent, self.stamps)
            if self.now < end:
                asyncio.get_running_loop().call_soon(self.ask)
            else:
                self.transport.close()
                self.closed.set_result(None)

    async def run() -> None:
        loop = asyncio.get_running_loop()
        pairs = [await loop.create_connection(Reader, "127.0.0.1", port) for _ in range(streams)]
        await asyncio.gather(*(reader.closed for _, reader in pairs))

    uvloop.run(run())
    return tally


def on_aiohttp(port: int, streams: int, tokens: int, seconds: float, input_len: int) -> Tally:
    import asyncio

    import aiohttp

    tally = Tally(tokens)
    body = request_bytes(tokens, input_len).partition(b"\r\n\r\n")[2]
    end = monotonic() + seconds

    async def stream(session: aiohttp.ClientSession) -> None:
        while monotonic() < end:
            sent, stamps, first = monotonic(), [], b""
            async with session.post(
                f"http://127.0.0.1:{port}/v1/completions", data=body
            ) as response:
                async for chunk in response.content.iter_any():
                    stamps.append(monotonic())
                    first = first or chunk
            tally.add(first, sent, stamps)

    async def run() -> None:
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector) as session:
            await asyncio.gather(*(stream(session) for _ in range(streams)))

    asyncio.run(run())
    return tally


PEERS = {"bare": bare, "uvloop": on_uvloop, "aiohttp": on_aiohttp}

if __name__ == "__main__":
    name, port, streams, tokens, seconds, input_len = sys.argv[1:]
    PEERS[name](int(port), int(streams), int(tokens), float(seconds), int(input_len)).print()
