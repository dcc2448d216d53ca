"""Where the agent keeps its things, under the work directory of its user.

    <work_dir>/bin/agent-<sha256>.pyz
    <work_dir>/<hostname>/sessions/<hash>/     socket, lock, agent.log, ended.json, session
    <work_dir>/<hostname>/sessions/<hash>/processes/<hash>/<n>/   the n-th start of a token
    <work_dir>/<hostname>/locks/               GPU locks of a simulated node

The hostname is in the path because home directories are often shared between nodes.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
import stat
from typing import Any, Dict, List, Optional

from pdconsole.agent.protocol import AgentError

SHARED_LOCKS = "/tmp/pdconsole-gpu-locks"


def short_hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:16]


def node_dir(work_dir: str) -> str:
    return os.path.join(work_dir, socket.gethostname() or "localhost")


def session_dir(work_dir: str, session: str) -> str:
    return os.path.join(node_dir(work_dir), "sessions", short_hash(session))


def private_dir(path: str) -> str:
    """Makes the directory and its parents, ours alone; refuses one that others can write."""
    try:
        _make_dirs(path)
        found = os.stat(path)
    except OSError as error:
        raise disk_error(path, error) from error
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
        raise AgentError(
            "disk",
            f"{path} is not a directory that only this user can write; "
            "correct its owner and mode (0700), or set another work_dir",
        )
    return path


def _make_dirs(path: str) -> None:
    if os.path.isdir(path):
        return
    _make_dirs(os.path.dirname(path))
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        if not os.path.isdir(path):
            raise


def expanded(word: str) -> str:
    """A word of a command line; one that begins with ~/ is a path under this user's home."""
    return os.path.expanduser(word) if word.startswith("~/") else word


def disk_error(path: str, error: OSError) -> AgentError:
    return AgentError(
        "disk",
        f"cannot write {path}: {error.strerror}; free space or permissions there, "
        "or set another work_dir in the cluster profile",
    )


def write_whole(path: str, text: str) -> None:
    """Writes the file so that readers see the old text or the new, never half of it."""
    part = f"{path}.{os.getpid()}.part"
    fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        with open(fd, "w", encoding="utf-8", errors="replace") as file:
            file.write(text)
        os.replace(part, path)
    except OSError:
        os.unlink(part)
        raise


def read_json(path: str) -> Optional[Dict[str, Any]]:
    """The object in a file of ours; None if there is none, or a broken one."""
    try:
        with open(path, encoding="utf-8") as file:
            value = json.load(file)
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def starts_of(process_dir: str) -> List[int]:
    """The numbered starts in a token's directory, oldest first."""
    try:
        names = os.listdir(process_dir)
    except FileNotFoundError:
        return []
    return sorted(int(name) for name in names if name.isdigit())


class SocketAddress:
    """A UNIX socket's address through its directory's descriptor: paths longer than the 108
    bytes that an address may have are fine."""

    def __init__(self, path: str) -> None:
        directory, self._name = os.path.split(path)
        self._fd = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)

    def __enter__(self) -> str:
        return f"/proc/self/fd/{self._fd}/{self._name}"

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)


def listen(path: str) -> socket.socket:
    """A listening UNIX socket at `path`; a stale one of ours is replaced."""
    with SocketAddress(path) as address:
        server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            if os.path.lexists(path):
                os.unlink(path)
            server.bind(address)
            os.chmod(path, 0o600)
            server.listen(16)
        except OSError:
            server.close()
            raise
    return server


def connect(path: str, timeout_s: float) -> Optional[socket.socket]:
    """A connection to a UNIX socket of ours; None if nobody listens there."""
    client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    client.settimeout(timeout_s)
    try:
        with SocketAddress(path) as address:
            client.connect(address)
    except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError):
        client.close()
        return None
    except OSError:
        client.close()
        raise
    return client


def peer_is_us(connection: socket.socket) -> bool:
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    return int.from_bytes(credentials[4:8], "little") == os.getuid()
