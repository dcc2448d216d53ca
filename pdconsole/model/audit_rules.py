"""What is wrong or doubtful in result files: rules over single points and single directories.

Rules know no layout, model or file in particular. Each yields findings, or says why these files
cannot show the fault; a rule that yields nothing looked and found nothing.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from pdconsole.model.audit_comparisons import (
    disagreeing,
    duplicates,
    simultaneous,
    slow_kv,
    strangers,
)
from pdconsole.model.audit_consistency import arithmetic, chunked, lengths, mixed
from pdconsole.model.audit_evidence import (
    AuditLimits,
    Directories,
    DirectoryEvidence,
    Finding,
    NotDetectable,
    Outcome,
    PointEvidence,
    of_points,
)
from pdconsole.model.audit_load import capped, held, saturation
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
    runs = {point.file: d.path for d in directories for point in d.points}
    findings = [
        msgspec.structs.replace(finding, where=runs.get(finding.subjects[0], ""))
        for finding in findings
    ]
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
                evidence=of_points(directory, [(p, flag.evidence) for p, flag in said]),
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
        tpot_p50_ms=p.tpot.p50,
        itl_mean_ms=p.itl.mean,
        itl_p50_ms=p.itl.p50,
        itl_p99_ms=p.itl.p99,
    )


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
            f" {first.ttft.p50:.0f}) and {then.ttft.p99:.0f} at {then.name}: as {what}"
            " leave it, not load",
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
            evidence=f"{of_points(directory, flags)}; {cause}",
            instead="the same layout with equal TP on both sides"
            if unequal
            else "the same point on a fresh deployment, with the descriptors of each transfer"
            " recorded (vLLM's KV transfer metrics)",
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
    arithmetic,
    held,
    duplicates,
    simultaneous,
    disagreeing,
    strangers,
    slow_kv,
    repeated_prompts,
    _flagged,
    _first_contact,
    _decode_stalls,
    saturation,
    capped,
    lengths,
    chunked,
    mixed,
    _blind,
)
