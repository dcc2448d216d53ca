"""Rules about files that contradict themselves, their names, or each other in one directory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from pdconsole.model.audit_evidence import (
    AuditLimits,
    Directories,
    DirectoryEvidence,
    Finding,
    Outcome,
    PointEvidence,
    of_points,
)


def arithmetic(directories: Directories, limits: AuditLimits) -> Outcome:
    for directory in directories:
        wrong = [
            (point, text) for point in directory.points for text in _contradictions(point, limits)
        ]
        if wrong:
            yield Finding(
                rule="inconsistent",
                weight="bad",
                subjects=tuple(dict.fromkeys(point.file for point, _ in wrong)),
                evidence=of_points(directory, wrong, shown=2),
                instead="the file as the load generator wrote it, or another measurement",
            )


def _contradictions(point: PointEvidence, limits: AuditLimits) -> Iterator[str]:
    rate = point.completed / point.duration if point.duration > 0 else 0.0
    if point.exact_rates and abs(rate - point.request_rate) > limits.rounding * max(rate, 1e-9):
        yield f"{point.completed} requests in {point.duration:.1f} s are not"
        f" {point.request_rate:.2f} a second"
    if point.input_tokens is not None and point.output_tokens is not None and point.duration > 0:
        tokens = (point.input_tokens + point.output_tokens) / point.duration
        if point.exact_rates and abs(tokens - point.token_rate) > limits.rounding * max(
            tokens, 1e-9
        ):
            yield f"its token counts make {tokens:.0f} tokens/s, not {point.token_rate:.0f}"
    for name in ("ttft", "tpot", "itl", "e2el"):
        spread = getattr(point, name)
        known = [value for value in (spread.mean, spread.p50, spread.p99) if value is not None]
        if known and min(known) < 0:
            yield f"{name.upper()} of {min(known):.1f} ms"
        if spread.p50 is not None and spread.p99 is not None and _above(spread.p50, spread.p99):
            yield f"median {name.upper()} {spread.p50:.1f} ms above its p99 {spread.p99:.1f}"
    for what in ("mean", "p50"):
        ttft, e2el = getattr(point.ttft, what), getattr(point.e2el, what)
        if ttft is not None and e2el is not None and _above(ttft, e2el):
            yield f"a first token after {ttft:.1f} ms, the last one after {e2el:.1f}"
    if point.exact_rates and point.asked and point.completed > point.asked:
        yield f"{point.completed} requests finished of {point.asked} that were sent"


def _above(one: float, other: float) -> bool:
    """By more than numbers that somebody rounded."""
    return one > other + max(0.06, 0.001 * abs(other))


def lengths(directories: Directories, limits: AuditLimits) -> Outcome:
    for directory in directories:
        off = [(p, text) for p in directory.points for text in _other_lengths(p, limits)]
        if off:
            yield Finding(
                rule="other-lengths",
                weight="warn",
                subjects=tuple(dict.fromkeys(point.file for point, _ in off)),
                evidence=of_points(directory, off),
                instead="--ignore-eos and fixed lengths (--random-range-ratio 0), or a name that"
                " says what was sent",
            )


def _other_lengths(point: PointEvidence, limits: AuditLimits) -> Iterator[str]:
    if not point.completed:
        return
    for what, total, told in (
        ("prompt", point.input_tokens, point.input_len),
        ("output", point.output_tokens, point.output_len),
    ):
        if not total or not told or (what == "output" and point.mode == "prefill-only"):
            continue
        each = total / point.completed
        if abs(each - told) > max(limits.lengths_off * told, 1.0):
            yield f"{each:.0f} {what} tokens a request, {told} by its label"


def chunked(directories: Directories, limits: AuditLimits) -> Outcome:
    for directory in directories:
        found = [
            (p, f"mean ITL {p.itl.mean:.1f} ms is {p.itl.mean / p.tpot.mean:.1f} times mean TPOT")
            for p in directory.points
            if p.itl.mean and p.tpot.mean and p.itl.mean > limits.chunked * p.tpot.mean
        ]
        if found:
            yield Finding(
                rule="chunked-stream",
                weight="info",
                subjects=tuple(point.file for point, _ in found),
                evidence=f"{of_points(directory, found)}: chunks of the stream hold several tokens",
                instead="compare TPOT, not ITL, with servers that stream token by token",
            )


def _apart(runs: Sequence[DirectoryEvidence]) -> list[str]:
    """In what runs of one directory differ."""
    first, *others = runs
    found = [
        field.replace("_", " ")
        for field in ("model", "layout", "placement", "network", "mode")
        if any(getattr(other.label, field) != getattr(first.label, field) for other in others)
    ]
    if len({point.source for run in runs for point in run.points}) > 1:
        found.append("program")
    return found or ["lengths"]


def mixed(directories: Directories, limits: AuditLimits) -> Outcome:
    holders: dict[str, list[DirectoryEvidence]] = {}
    for directory in directories:
        if directory.within:
            holders.setdefault(directory.within, []).append(directory)
    for path, runs in holders.items():
        yield Finding(
            rule="mixed-directory",
            weight="info",
            subjects=(path,),
            evidence=f"{path}: its points are of {len(runs)} runs, told apart by"
            f" {' and '.join(_apart(runs))}; each was judged alone",
            instead="one directory a run",
        )
    for directory in directories:
        for ladder in directory.ladders:
            twice = [p for p, q in pairwise(ladder) if p.load == q.load]
            for point in twice[:1]:
                yield Finding(
                    rule="mixed-directory",
                    weight="info",
                    subjects=(directory.path,),
                    evidence=f"{directory.path}: {point.name} is there more than once",
                    instead="one directory a run, repeats in others",
                )
