"""What a comparison is made over: a latency, a throughput and what it is divided by, a promise."""

from __future__ import annotations

import math
from collections.abc import Iterable

import msgspec

from pdconsole.model.latency_axis import LatencyAxis
from pdconsole.model.plan import Per, What
from pdconsole.model.slo import Slo
from pdconsole.results.point_row import PointRow

_UNITS: dict[What, str] = {
    "total": "tok/s",
    "input": "in tok/s",
    "output": "out tok/s",
    "requests": "req/s",
}
_MEANINGS: dict[What, str] = {
    "total": "prompt and output tokens a second",
    "input": "prompt tokens a second",
    "output": "output tokens a second",
    "requests": "requests a second",
}


class ThroughputAxis(msgspec.Struct, frozen=True, kw_only=True):
    what: What = "total"
    per: Per = "gpu"

    def unit(self, slot: str = "GPU") -> str:
        """`tok/s/GPU`, `req/s/node`, `out tok/s`; `slot` is what a GPU is called here."""
        per = {"gpu": f"/{slot}", "node": "/node", "deployment": ""}[self.per]
        return _UNITS[self.what] + per

    def explanation(self, slot: str = "GPU", rows: Iterable[PointRow] = ()) -> str:
        """What the number is and what it is divided by, of these points."""
        of = list(rows)
        one_phase = any(row.mode.endswith("-only") for row in of)
        told = not one_phase or all(row.source == "pdconsole" for row in of)
        divided = {
            "gpu": f", ÷ the {slot}s that were loaded" + ("" if told else ", as far as files tell"),
            "node": ", ÷ the nodes that it ran on",
            "deployment": " of the whole deployment",
        }
        text = f"{self.unit(slot)}: {_MEANINGS[self.what]}{divided[self.per]}"
        if self.what in ("total", "input") and any(row.mode == "decode-only" for row in of):
            text += (
                "; prompts count although decode-only computes none of them:"
                " --throughput output counts what was decoded"
            )
        return text

    def whole(self, row: PointRow) -> float | None:
        """Of the deployment, not divided."""
        values: dict[What, float | None] = {
            "total": row.total_token_throughput,
            "input": row.input_throughput,
            "output": row.output_throughput,
            "requests": row.request_throughput,
        }
        value = values[self.what]
        return value if value is not None and math.isfinite(value) else None

    def divisor(self, row: PointRow) -> int | None:
        """The denominator; None where nobody knows it."""
        if self.per == "deployment":
            return 1
        return row.gpus if self.per == "gpu" else row.nodes

    def value(self, row: PointRow) -> float | None:
        whole, divisor = self.whole(row), self.divisor(row)
        return whole / divisor if whole is not None and divisor else None

    def shown_divisor(self, row: PointRow, slot: str = "GPU") -> str:
        """`÷8 GPUs`; of a whole deployment `on 8 GPUs`, which is what it must be seen against."""
        if self.per == "deployment":
            return "" if row.gpus is None else f"on {row.gpus} {slot}s"
        divisor, name = self.divisor(row), slot if self.per == "gpu" else "node"
        return f"÷? {name}s" if divisor is None else f"÷{divisor} {name}{'s' * (divisor != 1)}"


class Axes(msgspec.Struct, frozen=True, kw_only=True):
    latency: LatencyAxis = LatencyAxis()
    throughput: ThroughputAxis = ThroughputAxis()
    slo: Slo | None = None

    def digits(self) -> int:
        """After the point, of a throughput."""
        return 2 if self.throughput.what == "requests" else 0
