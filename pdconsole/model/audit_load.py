"""Rules about load: asked for, kept up, served."""

from __future__ import annotations

import math
from collections.abc import Sequence

from pdconsole.model.audit_evidence import (
    AuditLimits,
    Directories,
    Finding,
    Outcome,
    PointEvidence,
    of_points,
)
from pdconsole.model.quality import Limits

_LIFETIMES = Limits().lifetimes


def saturation(directories: Directories, limits: AuditLimits) -> Outcome:
    """Closed loop: throughput below what less load reached. Open loop: served behind offered."""
    for directory in directories:
        for ladder in directory.ladders:
            past = _behind_offered(ladder, limits) if ladder[0].is_open else _past(ladder, limits)
            if past:
                yield Finding(
                    rule="saturation",
                    weight="warn",
                    subjects=tuple(point.file for point, _ in past),
                    evidence=of_points(directory, past),
                    instead="compare layouts below these loads; above them latency is a queue that"
                    " grows with the length of the run",
                )


def _past(ladder: Sequence[PointEvidence], limits: AuditLimits) -> list[tuple[PointEvidence, str]]:
    found = []
    best = ladder[0]
    for point in ladder[1:]:
        if point.request_rate >= best.request_rate:
            best = point
        elif (
            point.load != best.load
            and point.request_rate < (1 - limits.throughput_falls) * best.request_rate
        ):
            text = f"{point.request_rate:.2f} requests/s, but {best.request_rate:.2f} at"
            found.append((point, f"{text} {best.name}"))
    return found


def _behind_offered(
    ladder: Sequence[PointEvidence], limits: AuditLimits
) -> list[tuple[PointEvidence, str]]:
    found = []
    for point in ladder:
        if not point.load or point.request_rate >= limits.behind_offered * point.load:
            continue
        least, now = ladder[0].ttft.p50, point.ttft.p50
        if least and now and now >= limits.queue_growth * least:
            text = f"{point.load:g} requests/s offered, {point.request_rate:.2f} served, median"
            found.append((point, f"{text} TTFT {now / least:.0f} times that at {ladder[0].name}"))
    return found


def capped(directories: Directories, limits: AuditLimits) -> Outcome:
    for directory in directories:
        capped = [(point, text) for point in directory.points if (text := _at_cap(point, limits))]
        if capped:
            yield Finding(
                rule="capped-open-loop",
                weight="warn",
                subjects=tuple(point.file for point, _ in capped),
                evidence=f"{of_points(directory, capped)}; arrivals waited in the client, where"
                " no latency counts them",
                instead="the same request rate without --max-concurrency",
            )


def _at_cap(point: PointEvidence, limits: AuditLimits) -> str:
    """How near a capped open loop came to its cap; "" where it had room left."""
    if not point.is_open or not point.cap or not point.peak:
        return ""
    if not point.peak_counts_seconds:
        if point.peak < point.cap:
            return ""
        return f"{point.peak} requests in flight, and {point.cap} is the most that was allowed"
    # Those that ended in the busiest second, and those that took their places, both count.
    at_least = point.peak - 2 * max(point.request_rate, point.load or 0.0)
    if point.peak < point.cap or at_least < limits.capped * point.cap:
        return ""
    return (
        f"{point.peak} requests seen in the busiest second, and {point.cap} at a time is the most"
        " that was allowed"
    )


def held(directories: Directories, limits: AuditLimits) -> Outcome:
    """Little's law: requests in flight = rate x lifetime."""
    for directory in directories:
        short, beyond = [], []
        for point in directory.points:
            if point.is_open or not point.load or point.request_s is None:
                continue
            flight = point.request_rate * point.request_s
            text = f"{flight:.1f} requests were in flight on average"
            # A short run is short of load at its ends, which is said elsewhere.
            long = point.duration >= _LIFETIMES * point.request_s
            if long and flight < limits.held * point.load:
                short.append((point, text))
            elif flight > point.load * (1 + _tolerance(point, limits)):
                beyond.append((point, text))
        if short:
            yield Finding(
                rule="concurrency-not-held",
                weight="warn",
                subjects=tuple(point.file for point, _ in short),
                evidence=of_points(directory, short),
                instead="more requests a point, and a look at the client's CPU: load was lower"
                " than the name says",
            )
        if beyond:
            more = [(point, f"{text}, more than the client may have") for point, text in beyond]
            yield Finding(
                rule="inconsistent",
                weight="bad",
                subjects=tuple(point.file for point, _ in beyond),
                evidence=of_points(directory, more),
                instead="the file as the load generator wrote it, or another measurement",
            )


def _tolerance(point: PointEvidence, limits: AuditLimits) -> float:
    """How far above the truth a mean of requests in flight may be.

    A lifetime that is made of mean TTFT, mean TPOT and mean length holds where all answers are of
    one length; short ones have the longer steps.
    """
    if not point.exact_rates:
        return math.inf
    if point.e2el.mean is not None:
        return limits.rounding
    return limits.flight_rounding if point.same_outputs else math.inf
