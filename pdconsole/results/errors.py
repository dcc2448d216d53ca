"""What can go wrong with results, in sentences for people."""

from __future__ import annotations


class ResultError(Exception):
    """A result could not be written or read; str() says which file and what to do."""
