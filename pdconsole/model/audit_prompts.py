"""Prompts that come again from point to point, told by counts, order and latencies.

A load generator that seeds its prompts with the same number at every point sends the first prompts
of one point again at the next. A server with prefix caching answers them without prefill, and the
throughput of layouts is then that of their caches.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from pdconsole.model.audit_evidence import (
    AuditLimits,
    Directories,
    DirectoryEvidence,
    Finding,
    Label,
    NotDetectable,
    Outcome,
    PointEvidence,
)

# Their prompts follow from --seed, which is 0 unless somebody sets it.
_SEEDED = frozenset({"vllm bench serve"})

_Full = Sequence[tuple[DirectoryEvidence, PointEvidence]]
_BURST = 3.0  # lifetimes of a request

_INSTEAD = (
    "another --seed at every point, or servers with prefix caching off; `pdconsole run` sends"
    " fresh prompts at every point and records hit rates"
)


def repeated_prompts(directories: Directories, limits: AuditLimits) -> Outcome:
    unknown = {
        p.source
        for d in directories
        for p in d.points
        if not p.fresh_prompts and p.source not in _SEEDED
    }
    for source in sorted(unknown):
        yield NotDetectable("repeated-prompts", f"{source} does not tell how it seeds prompts")
    full = _full(directories)
    for directory in directories:
        for ladder in directory.ladders:
            finding = _judged(directory, ladder, full, limits)
            if finding:
                yield finding


def _judged(
    directory: DirectoryEvidence,
    ladder: Sequence[PointEvidence],
    full: _Full,
    limits: AuditLimits,
) -> Finding | None:
    seen = _shares_seen_before(ladder, limits)
    if not any(share > 0 for share in seen):
        return None
    if ladder[0].is_open and _excluded(ladder, seen, limits):
        return None
    signs = [
        *_same_totals(ladder),
        *_faster_with_load(ladder, seen, limits),
        *_beyond_capacity(directory, ladder, full, limits),
    ]
    share = max(range(len(ladder)), key=seen.__getitem__)
    repeated = [point.file for point, of in zip(ladder, seen, strict=True) if of > 0]
    said = (
        f"equal lengths and {', '.join(str(p.completed) for p in ladder)} requests, one point"
        f" after the other: with one seed {seen[share]:.0%} of the prompts of {ladder[share].name}"
        " had been sent before"
    )
    if not signs:
        return Finding(
            rule="repeated-prompts",
            weight="info",
            subjects=tuple(repeated),
            evidence=f"possible: {said}; nothing here tells whether a prefix cache had them",
            instead=_INSTEAD,
        )
    return Finding(
        rule="repeated-prompts",
        weight="warn",
        subjects=tuple(repeated),
        evidence=f"suspected: {said}; {'; '.join(signs)}",
        instead=_INSTEAD,
    )


def _shares_seen_before(ladder: Sequence[PointEvidence], limits: AuditLimits) -> list[float]:
    """For each point, the share of prompts that earlier points sent, if the seed is the same.

    All 0 where the files speak against it: other generators, unknown times, short or other
    prompts, random lengths whose totals do not grow as those of a longer list would.
    """
    none = [0.0] * len(ladder)
    if len(ladder) < 2 or any(p.fresh_prompts or p.source not in _SEEDED for p in ladder):
        return none
    if any(not p.completed or not p.input_tokens or p.failed for p in ladder):
        return none
    means = [(p.input_tokens or 0) / p.completed for p in ladder]
    if min(means) < limits.long_prompt or max(means) > (1 + limits.lengths_off) * min(means):
        return none
    if not _one_list(ladder):
        return none
    return [
        max((min(1.0, q.completed / p.completed) for q in ladder if _before(q, p)), default=0.0)
        for p in ladder
    ]


def _before(one: PointEvidence, other: PointEvidence) -> bool:
    return one.started is not None and other.started is not None and one.started < other.started


def _one_list(ladder: Sequence[PointEvidence]) -> bool:
    """Whether each point's prompts can be the first of the same list: as many have as many
    tokens, and more have at least as many more tokens as one token each."""
    known = sorted((p.completed, p.input_tokens or 0) for p in ladder)
    return all(
        tokens == more_tokens if count == more else more_tokens - tokens >= more - count
        for (count, tokens), (more, more_tokens) in pairwise(known)
    )


def _excluded(ladder: Sequence[PointEvidence], seen: Sequence[float], limits: AuditLimits) -> bool:
    """Open loop at little load: half of the prompts answered from a cache would be seen, in the
    mean or in the spread of TTFT."""
    for (first, then), share in zip(pairwise(ladder), seen[1:], strict=True):
        if share < 0.3 or not first.ttft.mean or not then.ttft.mean or then.ttft.std is None:
            continue
        saved = 1 - limits.hit_share
        expected = 1 - share * saved
        narrowest = saved * (share * (1 - share)) ** 0.5 / expected
        if then.ttft.mean > (expected + 1) / 2 * first.ttft.mean:
            return True
        if then.ttft.std / then.ttft.mean < narrowest:
            return True
    return False


def _same_totals(ladder: Sequence[PointEvidence]) -> Iterator[str]:
    for p, q in pairwise(sorted(ladder, key=lambda point: point.completed)):
        same = (p.completed, p.input_tokens) == (q.completed, q.input_tokens)
        if same and (p.input_tokens or 0) % p.completed:
            yield (
                f"{p.name} and {q.name} have {p.input_tokens} prompt tokens to the token, although"
                " lengths vary"
            )
            return


def _faster_with_load(
    ladder: Sequence[PointEvidence], seen: Sequence[float], limits: AuditLimits
) -> Iterator[str]:
    """A first token that comes earlier because more was asked; the first point is left out, for
    cold servers explain it there."""
    for (less, more), share in zip(pairwise(ladder[1:]), seen[2:], strict=True):
        if not less.ttft.p50 or not more.ttft.p50 or share < 0.5:
            continue
        served_more = more.load != less.load and more.request_rate > less.request_rate
        if served_more and more.ttft.p50 < limits.faster_anyway * less.ttft.p50:
            yield (
                f"median TTFT falls from {less.ttft.p50:.0f} to {more.ttft.p50:.0f} ms while load"
                f" grows from {less.name} to {more.name}"
            )
            return


def _is_slower_place(one: Label, other: Label) -> bool:
    """Whether the first may serve less because of its network. On one node it does not."""
    conflicts = [text for text in one.conflicts(other) if text.startswith(("network", "placement"))]
    return bool(conflicts) and one.placement != "pack"


def _is_short(point: PointEvidence) -> bool:
    """A burst that is over before it is steady is served more slowly than it could be."""
    return point.request_s is None or point.duration < _BURST * point.request_s


def _full(directories: Directories) -> _Full:
    """Points that were offered more than they could serve."""
    return [
        (directory, point)
        for directory in directories
        if directory.label.layout is not None
        for point in directory.points
        if point.is_open and point.load and point.request_rate < 0.8 * point.load
        if not _is_short(point)
    ]


def _beyond_capacity(
    directory: DirectoryEvidence,
    ladder: Sequence[PointEvidence],
    full: _Full,
    limits: AuditLimits,
) -> Iterator[str]:
    """More requests a second than the same layout serves when it is offered more than it can."""
    best = max(ladder, key=lambda point: point.request_rate)
    mine = directory.label
    for other, point in full:
        label = other.label
        if (label.layout, label.workload) != (mine.layout, mine.workload):
            continue
        if _is_slower_place(label, mine):
            continue
        if best.request_rate > limits.beyond_capacity * point.request_rate:
            yield (
                f"{best.request_rate:.1f} requests/s at {best.name}, though the layout serves"
                f" {point.request_rate:.1f} of {point.load:g} offered in {other.path}"
            )
            return
