"""Rules that say how far a point's numbers can be trusted: evidence in, flags out."""

from __future__ import annotations

from typing import Literal

import msgspec

Weight = Literal["info", "warn", "bad"]


class Flag(msgspec.Struct, frozen=True, kw_only=True):
    """`info` explains, `warn` asks for care, `bad` makes the number no measurement."""

    name: str
    evidence: str
    weight: Weight = "warn"

    def __str__(self) -> str:
        return f"{self.name}: {self.evidence}"
