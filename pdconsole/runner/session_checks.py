"""The checks of a session: before it starts, of what is added to it, and again when asked."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence

from pdconsole.measure.preflight import preflight
from pdconsole.model import events as ev
from pdconsole.model.plan import RunPlan
from pdconsole.remote.client import NodeClient
from pdconsole.remote.errors import RemoteError
from pdconsole.remote.values import Inventory
from pdconsole.runner.planning import Planned
from pdconsole.runner.run_queue import RunQueue
from pdconsole.runner.sights import Sights

ANSWER_S = 90.0  # programs are asked for their versions, which may take a minute

log = logging.getLogger(__name__)


class SessionChecks:
    """`results` is what each check said last, in the order of the cluster's profile."""

    def __init__(
        self, planned: Planned, session: str, sights: Sights, emit: Callable[[ev.Event], None]
    ) -> None:
        self._planned = planned
        self._session = session
        self._sights = sights
        self._emit = emit
        self._by_name: dict[tuple[str, str], ev.CheckResult] = {}
        self._again: asyncio.Task[None] | None = None

    @property
    def results(self) -> tuple[ev.CheckResult, ...]:
        return tuple(self._by_name.values())

    @property
    def busy(self) -> bool:
        return self._again is not None and not self._again.done()

    def begin_again(
        self, clients: Mapping[str, NodeClient], queue: RunQueue, *, node: str, check: str
    ) -> None:
        """In the background: this check of this node, or all, of what is still to be done."""
        self._again = asyncio.create_task(self._look_again(clients, queue, node, check))

    def cancel(self) -> None:
        if self._again is not None:
            self._again.cancel()

    async def _look_again(
        self, clients: Mapping[str, NodeClient], queue: RunQueue, node: str, check: str
    ) -> None:
        try:
            await self.look_anew(clients, [node] if node else list(clients))
            self.look(queue.unfinished, node=node, check=check)
        except Exception:
            log.exception("checks of session %s", self._session)
            self._emit(ev.Note(level="error", message="checks failed; see the runner's log"))

    def look(
        self, runs: Sequence[RunPlan], *, node: str = "", check: str = ""
    ) -> list[ev.CheckResult]:
        """Judge what has been seen of the nodes that `runs` use, and record it."""
        results = preflight(
            self._sights.inventories(),
            runs,
            cluster=self._planned.cluster,
            model=self._planned.model,
            networks=self._planned.networks,
            session=self._session,
            clocks=self._sights.clocks(),
            unreachable=self._sights.unreachable(),
        )
        wanted = [r for r in results if node in ("", r.node) and check in ("", r.check)]
        for result in wanted:
            self._by_name[result.node, result.check] = result
            self._emit(result)
        return wanted

    async def look_anew(self, clients: Mapping[str, NodeClient], names: Iterable[str]) -> None:
        """Ask these nodes what they have now. One that does not answer is seen as such."""
        asked = [clients[name] for name in names if name in clients]
        found = await asyncio.gather(*map(_inventory, asked), return_exceptions=True)
        for client, inventory in zip(asked, found, strict=True):
            if isinstance(inventory, RemoteError):
                self._sights.take_trouble(client.node, inventory.sentence)
            elif isinstance(inventory, BaseException):
                raise inventory
            else:
                self._sights.take_inventory(inventory, with_versions=True)


async def _inventory(client: NodeClient) -> Inventory:
    try:
        async with asyncio.timeout(ANSWER_S):
            return await client.inventory()
    except TimeoutError as e:
        raise RemoteError(
            client.node, "lost", f"it does not answer within {ANSWER_S:.0f} s; see its link"
        ) from e
