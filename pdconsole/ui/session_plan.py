"""What session.yaml says of a session's plan: where each layout goes, and how points are measured.

The recording names layouts and points; placements and policy are in session.yaml alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from pdconsole.journal import JournalError, SessionDir
from pdconsole.model.placement import Placement
from pdconsole.model.plan import ExperimentPlan
from pdconsole.model.request import RunRequest
from pdconsole.model.workload import MeasurePolicy

T = TypeVar("T")


class SessionPlan(msgspec.Struct, frozen=True):
    """What is unknown is empty: the session is shown without it."""

    placements: Mapping[str, Placement] = {}
    policy: MeasurePolicy | None = None
    request: RunRequest | None = None


def read_session_plan(directory: SessionDir) -> SessionPlan:
    """Takes a moment where the plan is long."""
    try:
        meta = directory.read_meta()
    except JournalError:
        return SessionPlan()
    plan = _value(meta, "plan", ExperimentPlan)
    if plan is None:
        return SessionPlan(request=_value(meta, "request", RunRequest))
    return plan_of(plan, _value(meta, "request", RunRequest))


def plan_of(plan: ExperimentPlan, request: RunRequest | None) -> SessionPlan:
    return SessionPlan({run.id: run.placement for run in plan.runs}, plan.policy, request)


def _value(meta: dict[str, Any], key: str, kind: type[T]) -> T | None:
    try:
        return msgspec.convert(meta[key], kind)
    except (KeyError, msgspec.ValidationError):
        return None
