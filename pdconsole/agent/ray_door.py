"""The small HTTP server of `ray-app` and `ray-replica`."""

from __future__ import annotations

import json
import socket
import socketserver
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Callable, Dict, List, NamedTuple, Optional

MAX_BODY = 64 << 20


class DoorError(Exception):
    """Its address cannot be had; str() says why."""


class Request(NamedTuple):
    method: str
    path: str
    body: bytes
    request_id: str


class Answer(NamedTuple):
    status: int
    body: bytes
    kind: str = "text/plain; charset=utf-8"


def text(status: int, sentence: str) -> Answer:
    return Answer(status, (sentence + "\n").encode())


def as_json(status: int, value: Any) -> Answer:
    return Answer(status, json.dumps(value).encode(), "application/json")


def trouble(status: int, sentence: str) -> Answer:
    return as_json(status, error_body(status, sentence))


def error_body(status: int, sentence: str) -> Dict[str, Any]:
    """As an OpenAI server says it."""
    kind = "BadRequestError" if status < 500 else "InternalServerError"
    return {"error": {"message": sentence, "type": kind, "code": status}}


class Door:
    """Answers on `listen` ([address, port]) in threads of its own, until the process ends."""

    def __init__(self, listen: List[Any], answer: Callable[[Request], Answer]) -> None:
        address, port = str(listen[0]), int(listen[1])
        try:
            kind = _Server6 if ":" in address else _Server
            self._server = kind((address, port), _handler(answer))
        except OSError as error:
            where = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
            raise DoorError(
                f"cannot listen on {where}: {error.strerror or error}; "
                "end what holds it, or set another port in the cluster profile"
            ) from None
        self.port = int(self._server.server_address[1])
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def server_bind(self) -> None:
        """Without asking who has the address: that may take long where no DNS answers."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no event."""


class _Server6(_Server):
    address_family = socket.AF_INET6


def _handler(answer: Callable[[Request], Answer]) -> Any:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._give(b"")

        def do_POST(self) -> None:
            length = _length(self.headers.get("Content-Length"))
            if length is None:
                self.close_connection = True
                self._send(text(411, "a body needs a Content-Length"))
                return
            self._give(self.rfile.read(length))

        def _give(self, body: bytes) -> None:
            path = self.path.partition("?")[0]
            request_id = self.headers.get("X-Request-Id") or ""
            self._send(answer(Request(self.command, path, body, request_id)))

        def _send(self, given: Answer) -> None:
            self.send_response(given.status)
            self.send_header("Content-Type", given.kind)
            self.send_header("Content-Length", str(len(given.body)))
            self.end_headers()
            self.wfile.write(given.body)

        def log_message(self, *_: Any) -> None:
            """Stdout is the replica's log."""

    return Handler


def _length(header: Optional[str]) -> Optional[int]:
    if header is None or not header.isdigit() or int(header) > MAX_BODY:
        return None
    return int(header)
