"""An audit as text: rule by rule, the gravest first, with what to run instead."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from pdconsole.model.audit_evidence import Finding, NotDetectable

_TITLES = {
    "inconsistent": "numbers that contradict themselves",
    "identical-files": "one measurement under several names",
    "same-time": "measured at the same time",
    "repeats-disagree": "two runs of one layout that disagree",
    "repeats-drift": "two runs of one layout that differ everywhere in one direction",
    "label-suspected": "a run that decodes like another layout",
    "slow-kv-transfer": "KV transfers as slow as over TCP",
    "repeated-prompts": "prompts sent before, at an earlier point",
    "no-requests": "nothing measured",
    "errors": "failed requests",
    "short-window": "runs too short for a steady state",
    "few-requests": "too few requests for a p99",
    "ttft-tail": "TTFT tails",
    "first-contact": "first contacts in the tail",
    "decode-stalls": "decoding that stalls",
    "saturation": "loads beyond what the layout serves",
    "capped-open-loop": "open loops that a cap closed",
    "concurrency-not-held": "less load than the name says",
    "other-lengths": "other lengths than the name says",
    "chunked-stream": "several tokens a chunk",
    "mixed-directory": "directories of more than one run",
}
_MARKS = {"bad": "BAD ", "warn": "WARN", "info": "info"}


_SHOWN = 3  # findings of one kind written out; of the others only where they are
_NAMED = 4


def report_text(
    findings: Sequence[Finding],
    silent: Sequence[NotDetectable],
    points: int,
    directories: Sequence[str],
    width: int,
) -> str:
    """The whole report, lines at most `width` wide where words allow it."""
    width = max(width, 40)
    if not points:
        return "no results to audit"
    where = "1 directory" if len(directories) == 1 else f"{len(directories)} directories"
    lines = [f"{points} points in {where}: {_counts(findings)}"]
    for (weight, rule), group in _grouped(findings).items():
        lines += ["", f"{_MARKS[weight]}  {rule}: {_TITLES.get(rule, rule)}"]
        instead: dict[str, list[Finding]] = {}
        for finding in group:
            instead.setdefault(finding.instead, []).append(finding)
        for text, of in instead.items():
            shown = _SHOWN if weight != "info" else 1
            for finding in of[:shown]:
                lines += _wrapped(_about(finding), width, "    - ")
            if more := list(dict.fromkeys(_where(finding) for finding in of[shown:])):
                named = ", ".join(more[:_NAMED]) + (", …" if len(more) > _NAMED else "")
                lines += _wrapped(f"and {len(more)} more: {named}", width, "    - ")
            lines += _wrapped(f"instead: {text}", width, "    ")
    if silent:
        lines += ["", "not detectable from these files"]
        for each in silent:
            lines += _wrapped(f"{each.rule}: {each.why}", width, "    - ")
    return "\n".join(lines)


def _about(finding: Finding) -> str:
    """Evidence about files, behind their directory; that about directories names them."""
    where = _where(finding)
    return finding.evidence if where == finding.subjects[0] else f"{where}: {finding.evidence}"


def _where(finding: Finding) -> str:
    first = finding.subjects[0]
    return first.rsplit("/", 1)[0] if first.endswith((".json", ".jsonl")) else first


def _counts(findings: Sequence[Finding]) -> str:
    if not findings:
        return "nothing found"
    counted = [(w, sum(f.weight == w for f in findings)) for w in ("bad", "warn", "info")]
    return ", ".join(f"{count} {weight}" for weight, count in counted if count)


def _grouped(findings: Sequence[Finding]) -> dict[tuple[str, str], list[Finding]]:
    found: dict[tuple[str, str], list[Finding]] = {}
    for finding in findings:
        found.setdefault((finding.weight, finding.rule), []).append(finding)
    return found


def _wrapped(text: str, width: int, lead: str) -> list[str]:
    return textwrap.wrap(
        text,
        width,
        initial_indent=lead,
        subsequent_indent=" " * len(lead),
        break_on_hyphens=False,
        break_long_words=False,
    )
