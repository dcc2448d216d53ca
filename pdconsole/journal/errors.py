"""What can go wrong with a recording, in sentences for people."""

from __future__ import annotations


class JournalError(Exception):
    """A recording could not be written or read; str() says which file and what to do."""


class DiskFullError(JournalError):
    """There was no room. The first `kept` bytes of what was to be written are in the file."""

    def __init__(self, message: str, *, kept: int = 0) -> None:
        super().__init__(message)
        self.kept = kept
