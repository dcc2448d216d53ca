"""A node's Ray exporter, read once for all doors of the node.

The exporter renders what every process of the node counts, each time it is asked. The doors of a
node are asked for metrics at the same moment, so they share an answer: a file in the session's
directory that one of them writes while it holds a lock.
"""

from __future__ import annotations

import fcntl
import hashlib
import http.client
import os
import tempfile
import time
from urllib.parse import urlsplit

from pdconsole.agent import paths, sweep
from pdconsole.agent.protocol import AgentError

TIMEOUT_S = 10.0
FRESH_S = 0.3


class ExporterError(Exception):
    """There are no metrics; str() says why."""


def fetch(url: str) -> str:
    """The exporter's text, at most FRESH_S old."""
    name = hashlib.sha256(url.encode()).hexdigest()[:16]
    path = os.path.join(_folder(), f"exporter-{name}")
    asked = time.monotonic()
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise ExporterError(f"cannot write {path}: {error.strerror}") from None
    with open(fd, "r+", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        head = file.readline().strip()
        # Written while this one waited for the lock counts as fresh too.
        if head and float(head) > min(asked, time.monotonic() - FRESH_S):
            return file.read()
        exported = _ask(url)
        file.seek(0)
        file.truncate()
        file.write(f"{time.monotonic()}\n{exported}")
        return exported


def _folder() -> str:
    """The session's directory on this node; without a session, as by hand, one of this user."""
    work_dir = os.environ.get(sweep.WORK_DIR, "")
    session = os.environ.get(sweep.SESSION, "")
    if work_dir and session:
        return paths.session_dir(work_dir, session)
    try:
        return paths.private_dir(
            os.path.join(tempfile.gettempdir(), f"pdconsole-ray-{os.getuid()}")
        )
    except AgentError as error:
        raise ExporterError(str(error)) from None


def _ask(url: str) -> str:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(
        parts.hostname or "", parts.port or 80, timeout=TIMEOUT_S
    )
    try:
        connection.request("GET", parts.path or "/metrics")
        response = connection.getresponse()
        body = response.read()
    except (OSError, http.client.HTTPException) as error:
        why = getattr(error, "strerror", None) or repr(error)
        raise ExporterError(f"Ray's exporter at {url} does not answer: {why}") from None
    finally:
        connection.close()
    if response.status != 200:
        raise ExporterError(f"Ray's exporter at {url} answered HTTP {response.status}")
    return body.decode("utf-8", "replace")
