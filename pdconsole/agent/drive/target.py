"""Where requests go: a completions URL, resolved once, before anything is timed."""

from __future__ import annotations

import errno
import os
import socket
from dataclasses import dataclass
from typing import Any, List, Tuple
from urllib.parse import urlsplit

COMPLETIONS_PATH = "/v1/completions"


class DriveError(Exception):
    """The point cannot go on; str() says what happened and what to do next."""


@dataclass(frozen=True)
class Target:
    """A completions endpoint whose address is known to accept connections."""

    host: str  # "host:port", as the Host header and the request ids write it
    head: bytes  # the request's headers up to the length of its body
    family: int
    address: Tuple[Any, ...]

    def message(self, body: bytes) -> bytes:
        return b"%s%d\r\n\r\n%s" % (self.head, len(body), body)


def split_url(url: str) -> Tuple[str, int, str]:
    """Host, port and path of a URL; a bare base gets the completions path."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port or 80
    except ValueError as error:
        raise DriveError(f"{url!r} is not a URL: {error}") from None
    if parts.scheme != "http" or not host:
        raise DriveError(f"{url!r} is not an http://host:port URL; the load driver speaks no other")
    return host, port, parts.path if parts.path.strip("/") else COMPLETIONS_PATH


def find_target(url: str, timeout_s: float = 10.0) -> Target:
    """The target behind `url`: the first of its addresses that takes a connection."""
    host, port, path = split_url(url)
    shown = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise DriveError(f"cannot resolve {host} of {url}: {reason_of(error)}") from None
    failures: List[str] = []
    for family, kind, protocol, _, address in found:
        with socket.socket(family, kind, protocol) as probe:
            probe.settimeout(timeout_s)
            try:
                probe.connect(address)
            except OSError as error:
                failures.append(reason_of(error))
                continue
        head = (
            f"POST {path} HTTP/1.1\r\nHost: {shown}\r\nContent-Type: application/json\r\n"
            "Accept: text/event-stream\r\nContent-Length: "
        )
        return Target(shown, head.encode("latin-1"), int(family), address)
    raise DriveError(
        f"cannot connect to {url}: {'; '.join(sorted(set(failures)))}. "
        "Check that the server listens there and that this node may reach it."
    )


def reason_of(error: OSError) -> str:
    """`connection refused`, without the number that str() puts before it."""
    if isinstance(error, socket.timeout):
        return "timed out"
    if error.errno is None:
        return str(error)
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return "no file descriptor left; raise the limit of open files (ulimit -n)"
    text = error.strerror or os.strerror(error.errno)
    return text[:1].lower() + text[1:]
