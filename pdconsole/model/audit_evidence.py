"""What an audit looks at, and what it says: evidence of result files in, findings out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property

import msgspec

from pdconsole.model.layout import Layout
from pdconsole.model.quality import Weight

_STILL_GROWS = 1.05  # throughput from one load to the next, below saturation


class Spread(msgspec.Struct, frozen=True):
    """A latency over the requests of a point, ms; None where the file does not tell."""

    mean: float | None = None
    std: float | None = None
    p50: float | None = None
    p99: float | None = None


class PointEvidence(msgspec.Struct, frozen=True, kw_only=True):
    """What one file tells about one point. Seconds unless a name says ms; rates a second."""

    file: str
    source: str
    fresh_prompts: bool = False  # what wrote it never sends a prompt twice
    whole_run: bool = True  # numbers cover ramp-up and drain
    exact_rates: bool = True  # they are counts over the duration, and nothing else
    load_kind: str = "concurrency"  # or request_rate
    load: float | None = None
    started: float | None = None  # Unix time, to a second or so
    duration: float
    completed: int
    failed: int | None = None
    asked: int | None = None
    cap: int | None = None  # most requests that the client keeps in flight
    peak: int | None = None  # most in flight, as measured
    peak_counts_seconds: bool = (
        False  # most in any second: those that follow one another both count
    )
    burstiness: float | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    request_rate: float  # served
    token_rate: float  # prompt and output tokens
    ttft: Spread = Spread()
    tpot: Spread = Spread()
    itl: Spread = Spread()
    e2el: Spread = Spread()
    input_len: int | None = None
    output_len: int | None = None
    mode: str = ""

    @property
    def is_open(self) -> bool:
        return self.load_kind == "request_rate"

    @property
    def name(self) -> str:
        """`c=16`, `rr=4`."""
        return f"{'rr' if self.is_open else 'c'}={'?' if self.load is None else f'{self.load:g}'}"

    @property
    def output_per_request(self) -> float | None:
        if not self.completed or not self.output_tokens:
            return None
        return self.output_tokens / self.completed

    @property
    def request_s(self) -> float | None:
        """How long a request lives on average."""
        if self.e2el.mean is not None:
            return self.e2el.mean / 1000
        if self.ttft.mean is None or self.output_per_request is None:
            return None
        if self.output_per_request > 1 and self.tpot.mean is None:
            return None
        decode = (self.tpot.mean or 0.0) * (self.output_per_request - 1)
        return (self.ttft.mean + decode) / 1000

    @property
    def same_outputs(self) -> bool:
        """Whether every answer had as many tokens as every other, as far as totals tell."""
        return (
            self.output_len is not None and self.output_tokens == self.completed * self.output_len
        )

    @property
    def setting(self) -> tuple[object, ...]:
        """What another point must have to be a repeat of this one."""
        return (self.load_kind, self.load, 1.0 if self.burstiness is None else self.burstiness)

    @property
    def fingerprint(self) -> tuple[object, ...] | None:
        """Equal for two points only if one is a copy of the other: no timing comes twice. None
        where nothing was timed."""
        ttft = self.ttft.mean if self.ttft.mean is not None else self.ttft.p50
        timed = (ttft, self.tpot.mean, self.e2el.mean)
        if not self.completed or not any(timed):
            return None
        return (self.completed, self.duration, self.request_rate, *timed)


class Label(msgspec.Struct, frozen=True, kw_only=True):
    """What a directory says it holds; "" and None where it does not."""

    model: str = ""
    gpu_model: str = ""
    layout: Layout | None = None
    placement: str = ""
    network: str = ""
    input_len: int | None = None
    output_len: int | None = None
    mode: str = ""

    @property
    def workload(self) -> tuple[object, ...]:
        return (self.model, self.gpu_model, self.input_len, self.output_len, self.mode)

    def conflicts(self, other: Label) -> list[str]:
        """Where both say something and not the same: `network: tcp, srd`."""
        found = []
        for field in self.__struct_fields__:
            one, two = getattr(self, field), getattr(other, field)
            if field == "network" and _is_library(one, two):
                continue
            if one and two and one != two:
                found.append(f"{field.replace('_', ' ')}: {_text(one)}, {_text(two)}")
        return found


def _is_library(one: str, two: str) -> bool:
    """UCX names no transport, so it is no other one than srd or tcp."""
    return any(name.startswith("ucx") for name in (one, two))


def _text(value: object) -> str:
    return value.slug if isinstance(value, Layout) else str(value)


class DirectoryEvidence(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """The points of one run in the order of load."""

    path: str
    within: str = ""  # the directory that holds this run and others
    label: Label
    points: tuple[PointEvidence, ...]

    @property
    def is_pd(self) -> bool:
        return self.label.layout is not None and self.label.layout.is_pd

    @cached_property
    def ladders(self) -> tuple[tuple[PointEvidence, ...], ...]:
        """Its closed-loop points and its open-loop points, each by load, where loads are known."""
        known = sorted((p for p in self.points if p.load is not None), key=lambda p: p.load or 0.0)
        ladders = [tuple(p for p in known if p.is_open is is_open) for is_open in (False, True)]
        return tuple(ladder for ladder in ladders if ladder)

    @cached_property
    def tpots_below_saturation(self) -> dict[tuple[str, float], float]:
        """Median TPOT by load, but the lowest, as long as throughput grows with load."""
        found: dict[tuple[str, float], float] = {}
        for ladder in self.ladders:
            best = ladder[0].request_rate
            for point in ladder[1:]:
                if point.request_rate < _STILL_GROWS * best:
                    break
                best = point.request_rate
                if point.tpot.p50 and point.load is not None:
                    found[(point.load_kind, point.load)] = point.tpot.p50
        return found


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What is wrong or doubtful; `subjects` are the files or directories that it is about."""

    rule: str
    weight: Weight
    subjects: tuple[str, ...]
    evidence: str
    instead: str  # what to run, or to read, instead
    where: str = ""  # the run whose files the subjects are, where they are files


class NotDetectable(msgspec.Struct, frozen=True):
    """A fault that these files cannot show, present or not."""

    rule: str
    why: str


class AuditLimits(msgspec.Struct, frozen=True, kw_only=True):
    """From where on a rule speaks.

    Published repeats of one layout differ by about 6 % in throughput and TPOT and by 15 % in median
    TTFT, so nothing below twice that is called a difference of two runs.
    """

    # Repeated prompts: a hit takes at most this share of a cold TTFT, on prompts this long.
    hit_share: float = 0.6
    long_prompt: int = 1024
    faster_anyway: float = 0.9  # median TTFT against the point before, at more load
    beyond_capacity: float = 1.2
    # First contact
    contact_ratio: float = 1.5  # p99 TTFT of the lowest load to that of the next, together with:
    contact_excess_ms: float = 500.0
    # Repeats, and layouts with equal decode sides
    repeat_noise: float = 0.25
    drift: float = 0.04  # of median TPOT, in one direction at all of at least:
    drift_points: int = 5
    twin_noise: float = 0.06
    stranger: float = 0.12
    # Load
    throughput_falls: float = 0.08
    behind_offered: float = 0.9
    capped: float = 0.9  # of the cap, for which the busiest second is evidence enough
    queue_growth: float = 3.0  # median TTFT to that at the lowest rate
    held: float = 0.75  # of the concurrency that was asked for
    flight_rounding: float = 0.1  # of requests in flight, from means of two latencies
    # KV transfers: prompt tokens a second of one request's TTFT, together with:
    slow_kv_tokens_per_s: float = 1500.0
    slow_kv_ttft_ms: float = 2000.0
    slower_than_twin: float = 5.0
    # A prompt's token against a decode step: prefill takes a hundredth of one, a few of a weak CPU.
    slow_kv_steps: float = 0.2
    first_waves: int = 3  # requests for each one in flight, until the first contacts are few
    # Arithmetic and labels
    rounding: float = 0.02
    lengths_off: float = 0.02
    chunked: float = 1.2  # mean ITL to mean TPOT


Outcome = Iterator[Finding | NotDetectable]
Directories = Sequence[DirectoryEvidence]


def of_points(
    directory: DirectoryEvidence, said: Sequence[tuple[PointEvidence, str]], shown: int = 1
) -> str:
    """What is said of points of one directory: `c=4: …; 5 of 6 points in all`."""
    parts = [f"{point.name}: {text}" for point, text in said[:shown]]
    points = {point.file for point, _ in said}
    if len(points) > len({point.file for point, _ in said[:shown]}):
        parts.append(f"{len(points)} of {len(directory.points)} points in all")
    return "; ".join(parts)
