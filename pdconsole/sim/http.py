"""A small HTTP/1.1 server for an event loop: many streams, little work for each event.

Requests of one connection are answered one after another. The handler gets an exchange, which it
answers at once or later, whole or as a stream of server-sent events.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from http import HTTPStatus
from typing import TypeAlias, cast

import httptools
import msgspec

MAX_BODY_BYTES = 256 << 20
JSON = "application/json"
EVENT_STREAM = "text/event-stream; charset=utf-8"


class Request(msgspec.Struct, frozen=True):
    method: str
    path: str  # without the query
    headers: dict[bytes, bytes]  # names in lower case
    body: bytes


class Exchange:
    """One request's answer. After the client has gone, what is sent is dropped."""

    __slots__ = ("_connection", "gone", "on_gone")

    def __init__(self, connection: _Connection) -> None:
        self._connection = connection
        self.gone = False
        self.on_gone: Callable[[], None] | None = None  # the client left before the end

    def respond(
        self, body: bytes, *, status: int = 200, kind: str = JSON, close: bool = False
    ) -> None:
        """The whole answer."""
        if not self.gone:
            self._connection.write(_head(status, kind, f"content-length: {len(body)}") + body)
            self._connection.finished(close)

    def start_stream(self) -> None:
        if not self.gone:
            self._connection.write(_head(200, EVENT_STREAM, "transfer-encoding: chunked"))

    def send(self, framed: bytes) -> None:
        """Bytes that are framed as HTTP chunks already: see `chunk`."""
        if not self.gone:
            self._connection.write(framed)

    def end_stream(self) -> None:
        if not self.gone:
            self._connection.write(b"0\r\n\r\n")
            self._connection.finished(False)


Handler: TypeAlias = Callable[[Request, Exchange], None]


def chunk(data: bytes) -> bytes:
    """An HTTP chunk."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def _head(status: int, kind: str, length: str) -> bytes:
    reason = HTTPStatus(status).phrase
    return f"HTTP/1.1 {status} {reason}\r\ncontent-type: {kind}\r\n{length}\r\n\r\n".encode()


class _Connection(asyncio.Protocol):
    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None
        self._queue: deque[Request] = deque()
        self._exchange: Exchange | None = None
        self._path = ""
        self._headers: dict[bytes, bytes] = {}
        self._body: list[bytes] = []
        self._size = 0

    # --- of the transport ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._refuse(HTTPStatus.NOT_IMPLEMENTED)
        except httptools.HttpParserError:
            self._refuse(HTTPStatus.BAD_REQUEST)
        # Not from within the parser, which would take an error of the handler for one of its own.
        self._next()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._queue.clear()
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.gone = True
            if exchange.on_gone is not None:
                exchange.on_gone()

    # --- of the parser ---

    def on_message_begin(self) -> None:
        self._path = ""
        self._headers = {}
        self._body = []
        self._size = 0

    def on_url(self, url: bytes) -> None:
        self._path += url.decode("latin-1")

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        if self._headers.get(b"expect", b"").lower() == b"100-continue":
            self.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        self._size += len(body)
        if self._size > MAX_BODY_BYTES:
            self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
            return
        self._body.append(body)

    def on_message_complete(self) -> None:
        method = self._parser.get_method().decode("latin-1")
        path = self._path.partition("?")[0]
        self._queue.append(Request(method, path, self._headers, b"".join(self._body)))
        self._body = []

    # --- of the exchange ---

    def write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)

    def finished(self, close: bool) -> None:
        self._exchange = None
        if self._transport is not None and (close or not self._parser.should_keep_alive()):
            self._transport.close()
        else:
            self._next()

    def _next(self) -> None:
        while self._queue and self._exchange is None and self._transport is not None:
            self._exchange = exchange = Exchange(self)
            self._handler(self._queue.popleft(), exchange)

    def _refuse(self, status: HTTPStatus) -> None:
        if self._transport is not None and self._exchange is None:
            self.write(_head(status, "text/plain", "content-length: 0\r\nconnection: close"))
        if self._transport is not None:
            self._transport.close()


def connection_factory(handler: Handler) -> Callable[[], asyncio.Protocol]:
    """What `loop.create_server` wants, for a server that answers with `handler`."""
    return lambda: _Connection(handler)
