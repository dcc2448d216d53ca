"""What an audit calls bad, as flags on the points that it is about; the rest as one sentence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import msgspec

from pdconsole.model.audit_rules import audit
from pdconsole.results.audit import runs_of
from pdconsole.results.point_row import PointRow


def with_bad_findings(rows: Sequence[PointRow]) -> tuple[list[PointRow], str]:
    """The rows in their order, and a note on what else there is to read; "" if nothing."""
    runs = runs_of(rows)
    findings, _ = audit([about for about, _ in runs])
    flags: dict[str, dict[str, str]] = {}  # directory or file, as the audit calls it
    for finding in findings:
        if finding.weight == "bad":
            for subject in finding.subjects:
                flags.setdefault(subject, {})[finding.rule] = finding.evidence
    found: dict[int, dict[str, str]] = {}
    for about, group in runs:
        for point, row in zip(about.points, group, strict=True):
            more = flags.get(about.path, {}) | flags.get(point.file, {})
            found[id(row)] = {name: why for name, why in more.items() if name not in row.flags}
    return [_flagged(row, found.get(id(row))) for row in rows], _note(
        Counter(finding.weight for finding in findings)
    )


def _flagged(row: PointRow, more: dict[str, str] | None) -> PointRow:
    if not more:
        return row
    return msgspec.structs.replace(row, flags=row.flags | more, bad=(*row.bad, *more))


def _note(counts: Counter[str]) -> str:
    if not counts["bad"] and not counts["warn"]:
        return ""
    parts = ", ".join(f"{counts[weight]} {weight}" for weight in ("bad", "warn", "info"))
    return f"an audit of these files finds {parts}: `pdconsole audit` with the same paths says what"
