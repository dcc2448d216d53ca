"""No point counts before the deployment's KV transfers have been validated."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from pdconsole.model import events as ev
from pdconsole.model.plan import RunPlan
from pdconsole.profiles.schema import ModelProfile, NetworkProfile
from pdconsole.remote.client import NodeClient
from pdconsole.runner.kv_validation import (
    NOT_ASKED,
    SIMULATED,
    Validated,
    check_of,
    hands_kv_over,
    validate,
    without,
)
from pdconsole.serving.plan import DeploymentPlan


class KvGate:
    """One session's. What an earlier run of a layout gave on another network is compared."""

    def __init__(
        self,
        *,
        model: ModelProfile,
        simulated: bool,
        asked: bool,
        ignores_failure: bool,
        seed: str,
        emit: Callable[[ev.Event], None],
        record: Callable[[ev.KvValidated], None],
    ) -> None:
        self._model = model
        self._simulated = simulated
        self._asked = asked
        self._ignores_failure = ignores_failure
        self._seed = seed
        self._emit = emit
        self._record = record
        self._earlier: dict[str, Validated] = {}  # layout -> its first that was not wrong

    async def validated(
        self,
        run: RunPlan,
        plan: DeploymentPlan,
        nodes: Mapping[str, NodeClient],
        network: NetworkProfile,
    ) -> ev.KvValidated | None:
        """What was found, recorded; None where there is nothing that could go wrong.

        Raises MeasureError or RemoteError where the transfers cannot be tried.
        """
        if not hands_kv_over(run):
            return None
        if self._simulated:
            self._tell(without(run.id, SIMULATED))
            return None
        if not self._asked:
            event = without(run.id, NOT_ASKED)
        else:
            layout = run.placement.layout.slug
            earlier = self._earlier.get(layout)
            found = await validate(plan, nodes, self._model, network, self._seed, earlier=earlier)
            if found.event.verdict in ("ok", "warn"):  # what is wrong is no measure of the next
                self._earlier.setdefault(layout, found)
            event = found.event
        self._tell(event)
        decode = next(p for p in plan.workers if p.role == "decode")
        self._emit(check_of(event, decode.node))
        return event

    def _tell(self, event: ev.KvValidated) -> None:
        self._emit(event)
        self._record(event)

    def refusal(self, event: ev.KvValidated | None) -> str:
        """Why no point may be measured; empty when nothing speaks against it."""
        if event is None or event.verdict != "fail" or self._ignores_failure:
            return ""
        return (
            f"The KV that P hands to D is wrong: {event.message.rstrip('.')}. Try another network"
            " or vLLM version; with --ignore-checks it is measured all the same, and every point"
            " says so"
        )
