"""The runs of a session in their order: what has begun, what is next, what may still change."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from pdconsole.model.plan import ExperimentPlan, RunPlan
from pdconsole.model.state import State
from pdconsole.runner.user_errors import UserError

_OVER = ("done", "skipped")


class RunQueue:
    """What is taken has begun; only what has not can be moved or dropped."""

    def __init__(self, plan: ExperimentPlan, earlier: State | None = None) -> None:
        """`earlier`: how far an earlier epoch of the session came."""
        self.plan = plan
        self._earlier = earlier
        self._begun = {r.id for r in earlier.runs if r.status in _OVER} if earlier else set()
        self._closed = False
        self.current: RunPlan | None = None
        self.taken = 0

    @property
    def pending(self) -> tuple[RunPlan, ...]:
        return tuple(run for run in self.plan.runs if run.id not in self._begun)

    @property
    def unfinished(self) -> tuple[RunPlan, ...]:
        """The current one and those to come."""
        return (*((self.current,) if self.current else ()), *self.pending)

    def take(self) -> RunPlan | None:
        """The next run; None when there is none, and from then on nothing can be added."""
        self.current = next(iter(self.pending), None)
        if self.current is None:
            self._closed = True
            return None
        self._begun.add(self.current.id)
        self.taken += 1
        return self.current

    def drop(self, run: str) -> RunPlan:
        """A run that has not begun will not. Raises UserError."""
        found = self._pending_run(run)
        self._begun.add(found.id)
        return found

    def change(self, plan: ExperimentPlan) -> None:
        """To what `reordered` or `extended` made."""
        self.plan = plan

    def reordered(self, ids: Sequence[str]) -> ExperimentPlan:
        """Pending runs in this order; those not named come after them. Raises UserError."""
        if len(set(ids)) < len(ids):
            raise UserError("a run is named twice in the new order; name each once")
        first = [self._pending_run(run) for run in ids]
        rest = [run for run in self.pending if run.id not in set(ids)]
        in_order = iter((*first, *rest))
        pending = {run.id for run in self.pending}
        runs = tuple(next(in_order) if run.id in pending else run for run in self.plan.runs)
        return msgspec.structs.replace(self.plan, runs=runs)

    def extended(self, runs: Iterable[RunPlan]) -> ExperimentPlan:
        """With more runs at the end. Raises UserError when the session is ending."""
        if self._closed:
            raise UserError(
                "the session has done its last layout and is ending; start another with "
                "`pdconsole run`"
            )
        return msgspec.structs.replace(self.plan, runs=(*self.plan.runs, *runs))

    def points_done(self, run: RunPlan) -> frozenset[str]:
        view = self._earlier.run(run.id) if self._earlier else None
        if view is None:
            return frozenset()
        return frozenset(p.id for p in view.points if p.status in _OVER)

    def attempts(self, run: RunPlan) -> Mapping[str, int]:
        view = self._earlier.run(run.id) if self._earlier else None
        return {p.id: p.attempt for p in view.points} if view else {}

    def _pending_run(self, run: str) -> RunPlan:
        for found in self.pending:
            if found.id == run:
                return found
        known = next((r for r in self.plan.runs if r.id == run), None)
        waiting = ", ".join(r.id for r in self.pending) or "none"
        if known is None:
            raise UserError(f"there is no run {run}; still to come: {waiting}")
        raise UserError(
            f"run {run} ({known.label}) has begun or was skipped; still to come: {waiting}"
        )
