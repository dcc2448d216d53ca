"""Where each followed file stands, so that nothing is lost or repeated over reconnects."""

from __future__ import annotations

from pdconsole.remote.values import LogChunk, News, Records

LOG, RECORDS = "log", "records"


class Follow:
    """One file of one process: the next byte wanted, and the beginning of an unfinished line."""

    def __init__(self, node: str, token: str, name: str, offset: int) -> None:
        self._node = node
        self._token = token
        self._name = name
        self.offset = offset
        self._rest = b""

    def take(self, offset: int, data: bytes) -> News | None:
        """The news in bytes that came from `offset` on; None if they hold nothing new."""
        data = data[max(0, self.offset - offset) :]
        if not data or offset > self.offset:
            return None
        at = self.offset
        self.offset += len(data)
        if self._name == LOG:
            return LogChunk(self._node, self._token, at, data)
        at -= len(self._rest)
        *lines, self._rest = (self._rest + data).split(b"\n")
        return Records(self._node, self._token, at, lines) if lines else None


class Follows:
    """All files that a client follows."""

    def __init__(self, node: str) -> None:
        self._node = node
        self._files: dict[tuple[str, str], Follow] = {}

    def add(self, token: str, offsets: dict[str, int]) -> None:
        for name, offset in offsets.items():
            self._files[token, name] = Follow(self._node, token, name, offset)

    def drop(self, token: str) -> None:
        for key in [key for key in self._files if key[0] == token]:
            del self._files[key]

    def take(self, token: str, name: str, offset: int, data: bytes) -> News | None:
        follow = self._files.get((token, name))
        return None if follow is None else follow.take(offset, data)

    def positions(self) -> list[tuple[str, str, int]]:
        """What to ask of a new connection."""
        return [(token, name, f.offset) for (token, name), f in self._files.items()]
