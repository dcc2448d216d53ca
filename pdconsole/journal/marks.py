"""What is worth a mark on the time axis. Pure."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

MarkKind: TypeAlias = Literal["point", "run", "flag", "note", "command", "session"]


class Mark(msgspec.Struct, frozen=True):
    """Something to be seen on the time axis, and to be jumped to. `t` in session seconds."""

    t: float
    kind: MarkKind
    text: str
