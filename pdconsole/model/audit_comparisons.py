"""Rules that take several directories: copies, times, labels that disagree."""

from __future__ import annotations

from collections import Counter
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

_TOGETHER_S = 2.0  # stamps are of whole seconds
_NAMED = 4
_MANY = 40  # repeats, or layouts of one decode side; more of them tell nothing more


def duplicates(directories: Directories, limits: AuditLimits) -> Outcome:
    """Directories that hold the same measurements: one run under several names."""
    seen: dict[tuple[object, ...], list[tuple[DirectoryEvidence, PointEvidence]]] = {}
    for directory in directories:
        for point in directory.points:
            if point.fingerprint is not None:
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
    paths = list(dict.fromkeys(directory.path for directory in holders))
    names = " and ".join(paths) if len(paths) > 1 else f"{paths[0]}, {len(holders)} files each"
    many = len(points) > 1
    said = f"{len(points)} point{'s are' if many else ' is'} the same measurement in {names}"
    if conflicts:
        said += f"; their names say different things ({'; '.join(conflicts)})"
    return Finding(
        rule="identical-files",
        weight="bad" if conflicts else "warn",
        subjects=tuple(paths),
        evidence=said,
        instead="find out which name is right, and measure the other"
        if conflicts
        else "count it once; for a repeat, measure again",
    )


def simultaneous(directories: Directories, limits: AuditLimits) -> Outcome:
    """Different measurements with the same times: mislabelled, or they disturbed each other.

    Only what one program wrote is compared: others may tell the time of another zone.
    """
    timed = _timed_once(directories)
    mislabelled = _of_one_time(timed)
    for one, others in mislabelled.items():
        paths = [timed[i][0].path for i in (one, *others)]
        said = (
            f"{_named(paths)}: {max(others.values())} points bear the same time, with other numbers"
        )
        yield Finding(
            rule="same-time",
            weight="bad",
            subjects=tuple(paths),
            evidence=said,
            instead="find out which run these files are of; one of the names is wrong",
        )
    for together in _overlapping(timed):
        first = min(together)
        if together - {first} <= mislabelled.get(first, {}).keys():
            continue
        paths = [timed[i][0].path for i in sorted(together)]
        yield Finding(
            rule="same-time",
            weight="info",
            subjects=tuple(paths),
            evidence=f"{_named(paths)}: they were measured at the same time",
            instead="one run at a time, unless they had machines of their own",
        )


_Timed = list[tuple[DirectoryEvidence, list[PointEvidence]]]


def _timed_once(directories: Directories) -> _Timed:
    """The points whose time is known, without those that are copies of one before."""
    seen: set[object] = set()
    found: _Timed = []
    for directory in directories:
        prints = {point.fingerprint for point in directory.points} - {None}
        points = [point for point in directory.points if point.started is not None]
        if points and not prints & seen:
            found.append((directory, points))
        seen |= prints
    return found


def _source(directory: DirectoryEvidence) -> str:
    return directory.points[0].source


def _of_one_time(timed: _Timed) -> dict[int, dict[int, int]]:
    """Directories that bear the times of one before them: how many, at half of their points or
    more. Stamps tell a second with some programs, less with others."""
    holders: dict[tuple[str, float], list[int]] = {}
    for i, (directory, points) in enumerate(timed):
        for end in {round((p.started or 0.0) + p.duration, 3) for p in points}:
            holders.setdefault((_source(directory), end), []).append(i)
    shared: Counter[tuple[int, int]] = Counter()
    for of_one_end in holders.values():
        shared.update((of_one_end[0], other) for other in of_one_end[1:])
    found: dict[int, dict[int, int]] = {}
    for (one, other), common in shared.items():
        if common > 1 and 2 * common >= min(len(timed[one][1]), len(timed[other][1])):
            found.setdefault(one, {})[other] = common
    return found


def _overlapping(timed: _Timed) -> list[set[int]]:
    """Directories whose points were measured at the same time, for two seconds or more, directly
    or by way of others."""
    points = sorted(
        (_source(directory), p.started or 0.0, (p.started or 0.0) + p.duration, i)
        for i, (directory, of_it) in enumerate(timed)
        for p in of_it
    )
    group_of = {i: {i} for i in range(len(timed))}
    lasting: dict[int, float] = {}  # the two directories that are measured longest from here on
    before = ""
    for source, started, ended, i in points:
        if source != before:
            lasting, before = {}, source
        for other, until in lasting.items():
            if other != i and min(until, ended) - started > _TOGETHER_S:
                merged = group_of[i] | group_of[other]
                group_of.update(dict.fromkeys(merged, merged))
        lasting[i] = max(ended, lasting.get(i, ended))
        if len(lasting) > 2:
            del lasting[min(lasting, key=lasting.__getitem__)]
    groups = {id(group): group for group in group_of.values() if len(group) > 1}
    return list(groups.values())


def _named(paths: Sequence[str]) -> str:
    if len(paths) <= _NAMED:
        return " and ".join(paths)
    return f"{', '.join(paths[:_NAMED])} and {len(paths) - _NAMED} more"


def disagreeing(directories: Directories, limits: AuditLimits) -> Outcome:
    """Two directories of one label that differ by more than repeats do."""
    groups: dict[str, list[DirectoryEvidence]] = {}
    for directory in directories:
        if directory.label.layout is not None:
            groups.setdefault(repr(directory.label), []).append(directory)
    for group in groups.values():
        for one, other in _pairs(group):
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


def _pairs(
    group: Sequence[DirectoryEvidence],
) -> Iterator[tuple[DirectoryEvidence, DirectoryEvidence]]:
    """All of them; of very many repeats each with the middle one."""
    if len(group) <= _MANY:
        yield from combinations(group, 2)
        return
    middle = sorted(group, key=lambda d: median(p.request_rate for p in d.points))[len(group) // 2]
    yield from ((middle, each) for each in group if each is not middle)


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
    theirs = {q.setting: q for q in other.points}
    pairs = [
        (p, theirs[p.setting]) for p in one.points if p.load is not None and p.setting in theirs
    ]
    pairs.sort(key=lambda pair: pair[0].load or 0.0)
    return pairs[1:]


def strangers(directories: Directories, limits: AuditLimits) -> Outcome:
    """TPOT below saturation is a matter of the decode side alone. Where layouts of one decode side
    agree and another one of that decode side does not, but agrees with other ones, its name is
    suspected."""
    pd = [d for d in directories if d.is_pd]
    sides: dict[tuple[object, ...], list[DirectoryEvidence]] = {}
    for directory in pd:
        sides.setdefault(_decode_side(directory), []).append(directory)
    for directory in pd:
        side = _decode_side(directory)
        others = (d for d in sides[side] if d is not directory)
        twins = _distinct(others)[:_MANY]
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
    mine = directory.tpots_below_saturation
    theirs = [twin.tpots_below_saturation for twin in twins]
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
            found.setdefault(directory.points[0].fingerprint or (directory.path,), directory)
    return list(found.values())


def _ratios(one: DirectoryEvidence, other: DirectoryEvidence) -> list[float]:
    a, b = one.tpots_below_saturation, other.tpots_below_saturation
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
            if not ttft or not tpot or not first.input_len:
                continue
            speed = first.input_len / ttft * 1000
            decode_ms = tpot * ((first.output_per_request or 1) - 1)
            if ttft < max(limits.slow_kv_ttft_ms, decode_ms) or speed > limits.slow_kv_tokens_per_s:
                continue
            # Prompts that queue for prefill wait as long, but many of them are served meanwhile.
            together = first.request_rate * first.input_len / _prefills(directory)
            if together > limits.slow_kv_tokens_per_s:
                continue
            if not first.is_open and first.completed < limits.first_waves * (first.load or 0):
                continue
            twin = _twin(directory, first, directories, limits)
            if not twin and ttft / first.input_len < limits.slow_kv_steps * tpot:
                continue
            yield Finding(
                rule="slow-kv-transfer",
                weight="bad",
                subjects=tuple(point.file for point in ladder),
                evidence=f"{first.name}: median TTFT {ttft / 1000:.1f} s for prompts of"
                f" {first.input_len} tokens ({speed:.0f} tokens/s) while TPOT is {tpot:.1f} ms:"
                f" suspected transport, as when KV goes over TCP{twin}",
                instead="`pdconsole netbench` on these nodes, then the run with UCX_TLS set and"
                " the transport that UCX names in its log (UCX_LOG_LEVEL=info)",
            )


def _prefills(directory: DirectoryEvidence) -> int:
    layout = directory.label.layout
    return sum(group.count for group in layout.of("prefill")) if layout else 1


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
