"""Rules about load: asked for, kept up, served."""

from __future__ import annotations

from collections.abc import Sequence

from pdconsole.model.audit_evidence import (
    AuditLimits,
    Directories,
    Finding,
    Outcome,
    PointEvidence,
    of_points,
)


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
        elif point.request_rate < (1 - limits.throughput_falls) * best.request_rate:
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
        capped = [
            (point, f"{point.peak} requests in flight, and no more than {point.cap} were allowed")
            for point in directory.points
            if point.is_open and point.cap and point.peak and point.peak >= point.cap
        ]
        if capped:
            yield Finding(
                rule="capped-open-loop",
                weight="warn",
                subjects=tuple(point.file for point, _ in capped),
                evidence=f"{of_points(directory, capped)}: arrivals waited in the client, where"
                " no latency counts them",
                instead="the same request rate without --max-concurrency",
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
            if flight < limits.held * point.load and point.completed > point.load:
                short.append((point, text))
            elif point.exact_rates and flight > (1 + limits.rounding) * point.load:
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
            yield Finding(
                rule="inconsistent",
                weight="bad",
                subjects=tuple(point.file for point, _ in beyond),
                evidence=f"{of_points(directory, beyond)}, more than the client may have",
                instead="the file as the load generator wrote it, or another measurement",
            )
