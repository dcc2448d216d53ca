"""One HTTP request made on the node."""

from __future__ import annotations

import http.client
import time
from typing import Dict
from urllib.parse import urlsplit

from pdconsole.agent.protocol import AgentError, Message, pack

MAX_BODY = 32 << 20


def fetch(method: str, url: str, body: bytes, headers: Dict[str, str], timeout_s: float) -> Message:
    """No redirects, no proxies. Raises AgentError("http") when no whole answer comes."""
    parts = urlsplit(url)
    if parts.scheme != "http" or not parts.hostname:
        raise AgentError("http", f"{url} is not an http:// address")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    began = time.monotonic()
    connection = http.client.HTTPConnection(parts.hostname, parts.port or 80, timeout=timeout_s)
    try:
        connection.request(method, path, body=body or None, headers=headers)
        answer = connection.getresponse()
        data = answer.read(MAX_BODY)
    except (OSError, http.client.HTTPException) as error:
        raise AgentError("http", f"{method} {url}: {_reason(error, timeout_s)}") from error
    finally:
        connection.close()
    elapsed_ms = (time.monotonic() - began) * 1000
    return {"status": answer.status, "body": pack(data), "elapsed_ms": elapsed_ms}


def _reason(error: Exception, timeout_s: float) -> str:
    if isinstance(error, ConnectionRefusedError):
        return "nothing listens there (connection refused)"
    if isinstance(error, TimeoutError):  # socket.timeout is this since 3.10, a subclass before
        return f"no answer within {timeout_s:g} s"
    if "timed out" in str(error):
        return f"no answer within {timeout_s:g} s"
    return f"{type(error).__name__}: {error}".rstrip(": ")
