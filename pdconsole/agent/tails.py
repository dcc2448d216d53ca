"""Following the files of processes by byte offset, as fast as the link takes it."""

from __future__ import annotations

import os
from typing import Dict, Tuple

from pdconsole.agent.link import Link
from pdconsole.agent.processes import Child
from pdconsole.agent.protocol import pack

CHUNK = 64 << 10
# Whoever starts a process asks to follow it a round trip later. If it dies at once, its end waits
# this long for that, so that it comes after the output that explains it.
UNFOLLOWED_END_S = 2.0


class Tail:
    """One file of one start of a token."""

    def __init__(self, child: Child, name: str, offset: int) -> None:
        self.child = child
        self.name = name
        self.offset = offset
        self._fd = -1

    def read(self) -> bytes:
        """Looks at the size first: most of the time there is nothing new."""
        if self._fd < 0:
            try:
                path = os.path.join(self.child.dir, self.name)
                self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                return b""
        if os.fstat(self._fd).st_size <= self.offset:
            return b""
        return os.pread(self._fd, CHUNK, self.offset)

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)


class Tails:
    """What one link follows. The end of a process is told after the last byte of its files."""

    def __init__(self) -> None:
        self._tails: Dict[Tuple[str, str], Tail] = {}
        self._ends: Dict[Child, float] = {}  # when to be told

    @property
    def ends_waiting(self) -> bool:
        return bool(self._ends)

    def follow(self, child: Child, name: str, offset: int) -> None:
        if name == "records" and not child.status["records"]:
            return
        old = self._tails.pop((child.token, name), None)
        if old is not None:
            old.close()
        self._tails[child.token, name] = Tail(child, name, offset)

    def note_end(self, child: Child, *, now: float) -> None:
        followed = any(tail.child is child for tail in self._tails.values())
        self._ends[child] = now if followed else now + UNFOLLOWED_END_S

    def hurry(self) -> None:
        """Ends that wait for somebody to follow are told at the next `pump`."""
        self._ends = dict.fromkeys(self._ends, 0.0)

    def pump(self, link: Link, *, now: float) -> None:
        """Sends what is new, file by file in turns, until all is sent or the link is full."""
        busy = list(self._tails.values())
        while busy and not link.full:
            busy = [tail for tail in busy if _send_chunk(tail, link)]
        unread = {tail.child for tail in busy}
        for child in [c for c, due in self._ends.items() if c not in unread and due <= now]:
            del self._ends[child]
            self._forget(child)
            link.send({"news": "process", "info": child.info()})

    def close(self) -> None:
        for tail in self._tails.values():
            tail.close()
        self._tails.clear()
        self._ends.clear()

    def _forget(self, child: Child) -> None:
        for key in [k for k, tail in self._tails.items() if tail.child is child]:
            self._tails.pop(key).close()


def _send_chunk(tail: Tail, link: Link) -> bool:
    """True if there may be more."""
    data = tail.read()
    if data:
        link.send(
            {
                "news": "bytes",
                "token": tail.child.token,
                "name": tail.name,
                "offset": tail.offset,
                "data": pack(data),
            }
        )
        tail.offset += len(data)
    return len(data) == CHUNK
