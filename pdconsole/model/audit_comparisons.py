"""Rules that take several directories: copies, times, labels that disagree."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations
from statistics import median

from pdconsole.model.audit_evidence import (
    AuditLimits,
    Directories,
    DirectoryEvidence,
    Finding,
    Outcome,
    PointEvidence,
)
from pdconsole.model.layout import Layout

_STILL_GROWS = 1.05  # throughput from one load to the next, below saturation


def duplicates(directories: Directories, limits: AuditLimits) -> Outcome:
    """Directories that hold the same measurements: one run under several names."""
    seen: dict[tuple[object, ...], list[tuple[DirectoryEvidence, PointEvidence]]] = {}
    for directory in directories:
        for point in directory.points:
            seen.setdefault(point.fingerprint, []).append((directory, point))
    shared: dict[tuple[str, ...], list[tuple[DirectoryEvidence, PointEvidence]]] = {}
    for holders in seen.values():
        paths = tuple(directory.path for directory, _ in holders)
        if len(holders) > 1:
            shared.setdefault(paths, []).append(holders[0])
    by_path = {directory.path: directory for directory in directories}
    for paths, points in shared.items():
        yield _copies([by_path[path] for path in paths], [point for _, point in points])


def _copies(holders: Sequence[DirectoryEvidence], points: Sequence[PointEvidence]) -> Finding:
    conflicts = list(
        dict.fromkeys(
            text
            for one, other in combinations(holders, 2)
            for text in one.label.conflicts(other.label)
        )
    )
    names = " and ".join(directory.path for directory in holders)
    said = f"{len(points)} point{'s' if len(points) > 1 else ''} are the same measurement: {names}"
    if conflicts:
        said += f"; their names say different things ({'; '.join(conflicts)})"
    return Finding(
        rule="identical-files",
        weight="bad" if conflicts else "warn",
        subjects=tuple(dict.fromkeys(directory.path for directory in holders)),
        evidence=said,
        instead="find out which name is right, and measure the other"
        if conflicts
        else "count it once; for a repeat, measure again",
    )


def simultaneous(directories: Directories, limits: AuditLimits) -> Outcome:
    """Different measurements with the same times: mislabelled, or they disturbed each other."""
    prints = {d.path: {p.fingerprint for p in d.points} for d in directories}
    timed = [(d, span) for d in directories if (span := _span(d))]
    timed.sort(key=lambda pair: pair[1])
    for i, (one, (_, ended)) in enumerate(timed):
        for other, (started, _) in timed[i + 1 :]:
            if started >= ended:
                break
            if prints[one.path] & prints[other.path]:
                continue
            common = _same_starts(one, other)
            if not common and not _overlapping(one, other):
                continue
            if common > 1:
                said = f"{common} points bear the same time, with other numbers"
                instead = "find out which run these files are of; one of the names is wrong"
            else:
                said = "they were measured at the same time"
                instead = "one run at a time, unless they had machines of their own"
            yield Finding(
                rule="same-time",
                weight="bad" if common > 1 else "info",
                subjects=(one.path, other.path),
                evidence=f"{one.path} and {other.path}: {said}",
                instead=instead,
            )


def _span(directory: DirectoryEvidence) -> tuple[float, float] | None:
    known = [(p.started, p.started + p.duration) for p in directory.points if p.started is not None]
    return (min(a for a, _ in known), max(b for _, b in known)) if known else None


def _ends(directory: DirectoryEvidence) -> list[float]:
    return [round(p.started + p.duration) for p in directory.points if p.started is not None]


def _same_starts(one: DirectoryEvidence, other: DirectoryEvidence) -> int:
    return len(set(_ends(one)) & set(_ends(other)))


def _overlapping(one: DirectoryEvidence, other: DirectoryEvidence) -> bool:
    return any(
        p.started is not None
        and q.started is not None
        and min(p.started + p.duration, q.started + q.duration) - max(p.started, q.started) > 2.0
        for p in one.points
        for q in other.points
    )


def disagreeing(directories: Directories, limits: AuditLimits) -> Outcome:
    """Two directories of one label that differ by more than repeats do."""
    groups: dict[str, list[DirectoryEvidence]] = {}
    for directory in directories:
        if directory.label.layout is not None:
            groups.setdefault(repr(directory.label), []).append(directory)
    for group in groups.values():
        for one, other in combinations(group, 2):
            apart = list(_apart(one, other, limits))
            if len(apart) < 2:
                yield from _drift(one, other, limits)
                continue
            yield Finding(
                rule="repeats-disagree",
                weight="bad",
                subjects=(one.path, other.path),
                evidence=f"{one.path} and {other.path} name the same layout, and differ at"
                f" {len(apart)} points by more than repeats do: {apart[-1]}",
                instead="find out which of them is labelled wrong, or what else was different;"
                " then measure both again",
            )


def _drift(one: DirectoryEvidence, other: DirectoryEvidence, limits: AuditLimits) -> Outcome:
    """Less than repeats may differ, but at every load in the same direction."""
    ratios = [p.tpot.p50 / q.tpot.p50 for p, q in _common(one, other) if p.tpot.p50 and q.tpot.p50]
    if len(ratios) < limits.drift_points or not (min(ratios) > 1 or max(ratios) < 1):
        return
    by = abs(median(ratios) - 1)
    if by < limits.drift:
        return
    slow, fast = (one, other) if ratios[0] > 1 else (other, one)
    yield Finding(
        rule="repeats-drift",
        weight="info",
        subjects=(slow.path, fast.path),
        evidence=f"{slow.path} has a higher median TPOT than {fast.path} at all {len(ratios)}"
        f" loads, by {by:.0%}, under the same name: versions, settings or logging may differ",
        instead="compare what was deployed (versions, flags, log level), then repeat one of them",
    )


def _apart(one: DirectoryEvidence, other: DirectoryEvidence, limits: AuditLimits) -> Iterator[str]:
    for p, q in _common(one, other):
        for what, unit, a, b in (
            ("median TPOT", "ms", p.tpot.p50, q.tpot.p50),
            ("throughput", "requests/s", p.request_rate, q.request_rate),
        ):
            if a and b and max(a, b) > (1 + limits.repeat_noise) * min(a, b):
                yield f"{what} {a:.1f} and {b:.1f} {unit} at {p.name}"
                break


def _common(
    one: DirectoryEvidence, other: DirectoryEvidence
) -> list[tuple[PointEvidence, PointEvidence]]:
    """Points of equal load; but the lowest, where cold replicas make the difference."""
    theirs = {(q.load_kind, q.load): q for q in other.points}
    pairs = [
        (p, theirs[key])
        for p in one.points
        if p.load is not None and (key := (p.load_kind, p.load)) in theirs
    ]
    pairs.sort(key=lambda pair: pair[0].load or 0.0)
    return pairs[1:]


def strangers(directories: Directories, limits: AuditLimits) -> Outcome:
    """TPOT below saturation is a matter of the decode side alone. Where layouts of one decode side
    agree and another one of that decode side does not, but agrees with other ones, its name is
    suspected."""
    pd = [d for d in directories if d.is_pd]
    for directory in pd:
        side = _decode_side(directory)
        twins = _distinct(d for d in pd if d is not directory and _decode_side(d) == side)
        if not _far_from(directory, twins, limits):
            continue
        agreed = [d for d in twins if sum(_near(d, e, limits) for e in twins if e is not d) >= 1]
        if len(agreed) < 2 or any(_near(directory, twin, limits) for twin in twins):
            continue
        looks = _distinct(
            d
            for d in pd
            if _decode_side(d) != side
            and d.label.workload == directory.label.workload
            and _prefill_tp(d) == _prefill_tp(directory)
            and _near(directory, d, limits)
        )
        yield _stranger(directory, agreed, looks)


def _stranger(
    directory: DirectoryEvidence,
    twins: Sequence[DirectoryEvidence],
    looks: Sequence[DirectoryEvidence],
) -> Finding:
    mine = _tpots(directory)
    theirs = [_tpots(twin) for twin in twins]
    at = [load for load in mine if all(load in each for each in theirs)][:3]
    loads = ", ".join(f"{load:g}" for _, load in at)
    seen = ", ".join(f"{mine[load]:.1f}" for load in at)
    others = ", ".join(f"{median(each[load] for each in theirs):.1f}" for load in at)
    said = (
        f"{directory.path}: median TPOT {seen} ms at {loads}, where"
        f" {' and '.join(dict.fromkeys(twin.path for twin in twins))}, with the same decode"
        f" replicas, have {others}"
    )
    if looks:
        slugs = dict.fromkeys(_slug(d.label.layout) for d in looks)
        said += f"; it decodes like {', '.join(slugs)}"
    return Finding(
        rule="label-suspected",
        weight="bad",
        subjects=(directory.path,),
        evidence=said,
        instead="look up what was deployed at that time; then measure the layout again",
    )


def _slug(layout: Layout | None) -> str:
    return layout.slug if layout else "?"


def _decode_side(directory: DirectoryEvidence) -> tuple[object, ...]:
    layout = directory.label.layout
    label = directory.label
    decode = layout.of("decode") if layout else ()
    return (*label.workload, label.placement, label.network, decode, _prefill_tp(directory))


def _prefill_tp(directory: DirectoryEvidence) -> frozenset[object]:
    layout = directory.label.layout
    return frozenset((g.tp, g.ep) for g in layout.of("prefill")) if layout else frozenset()


def _distinct(directories: Iterator[DirectoryEvidence]) -> list[DirectoryEvidence]:
    """Each measurement once: copies agree with themselves."""
    found: dict[tuple[object, ...], DirectoryEvidence] = {}
    for directory in directories:
        if directory.points:
            found.setdefault(directory.points[0].fingerprint, directory)
    return list(found.values())


def _tpots(directory: DirectoryEvidence) -> dict[tuple[str, float], float]:
    """Median TPOT by load, but the lowest, as long as throughput grows with load."""
    found: dict[tuple[str, float], float] = {}
    for ladder in directory.ladders:
        best = ladder[0].request_rate
        for point in ladder[1:]:
            if point.request_rate < _STILL_GROWS * best:
                break
            best = point.request_rate
            if point.tpot.p50 and point.load is not None:
                found[(point.load_kind, point.load)] = point.tpot.p50
    return found


def _ratios(one: DirectoryEvidence, other: DirectoryEvidence) -> list[float]:
    a, b = _tpots(one), _tpots(other)
    return [a[load] / b[load] for load in a if load in b]


def _near(one: DirectoryEvidence, other: DirectoryEvidence, limits: AuditLimits) -> bool:
    ratios = _ratios(one, other)
    return len(ratios) >= 2 and all(abs(ratio - 1) <= limits.twin_noise for ratio in ratios)


def _far_from(
    directory: DirectoryEvidence, twins: Sequence[DirectoryEvidence], limits: AuditLimits
) -> bool:
    far = 0
    for twin in twins:
        beyond = [abs(ratio - 1) > limits.stranger for ratio in _ratios(directory, twin)]
        far += sum(beyond) >= 2
    return far >= 2


def slow_kv(directories: Directories, limits: AuditLimits) -> Outcome:
    """TTFT as KV over TCP leaves it: seconds a prompt, without load, and decoding as ever."""
    for directory in directories:
        if not directory.is_pd:
            continue
        for ladder in directory.ladders:
            first = ladder[0]
            ttft, tpot = first.ttft.p50, first.tpot.p50
            if ttft is None or tpot is None or not first.input_len:
                continue
            speed = first.input_len / ttft * 1000
            decode_ms = tpot * ((first.output_per_request or 1) - 1)
            if ttft < max(limits.slow_kv_ttft_ms, decode_ms) or speed > limits.slow_kv_tokens_per_s:
                continue
            yield Finding(
                rule="slow-kv-transfer",
                weight="bad",
                subjects=tuple(point.file for point in ladder),
                evidence=f"{first.name}: median TTFT {ttft / 1000:.1f} s for prompts of"
                f" {first.input_len} tokens ({speed:.0f} tokens/s) while TPOT is {tpot:.1f} ms:"
                " suspected transport, as when KV goes over TCP"
                f"{_twin(directory, first, directories, limits)}",
                instead="`pdconsole netbench` on these nodes, then the run with UCX_TLS set and"
                " the transport that UCX names in its log (UCX_LOG_LEVEL=info)",
            )


def _twin(
    directory: DirectoryEvidence,
    point: PointEvidence,
    directories: Directories,
    limits: AuditLimits,
) -> str:
    """The fastest first TTFT of the same layout elsewhere, if that is far less."""
    label = directory.label
    best: tuple[float, str] | None = None
    for other in directories:
        if other.label.layout != label.layout or other.label.workload != label.workload:
            continue
        for twin in other.points:
            same = (twin.load_kind, twin.load) == (point.load_kind, point.load)
            if same and twin.ttft.p50 and (best is None or twin.ttft.p50 < best[0]):
                best = (twin.ttft.p50, other.path)
    if best is None or (point.ttft.p50 or 0.0) < limits.slower_than_twin * best[0]:
        return ""
    return f"; the same layout takes {best[0]:.0f} ms in {best[1]}"
