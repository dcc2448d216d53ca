"""How a check says what it found."""

from __future__ import annotations

from typing import Any

from pdconsole.model.events import CheckResult, Verdict


def verdict(
    node: str, check: str, verdict: Verdict, value: str, advice: str = "", **rest: Any
) -> CheckResult:
    """Advice is for what is not well."""
    return CheckResult(
        node=node,
        check=check,
        verdict=verdict,
        value=value,
        advice="" if verdict == "ok" else advice,
        **rest,
    )
