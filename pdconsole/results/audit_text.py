"""An audit as text: rule by rule, the gravest first, with what to run instead."""

from __future__ import annotations

import re
import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence

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


_ONE_OF_SEVERAL = re.compile(r"( \(repeat \d+\))?( \[[^\]]*\])?$")
_WORTH_IT = 12  # letters of a beginning that many names share
_SHOWN = 3  # findings of one kind written out; of the others only where they are
_NAMED = 4


def report_text(
    findings: Sequence[Finding],
    silent: Sequence[NotDetectable],
    weighed: Mapping[str, int],
    directories: Sequence[str],
    width: int,
) -> str:
    """The whole report, lines at most `width` wide where words allow it. `weighed` are points by
    the gravest that was found of them, "" for nothing."""
    width = max(width, 40)
    if not any(weighed.values()):
        return "no results to audit"
    points, where = _many(sum(weighed.values()), "point"), _extent(directories)
    lines = [f"{points} in {where}: {_counts(findings)}"]
    if findings:
        lines += _wrapped(_verdict(weighed), width, "")
    shared = _shared_beginning(directories)
    if shared:
        lines += _wrapped(f"… stands for {shared}", width, "")
    for (weight, rule), group in _grouped(findings).items():
        of_runs = len({_where(finding) for finding in group})
        count = f" ({of_runs} runs)" if of_runs > 1 else ""
        lines += ["", f"{_MARKS[weight]}  {rule}: {_TITLES.get(rule, rule)}{count}"]
        instead: dict[str, list[Finding]] = {}
        for finding in group:
            instead.setdefault(finding.instead, []).append(finding)
        for text, of in instead.items():
            shown = _SHOWN if weight != "info" else 1
            for finding in of[:shown]:
                lines += _wrapped(_shortened(_about(finding), shared), width, "    - ")
            if more := list(dict.fromkeys(_where(finding) for finding in of[shown:])):
                named = ", ".join(more[:_NAMED]) + (", …" if len(more) > _NAMED else "")
                others = _shortened(f"and {len(more)} more: {named}", shared)
                lines += _wrapped(others, width, "    - ")
            lines += _wrapped(f"instead: {text}", width, "    ")
    if silent:
        lines += ["", "not detectable from these files"]
        for each in silent:
            lines += _wrapped(f"{each.rule}: {each.why}", width, "    - ")
    return _printable("\n".join(lines))


def _many(count: int, one: str, many: str = "") -> str:
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def _extent(runs: Sequence[str]) -> str:
    """Directories; and runs, where some directory holds several."""
    directories = {_ONE_OF_SEVERAL.sub("", run) for run in runs}
    where = _many(len(directories), "directory", "directories")
    return where if len(directories) == len(runs) else f"{where}, {_many(len(runs), 'run')}"


def _verdict(weighed: Mapping[str, int]) -> str:
    told = (
        ("bad", "not to be used"),
        ("warn", "to be used with care"),
        ("info", "with a remark"),
        ("", "that nothing speaks against"),
    )
    return "points: " + ", ".join(f"{weighed[w]:,} {text}" for w, text in told if weighed.get(w))


def _shared_beginning(paths: Sequence[str]) -> str:
    """How most names of runs begin, if leaving it out saves lines: of `a/m_itl5_x`, `b/m_itl5_y`
    `m_itl5_`."""
    names = list(dict.fromkeys(path.rsplit("/", 1)[-1] for path in paths))
    counted: Counter[str] = Counter(
        name[: end + 1]
        for name in names
        for end, letter in enumerate(name)
        if letter in "_-" and end + 1 < len(name)
    )
    worth = {text: n * len(text) for text, n in counted.items() if 2 * n > len(names) > 2}
    best = max(worth, key=lambda text: (worth[text], -len(text)), default="")
    return best if len(best) >= _WORTH_IT else ""


def _shortened(text: str, shared: str) -> str:
    """Without it at the start of each name."""
    return re.sub(rf"(?<![^\s/]){re.escape(shared)}(?=\S)", "…", text) if shared else text


def _printable(text: str) -> str:
    """Names of files may hold anything, and a terminal obeys some of it."""
    return "".join(c if c == "\n" or c.isprintable() else _escaped(c) for c in text)


def _escaped(letter: str) -> str:
    return repr(letter.encode(errors="surrogateescape"))[2:-1]


def _about(finding: Finding) -> str:
    """Evidence about files, behind their directory; that about directories names them."""
    return f"{finding.where}: {finding.evidence}" if finding.where else finding.evidence


def _where(finding: Finding) -> str:
    return finding.where or finding.subjects[0]


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
