"""What is sent: lengths, mode, prompts, load levels, and how a point is measured."""

from __future__ import annotations

from typing import Literal

import msgspec

Mode = Literal["mixed", "prefill-only", "decode-only"]
Prompts = Literal["fresh", "fixed"]
PointKind = Literal["concurrency", "request_rate"]


class Workload(msgspec.Struct, frozen=True, kw_only=True):
    """One workload in one mode. Lengths are tokens."""

    name: str
    input_len: int
    output_len: int
    mode: Mode = "mixed"
    # fresh: other prompts at every point, the same for every layout.
    # fixed: the field's older way, one seed for all points, so later points hit the prefix cache.
    prompts: Prompts = "fresh"
    prefix_caching: bool = False

    @property
    def slug(self) -> str:
        return f"itl{self.input_len}_otl{self.output_len}_{self.mode}"


class Point(msgspec.Struct, frozen=True):
    """One load level: `concurrency` requests in flight, or `request_rate` requests a second."""

    kind: PointKind
    value: float

    @property
    def id(self) -> str:
        """`conc16` or `rr4`; names the point's files."""
        prefix = "conc" if self.kind == "concurrency" else "rr"
        return f"{prefix}{self.value:g}"

    @property
    def label(self) -> str:
        return f"{'c' if self.kind == 'concurrency' else 'rr'}={self.value:g}"


class MeasurePolicy(msgspec.Struct, frozen=True, kw_only=True):
    """How a point is measured.

    A closed-loop point warms up for `warmup_rounds` and a half x concurrency finished requests, its
    window holds at least `window_rounds` x concurrency finished requests and `min_window_s`
    seconds. An open-loop point warms up for `warmup_s` and its window lasts `min_window_s` and
    `min_requests`. `window="whole"` is the field's older way: no warm-up, the window is the run.
    """

    window: Literal["steady", "whole"] = "steady"
    warmup_rounds: float = 2.0
    warmup_s: float = 5.0
    window_rounds: float = 5.0
    min_requests: int = 20
    min_window_s: float = 20.0
    max_window_s: float = 600.0
    drain_timeout_s: float = 120.0
    # Stop early, or go on up to max_window_s, until the 95 % interval of mean E2EL is this narrow.
    until_relative_ci: float | None = None
