"""The workspace's sessions, read again only where something changed."""

from __future__ import annotations

from pathlib import Path

from pdconsole.journal import SessionDir, SessionSummary
from pdconsole.journal.session import EVENTS, META, SESSIONS, summarize

_Signature = tuple[int, int, int, bool]


class SessionList:
    """`refresh` does the reading, and may take a while the first time."""

    def __init__(self, workspace: Path) -> None:
        self._directory = workspace / SESSIONS
        self._known: dict[str, tuple[_Signature, SessionSummary]] = {}

    def refresh(self) -> tuple[SessionSummary, ...]:
        """The newest first."""
        found: dict[str, tuple[_Signature, SessionSummary]] = {}
        for path in self._paths():
            signature = _signature(path)
            known = self._known.get(path.name)
            if known is None or known[0] != signature:
                try:
                    known = (signature, summarize(SessionDir(path)))
                except FileNotFoundError:
                    continue  # deleted while it was read
            found[path.name] = known
        self._known = found
        return tuple(summary for _, summary in found.values())

    def _paths(self) -> list[Path]:
        try:
            entries = sorted(self._directory.iterdir(), key=lambda p: p.name, reverse=True)
        except FileNotFoundError:
            return []
        return [
            path
            for path in entries
            if not path.name.startswith(".")
            and ((path / EVENTS).exists() or (path / META).exists())
        ]


def _signature(path: Path) -> _Signature:
    events, meta = _stat(path / EVENTS), _stat(path / META)
    return (*events, meta[1], SessionDir(path).is_held())


def _stat(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except FileNotFoundError:
        return (0, 0)
    return (found.st_size, found.st_mtime_ns)
