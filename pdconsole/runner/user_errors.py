"""Which failures are sentences for people, and which are faults of ours."""

from __future__ import annotations

from collections.abc import Iterable

from pdconsole.journal import JournalError
from pdconsole.measure.errors import MeasureError
from pdconsole.model.events import CheckResult
from pdconsole.model.grid import GeometryError
from pdconsole.profiles import ProfileError
from pdconsole.remote.errors import RemoteError
from pdconsole.results import ResultError
from pdconsole.runner.ad_hoc import PlanError
from pdconsole.serving.errors import ServingError
from pdconsole.sim.embedded import EmbeddedError


class UserError(Exception):
    """Something a person asked for that cannot be; str() says why and what to do instead."""


# Their str() names the thing and the next step; anything else that escapes is a fault of ours.
USER_ERRORS = (
    EmbeddedError,
    GeometryError,
    JournalError,
    MeasureError,
    PlanError,
    ProfileError,
    RemoteError,
    ResultError,
    ServingError,
    UserError,
)


def refusal(checks: Iterable[CheckResult]) -> str:
    """The sentence that refuses a run for its failed hard checks; empty when there are none."""
    failed = [check for check in checks if check.hard and check.verdict == "fail"]
    if not failed:
        return ""
    first = failed[0]
    more = f" ({len(failed) - 1} more checks failed.)" if len(failed) > 1 else ""
    return (
        f"{first.node}: check {first.check} failed: {first.value}. {first.advice.rstrip('.')}."
        f"{more} With --ignore-checks it goes on all the same, and the record says so"
    )
