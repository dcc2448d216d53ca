"""Changes to what a running session will still do: order, more layouts, fewer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from pdconsole.journal import SessionDir
from pdconsole.model import events as ev
from pdconsole.model.plan import ExperimentPlan, RunPlan
from pdconsole.model.request import PlacedLayout
from pdconsole.runner.added_runs import added_runs
from pdconsole.runner.plan_events import changed_event, skipped_events
from pdconsole.runner.planning import Planned
from pdconsole.runner.run_queue import RunQueue
from pdconsole.runner.session_meta import with_plan
from pdconsole.runner.user_errors import USER_ERRORS, UserError


class PlanChanges:
    """Makes them to `queue`, to session.yaml and in the recording. Every method raises UserError,
    and then nothing was changed."""

    def __init__(
        self,
        planned: Planned,
        queue: RunQueue,
        directory: SessionDir,
        meta: dict[str, Any],
        emit: Callable[[ev.Event], None],
    ) -> None:
        self._planned = planned
        self._queue = queue
        self._directory = directory
        self._meta = meta
        self._emit = emit
        self._added: set[str] = set()

    def skip(self, run: str) -> None:
        """A run that has not begun."""
        dropped = self._queue.drop(run)
        self._note("skip", f"layout {run}, {dropped.label}")
        for event in skipped_events(dropped, self._queue.attempts(dropped)):
            self._emit(event)

    def reorder(self, runs: Sequence[str]) -> None:
        """What has not begun, in this order."""
        ids = ", ".join(runs)
        self._change(self._queue.reordered(runs), f"new order: {ids}", "reorder", f"to {ids}")

    def add(self, placed: Sequence[PlacedLayout]) -> None:
        """Layouts at the end of the plan."""
        try:
            runs = added_runs(self._planned, self._queue.plan, placed)
        except USER_ERRORS as e:
            raise UserError(str(e)) from e
        plan = self._queue.extended(runs)
        labels = "; ".join(run.label for run in runs)
        self._change(plan, f"added {labels}", "add", labels)
        self._added |= {run.id for run in runs}

    def was_added(self, run: RunPlan) -> bool:
        """Whether the checks at the session's start did not know of this run."""
        return run.id in self._added

    def _change(self, plan: ExperimentPlan, reason: str, command: str, detail: str) -> None:
        """First the file that a resume reads, then the event, which a resume makes up for."""
        before = self._queue.plan
        with_plan(self._meta, plan)
        try:
            self._directory.write_meta(self._meta)
        except USER_ERRORS as e:
            with_plan(self._meta, before)
            raise UserError(str(e)) from e
        self._queue.change(plan)
        self._note(command, detail)
        self._emit(changed_event(plan, reason))

    def _note(self, command: str, detail: str) -> None:
        self._emit(ev.CommandReceived(command=command, detail=detail))
