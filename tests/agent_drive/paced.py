"""A completions server on loopback that says exactly what a test wants, byte by byte."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from threading import Lock, Thread
from typing import Any

CHUNKED = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
)


@dataclass
class Request:
    """One request as the server read it; `say` writes to its connection."""

    index: int
    connection: int
    path: str
    body: dict[str, Any]
    socket: socket.socket = field(repr=False)
    headers: dict[str, str] = field(default_factory=dict)  # names in small letters

    def say(self, *parts: bytes) -> None:
        for part in parts:
            self.socket.sendall(part)


Answerer = Callable[[Request], bool | None]  # False: close the connection


@dataclass
class Server:
    port: int
    requests: list[Request] = field(default_factory=list)
    connections: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def serving(
    answer: Answerer, *, receive_buffer: int = 0, before_body: bool = False
) -> Iterator[Server]:
    """A server that answers each request by `answer`, in a thread for each connection.

    `before_body`: it answers as soon as it has the headers, and reads nothing more.
    """
    listener = socket.create_server(("127.0.0.1", 0), backlog=512)
    if receive_buffer:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    server = Server(listener.getsockname()[1])
    lock = Lock()
    opened: list[socket.socket] = []

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            opened.append(connection)
            Thread(target=serve, args=(connection,), daemon=True).start()

    def serve(connection: socket.socket) -> None:
        number = -1
        try:
            with connection, connection.makefile("rb") as reader:
                while (line := reader.readline()).strip():
                    path = line.split()[1].decode()
                    headers: dict[str, str] = {}
                    while header := reader.readline().strip():
                        name, _, value = header.decode("latin-1").partition(":")
                        headers[name.lower()] = value.strip()
                    length = int(headers.get("content-length", "0"))
                    body = {} if before_body else json.loads(reader.read(length) or b"{}")
                    with lock:
                        if number < 0:  # connections that only probe are not counted
                            number, server.connections = server.connections, server.connections + 1
                        request = Request(
                            len(server.requests), number, path, body, connection, headers
                        )
                        server.requests.append(request)
                    if answer(request) is False or before_body:
                        return
        except OSError:
            return  # the client has gone, which some tests want

    Thread(target=accept, daemon=True).start()
    try:
        yield server
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for connection in opened:
            with suppress(OSError):  # its thread, which is woken by this, may have closed it
                connection.shutdown(socket.SHUT_RDWR)


def chunk(payload: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(payload), payload)


def event(content: dict[str, Any]) -> bytes:
    return b"data: %s\n\n" % json.dumps(content, separators=(",", ":")).encode()


def token_event(text: str = " t", request_id: str = "cmpl-1", finish: str | None = None) -> bytes:
    choice = {"index": 0, "text": text, "logprobs": None, "finish_reason": finish}
    return event({"id": request_id, "model": "m", "choices": [choice], "usage": None})


def usage_event(prompt: int, completion: int, request_id: str = "cmpl-1", **more: Any) -> bytes:
    usage = {"prompt_tokens": prompt, "completion_tokens": completion}
    return event({"id": request_id, "choices": [], "usage": usage, **more})


def answer_well(request: Request, request_id: str = "", **more: Any) -> None:
    """Stream what was asked for: a chunk a token, then the usage, then the end."""
    request_id = request_id or f"cmpl-{request.index}"
    prompt, tokens = len(request.body["prompt"]), request.body["max_tokens"]
    request.say(
        CHUNKED,
        *(chunk(token_event(request_id=request_id)) for _ in range(tokens - 1)),
        chunk(token_event(request_id=request_id, finish="length")),
        chunk(usage_event(prompt, tokens, request_id, **more)),
        chunk(b"data: [DONE]\n\n"),
        b"0\r\n\r\n",
    )
