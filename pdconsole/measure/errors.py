"""The one exception of this part."""

from __future__ import annotations


class MeasureError(Exception):
    """A point that could not be measured; says what died or failed, where, and what to do."""
