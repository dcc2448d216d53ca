"""vLLM's own metrics of a Serve replica, asked of the replica itself.

Where its Python finds this archive, the replica's vLLM gives its exposition text on a socket whose
name is made of the replica's id (`ray_stat_logger`). The socket is an abstract one: no port, no
file that could be left behind, and nothing of it is there once the replica is gone.
"""

from __future__ import annotations

import http.client
import os
import socket
import struct

TIMEOUT_S = 10.0
# A name that nobody listens at: refused. No abstract sockets here at all: other errors.
ABSTRACT = "\0pdconsole-vllm-metrics-"


class ExactError(Exception):
    """The replica does not give its own metrics; str() says why."""


def address(replica_id: str) -> str:
    return ABSTRACT + replica_id


def peer_uid(connected: socket.socket) -> int:
    """Whose process is at the other end. Anyone may take an abstract name, or connect to it."""
    size = struct.calcsize("3i")
    found = connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
    return int(struct.unpack("3i", found)[1])


def fetch(replica_id: str, timeout_s: float = TIMEOUT_S) -> str:
    """The exposition text, as vLLM's own server would give it. Raises ExactError."""
    connection = _Connection(address(replica_id), timeout_s)
    try:
        connection.request("GET", "/metrics")
        response = connection.getresponse()
        body = response.read()
    except ConnectionRefusedError:
        raise ExactError("its vLLM does not have pdconsole's plugin") from None
    except (OSError, http.client.HTTPException) as error:
        why = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise ExactError(f"its vLLM does not give its metrics: {why}") from None
    finally:
        connection.close()
    if response.status != 200:
        raise ExactError(f"its vLLM answered HTTP {response.status} when asked for its metrics")
    return body.decode("utf-8", "replace")


class _Connection(http.client.HTTPConnection):
    def __init__(self, name: str, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._name = name
        self._timeout_s = timeout_s

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self._timeout_s)
        self.sock.connect(self._name)
        if peer_uid(self.sock) != os.getuid():
            raise OSError("the socket of its name is another user's")
