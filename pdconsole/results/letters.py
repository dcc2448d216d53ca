"""One character a layout, the same in the chart, in the strips and beside them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle
from string import ascii_lowercase, ascii_uppercase, digits


def letters_of(labels: Sequence[str]) -> dict[str, str]:
    """By label, in order; they recur after 62."""
    return dict(zip(labels, cycle(ascii_uppercase + ascii_lowercase + digits), strict=False))
