"""What is wrong or doubtful in result files: rules over single points and single directories.

Rules know no layout, model or file in particular. Each yields findings, or says why these files
cannot show the fault; a rule that yields nothing looked and found nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

from pdconsole.model.audit_comparisons import disagreeing, duplicates, simultaneous, strangers
from pdconsole.model.audit_evidence import (
    AuditLimits,
    Directories,
    DirectoryEvidence,
    Finding,
    NotDetectable,
    Outcome,
    PointEvidence,
)
from pdconsole.model.audit_prompts import repeated_prompts
from pdconsole.model.quality import Evidence, Flag, Weight, quality_flags

_ORDER: dict[Weight, int] = {"bad": 0, "warn": 1, "info": 2}

_INSTEAD_OF_FLAG = {
    "no-requests": "look at the server's log; this is no measurement",
    "errors": "look at the servers' logs and repeat the point; failed requests free capacity for"
    " the others",
    "short-window": "send more requests (a minute's worth, at least 20 times the concurrency), or"
    " count a steady window only",
    "few-requests": "leave its p99 out, or send at least 100 requests; for a p99 worth comparing"
    " some 1,000",
    "ttft-tail": "find which requests these are (--save-detailed): first contacts, stalls or"
    " preemptions; warm up every prefill-decode pair before the window",
}


def audit(
    directories: Directories, limits: AuditLimits | None = None
) -> tuple[list[Finding], list[NotDetectable]]:
    """All findings, the gravest first, and what these files cannot show."""
    findings: list[Finding] = []
    silent: list[NotDetectable] = []
    for rule in _RULES:
        for outcome in rule(directories, limits or AuditLimits()):
            if isinstance(outcome, Finding):
                findings.append(outcome)
            elif outcome not in silent:
                silent.append(outcome)
    return sorted(findings, key=lambda finding: _ORDER[finding.weight]), silent


def _flagged(directories: Directories, limits: AuditLimits) -> Outcome:
    """What the rules of live points say of these points, one finding a directory and flag."""
    for directory in directories:
        found: dict[str, list[tuple[PointEvidence, Flag]]] = {}
        contact = first_contact(directory, limits)
        for point in directory.points:
            flags = {flag.name: flag for flag in quality_flags(_evidence(directory, point))}
            # The first is said better by first-contact; ramp-up alone makes a tail.
            if (contact and contact[0] is point) or "short-window" in flags:
                flags.pop("ttft-tail", None)
            for name in flags.keys() & _INSTEAD_OF_FLAG.keys():
                found.setdefault(name, []).append((point, flags[name]))
        for name, said in sorted(found.items()):
            yield Finding(
                rule=name,
                weight=min((flag.weight for _, flag in said), key=_ORDER.__getitem__),
                subjects=tuple(point.file for point, _ in said),
                evidence=_of_points(directory, [(p, flag.evidence) for p, flag in said]),
                instead=_INSTEAD_OF_FLAG[name],
            )


def _evidence(directory: DirectoryEvidence, p: PointEvidence) -> Evidence:
    unsent = max(0, p.asked - p.completed) if p.asked and p.failed is None else None
    return Evidence(
        completed=p.completed,
        errors=p.failed if p.failed is not None else unsent,
        window_s=p.duration,
        request_s=p.request_s,
        whole_run=p.whole_run,
        ttft_p50_ms=p.ttft.p50,
        ttft_p99_ms=p.ttft.p99,
        kv_handed_over=directory.is_pd,
        itl_p50_ms=p.itl.p50,
        itl_p99_ms=p.itl.p99,
    )


def _of_points(
    directory: DirectoryEvidence, said: Sequence[tuple[PointEvidence, str]], shown: int = 1
) -> str:
    """`c=4: …; 5 of 6 points in all`."""
    parts = [f"{point.name}: {text}" for point, text in said[:shown]]
    if len(said) > shown:
        parts.append(f"{len(said)} of {len(directory.points)} points in all")
    return "; ".join(parts)


def first_contact(
    directory: DirectoryEvidence, limits: AuditLimits
) -> tuple[PointEvidence, PointEvidence] | None:
    """The lowest load and the next, if the first has a tail that more load does not have."""
    for ladder in directory.ladders:
        if len(ladder) < 2:
            continue
        first, then = ladder[0], ladder[1]
        if first.ttft.p99 is None or first.ttft.p50 is None or then.ttft.p99 is None:
            continue
        excess = first.ttft.p99 - first.ttft.p50
        falls = first.ttft.p99 >= limits.contact_ratio * then.ttft.p99
        if falls and excess >= limits.contact_excess_ms:
            return first, then
    return None


def _first_contact(directories: Directories, limits: AuditLimits) -> Outcome:
    for directory in directories:
        found = first_contact(directory, limits)
        if found is None:
            continue
        first, then = found
        what, instead = "first requests of cold replicas", "warm every replica up"
        if directory.is_pd and directory.label.layout:
            prefill, decode = (
                sum(group.count for group in directory.label.layout.of(role))
                for role in ("prefill", "decode")
            )
            pairs = prefill * decode
            what = f"first handshakes of {pairs} prefill-decode pair{'s' if pairs > 1 else ''}"
            instead = "send some requests through every prefill-decode pair"
        yield Finding(
            rule="first-contact",
            weight="warn",
            subjects=(first.file,),
            evidence=f"p99 TTFT is {first.ttft.p99:.0f} ms at {first.name} (median"
            f" {first.ttft.p50:.0f}) and {then.ttft.p99:.0f} at {then.name}: {what}, not load",
            instead=f"{instead} before the first point, and leave this one's mean and p99 TTFT out",
        )


def _decode_stalls(directories: Directories, limits: AuditLimits) -> Outcome:
    if not any(point.itl.p99 for directory in directories for point in directory.points):
        yield NotDetectable("decode-stalls", "no file holds percentiles of inter-token latency")
    for directory in directories:
        flags = [
            (point, flag.evidence)
            for point in directory.points
            for flag in quality_flags(_evidence(directory, point))
            if flag.name == "decode-stalls"
        ]
        layout = directory.label.layout
        if not flags or layout is None:
            continue
        shapes = [
            {(group.tp, group.ep) for group in layout.of(role)} for role in ("prefill", "decode")
        ]
        unequal = shapes[0] != shapes[1]
        cause = (
            "prefill and decode differ in TP, so KV descriptors cannot be merged and posting a"
            " transfer blocks decoding"
            if unequal
            else "as when KV descriptors cannot be merged because a KV pool has wrapped"
        )
        yield Finding(
            rule="decode-stalls",
            weight="warn",
            subjects=tuple(point.file for point, _ in flags),
            evidence=f"{_of_points(directory, flags)}; {cause}",
            instead="the same layout with equal TP on both sides"
            if unequal
            else "the same point on a fresh deployment, with the descriptors of each transfer"
            " recorded (vLLM's KV transfer metrics)",
        )


def _saturation(directories: Directories, limits: AuditLimits) -> Outcome:
    """Closed loop: throughput below what less load reached. Open loop: served behind offered."""
    for directory in directories:
        for ladder in directory.ladders:
            past = _behind_offered(ladder, limits) if ladder[0].is_open else _past(ladder, limits)
            if past:
                yield Finding(
                    rule="saturation",
                    weight="warn",
                    subjects=tuple(point.file for point, _ in past),
                    evidence=_of_points(directory, past),
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


def _capped(directories: Directories, limits: AuditLimits) -> Outcome:
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
                evidence=f"{_of_points(directory, capped)}: arrivals waited in the client, where"
                " no latency counts them",
                instead="the same request rate without --max-concurrency",
            )


def _held(directories: Directories, limits: AuditLimits) -> Outcome:
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
            elif flight > (1 + limits.rounding) * point.load:
                beyond.append((point, text))
        if short:
            yield Finding(
                rule="concurrency-not-held",
                weight="warn",
                subjects=tuple(point.file for point, _ in short),
                evidence=_of_points(directory, short),
                instead="more requests a point, and a look at the client's CPU: load was lower"
                " than the name says",
            )
        if beyond:
            yield Finding(
                rule="inconsistent",
                weight="bad",
                subjects=tuple(point.file for point, _ in beyond),
                evidence=f"{_of_points(directory, beyond)}, more than the client may have",
                instead="the file as the load generator wrote it, or another measurement",
            )


def _arithmetic(directories: Directories, limits: AuditLimits) -> Outcome:
    for directory in directories:
        wrong = [
            (point, text) for point in directory.points for text in _contradictions(point, limits)
        ]
        if wrong:
            yield Finding(
                rule="inconsistent",
                weight="bad",
                subjects=tuple(dict.fromkeys(point.file for point, _ in wrong)),
                evidence=_of_points(directory, wrong, shown=2),
                instead="the file as the load generator wrote it, or another measurement",
            )


def _contradictions(point: PointEvidence, limits: AuditLimits) -> Iterator[str]:
    rate = point.completed / point.duration if point.duration > 0 else 0.0
    if point.whole_run and abs(rate - point.request_rate) > limits.rounding * max(rate, 1e-9):
        yield f"{point.completed} requests in {point.duration:.1f} s are not"
        f" {point.request_rate:.2f} a second"
    if point.input_tokens is not None and point.output_tokens is not None and point.duration > 0:
        tokens = (point.input_tokens + point.output_tokens) / point.duration
        if point.whole_run and abs(tokens - point.token_rate) > limits.rounding * max(tokens, 1e-9):
            yield f"its token counts make {tokens:.0f} tokens/s, not {point.token_rate:.0f}"
    for name in ("ttft", "tpot", "itl", "e2el"):
        spread = getattr(point, name)
        if spread.p50 is not None and spread.p99 is not None and spread.p50 > spread.p99:
            yield f"median {name.upper()} {spread.p50:.1f} ms above its p99 {spread.p99:.1f}"


def _lengths(directories: Directories, limits: AuditLimits) -> Outcome:
    for directory in directories:
        off = [(p, text) for p in directory.points for text in _other_lengths(p, limits)]
        if off:
            yield Finding(
                rule="other-lengths",
                weight="warn",
                subjects=tuple(dict.fromkeys(point.file for point, _ in off)),
                evidence=_of_points(directory, off),
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


def _chunked(directories: Directories, limits: AuditLimits) -> Outcome:
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
                evidence=f"{_of_points(directory, found)}: chunks of the stream hold several"
                " tokens",
                instead="compare TPOT, not ITL, with servers that stream token by token",
            )


def _slow_kv(directories: Directories, limits: AuditLimits) -> Outcome:
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


def _mixed(directories: Directories, limits: AuditLimits) -> Outcome:
    for directory in directories:
        lengths = {(p.input_len, p.output_len) for p in directory.points}
        sources = {p.source for p in directory.points}
        said = []
        if len(lengths) > 1:
            said.append(f"{len(lengths)} different lengths")
        if len(sources) > 1:
            said.append(f"written by {', '.join(sorted(sources))}")
        if said:
            yield Finding(
                rule="mixed-directory",
                weight="info",
                subjects=(directory.path,),
                evidence=f"its points are of {' and '.join(said)}",
                instead="one directory a run",
            )
        for ladder in directory.ladders:
            twice = [p for p, q in pairwise(ladder) if p.load == q.load]
            for point in twice[:1]:
                yield Finding(
                    rule="mixed-directory",
                    weight="info",
                    subjects=(directory.path,),
                    evidence=f"{point.name} is there more than once",
                    instead="one directory a run, repeats in others",
                )


def _blind(directories: Directories, limits: AuditLimits) -> Outcome:
    """What no result file of a load generator can show."""
    if any(not point.fresh_prompts for d in directories for point in d.points):
        yield from (NotDetectable(rule, why) for rule, why in _NOT_IN_FILES)
    labels = [(d.label, tuple(sorted(p.name for p in d.points))) for d in directories]
    if len(labels) == len({repr(label) for label, _ in labels}):
        yield NotDetectable("noise", "no layout was measured twice, so differences have no scale")


_NOT_IN_FILES = (
    ("prefix-cache-hits", "hit rates are in the servers' metrics; here they are only inferred"),
    ("log-level", "what DEBUG logging costs (several percent of TPOT) leaves no trace of its own"),
    ("transport", "the transport of KV is in UCX's log; here only slowness tells"),
    ("kv-mismatch", "whether the KV that arrived was right is not measured by load generators"),
    ("driver-cpu", "whether client or router was the bottleneck takes their CPU times"),
    ("preemptions", "preemptions and recomputed prompts are in the servers' metrics"),
    ("skewed-pairs", "which prefill replica fed which decode replica is in the router's log"),
)

_RULES: tuple[Callable[[Directories, AuditLimits], Outcome], ...] = (
    _arithmetic,
    _held,
    duplicates,
    simultaneous,
    disagreeing,
    strangers,
    _slow_kv,
    repeated_prompts,
    _flagged,
    _first_contact,
    _decode_stalls,
    _saturation,
    _capped,
    _lengths,
    _chunked,
    _mixed,
    _blind,
)
