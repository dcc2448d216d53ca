"""One point: start the load driver, follow it, read the servers, drain, and sum up."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from functools import cached_property

import msgspec

from pdconsole.measure.conclusion import Circumstances, conclude, limits_of
from pdconsole.measure.deployment import Deployment, Process
from pdconsole.measure.drain import Samples, drain, until_idle
from pdconsole.measure.driver_log import DriverLog
from pdconsole.measure.driver_spec import (
    Target,
    driver_spec,
    prompt_seed,
    target_of,
    wanted_requests,
)
from pdconsole.measure.driver_watch import Control, DriverWatch, Ending
from pdconsole.measure.errors import MeasureError
from pdconsole.measure.rows import parse_gaps
from pdconsole.measure.scrape import Scrape, scrape_all, scrape_worker
from pdconsole.model.events import (
    Event,
    KvValidated,
    Note,
    PointState,
    PointStatus,
    ProcessState,
    ProcessStatus,
)
from pdconsole.model.grid import SlotKind
from pdconsole.model.measurement import PointMeasurement
from pdconsole.model.plan import RunPlan
from pdconsole.model.workload import MeasurePolicy, Point
from pdconsole.profiles.schema import ClusterProfile, ModelProfile
from pdconsole.remote.client import NodeClient
from pdconsole.remote.errors import RemoteError
from pdconsole.remote.feed import NewsFeed
from pdconsole.remote.values import ProcessSpec
from pdconsole.serving.complaints import Complaints

DRIVER_GRACE_S = 5.0
READ_BYTES = 1 << 20


async def measure_point(
    *,
    run: RunPlan,
    point: Point,
    attempt: int,
    deployment: Deployment,
    nodes: Mapping[str, NodeClient],
    policy: MeasurePolicy,
    model: ModelProfile,
    cluster: ClusterProfile,
    session: str,
    seed: str,
    emit: Callable[[Event], None],
    feed: NewsFeed,
    control: Control,
    cores: Mapping[str, int] | None = None,
    validation: KvValidated | None = None,
) -> PointMeasurement | None:
    """Measure one point of a deployment that serves.

    Emits its point.state (warmup, window, drain), ticks, requests and the driver's process.state;
    `done` and the result are the caller's to tell, when the files are written. None when an
    operator ended it: then its state is `skipped` after a skip, `pending` after a stop. `cores`
    (node -> CPU cores) makes the router's CPU share known; `validation` is what was found of the
    deployment's KV transfers, where there are any. Raises MeasureError, or RemoteError
    when a node cannot be used; the driver is ended on every way out.
    """
    measuring = _Measuring(
        run=run,
        point=point,
        attempt=attempt,
        deployment=deployment,
        nodes=nodes,
        policy=policy,
        model=model,
        cluster=cluster,
        session=session,
        seed=prompt_seed(seed, point, attempt, run.workload),
        emit=emit,
        cores=cores or {},
        validation=validation,
    )
    return await measuring.carry_out(feed, control)


@dataclass(frozen=True, kw_only=True)
class _Measuring:
    """The steps of one point."""

    run: RunPlan
    point: Point
    attempt: int
    deployment: Deployment
    nodes: Mapping[str, NodeClient]
    policy: MeasurePolicy
    model: ModelProfile
    cluster: ClusterProfile
    session: str
    seed: str
    emit: Callable[[Event], None]
    cores: Mapping[str, int]
    validation: KvValidated | None

    async def carry_out(self, feed: NewsFeed, control: Control) -> PointMeasurement | None:
        self._say_begun()
        before = await self._idle(control.stop_requested)
        if before is None:
            self._say_ended("stopped")
            return None
        started_wall = time.time()
        log = DriverLog(self.run.id, self.point.id, self.attempt)
        gaps = b""
        with feed.subscribe() as news:
            watch = self._watch(log)
            try:
                await self._complaints.listen()
                await self._start_driver()
                ending = await watch.until_over(news, control)
                if ending == "finished":
                    gaps = await self._read_gaps()
                    opened, closed = await watch.scrapes()
            except MeasureError as e:
                if watch.dead:  # its own words are told
                    raise
                raise MeasureError(_also(str(e), await self._complaints.heard())) from e
            finally:
                await _carried_through(self._end_driver(watch))
        still_busy = await self._drain(before, control.stop_requested)
        if ending != "finished":
            self._say_ended(ending)
            return None
        self._warn_of(opened, closed)
        complaint = await self._complaints.heard() if log.failed_requests else ""
        circumstances = Circumstances(
            run=self.run,
            point=self.point,
            attempt=self.attempt,
            policy=self.policy,
            target=self._target,
            workers=self.deployment.workers,
            limits=limits_of(self.cluster.thresholds),
            seed=self.seed,
            driver_node=self._node,
            started_wall=started_wall,
            opened=opened,
            closed=closed,
            router_cores=self.cores.get(self._router.node),
            still_busy=still_busy,
            slot_kind=self._slot_kind,
            validation=self.validation,
            complaint=complaint,
        )
        # Sorting a million gaps takes its time; the connections go on meanwhile.
        return await asyncio.to_thread(conclude, log, parse_gaps(gaps), circumstances)

    # --- who takes part ---

    @cached_property
    def _target(self) -> Target:
        return target_of(
            self.run.workload,
            self.deployment.workers,
            self.deployment.router_url,
            made_up_kv=self.deployment.decodes_made_up_kv,
            by_ray=self._by_ray,
        )

    @property
    def _by_ray(self) -> bool:
        return self.cluster.orchestrator == "ray"

    @property
    def _node(self) -> str:
        return self.cluster.driver_node

    @property
    def _slot_kind(self) -> SlotKind:
        used = self.run.placement.nodes
        return next(node.kind for node in self.cluster.nodes if node.name in used)

    @property
    def _driver(self) -> NodeClient:
        return self.nodes[self._node]

    @property
    def _token(self) -> str:
        return self._token_of(f"driver-{self.point.id}-{self.attempt}")

    @property
    def _router(self) -> Process:
        return next(p for p in self.deployment.processes if p.role == "router")

    @cached_property
    def _complaints(self) -> Complaints:
        return Complaints(self.deployment.processes, self.nodes, self._token_of)

    def _token_of(self, process: str) -> str:
        return f"{self.session}/{self.run.id}/{process}"

    # --- the driver ---

    def _watch(self, log: DriverLog) -> DriverWatch:
        return DriverWatch(
            log,
            point=self.point.id,
            token=self._token,
            node=self._node,
            members={self._token_of(p.name): p for p in self.deployment.processes},
            nodes=self.nodes,
            lease_s=self.cluster.lease_s,
            emit=self.emit,
            scrape=self._scrape,
        )

    async def _start_driver(self) -> None:
        spec = driver_spec(
            target=self._target,
            workers=self.deployment.workers,
            workload=self.run.workload,
            point=self.point,
            policy=self.policy,
            served_name=self.model.served_name,
            vocab=self.model.vocab,
            seed=self.seed,
        )
        self._say_driver("starting")
        await self._driver.start(
            ProcessSpec(
                token=self._token,
                session=self.session,
                argv=("@python@", "-I", "@agent@", "drive", "@dir@/spec.json"),
                files={"spec.json": msgspec.json.encode(spec).decode()},
                records=True,
            )
        )
        await self._driver.follow(self._token)
        self._say_driver("ready")

    async def _end_driver(self, watch: DriverWatch) -> None:
        """A node that cannot be reached ends it by itself, when the lease runs out."""
        watch.cancel()
        if watch.given_up == self._node:
            self._say_driver("failed")
            return
        try:
            infos = await self._driver.stop([self._token], DRIVER_GRACE_S)
        except RemoteError as e:
            self._note(f"The load driver could not be ended: {e}", self._node)
            return
        last_log = next((info.last_log for info in infos if info.token == self._token), "")
        if watch.failed:
            self._say_driver("failed", last_log)
        else:
            self._say_driver("stopped")

    async def _read_gaps(self) -> bytes:
        parts: list[bytes] = []
        offset = 0
        while part := await self._driver.read(self._token, "gaps.bin", offset, READ_BYTES):
            parts.append(part)
            offset += len(part)
        return b"".join(parts)

    # --- the servers ---

    async def _scrape(self) -> Scrape:
        # Of Ray Serve's router we started only who watches it; its CPU time is not the proxy's.
        router = None if self._by_ray else (self._router.node, self._token_of(self._router.name))
        return await scrape_all(self.deployment.workers, self.nodes, router)

    async def _scrape_one(self, name: str) -> Samples:
        worker = next(w for w in self.deployment.workers if w.name == name)
        return await scrape_worker(worker, self.nodes[worker.node])

    @property
    def _worker_names(self) -> list[str]:
        return [worker.name for worker in self.deployment.workers]

    async def _idle(self, give_up: asyncio.Event) -> Mapping[str, Samples] | None:
        """The servers' samples, once nothing runs on them that is not ours. None: given up."""
        try:
            return await until_idle(
                self._worker_names,
                self._scrape_one,
                timeout_s=self.policy.drain_timeout_s,
                give_up=give_up,
            )
        except MeasureError as e:
            raise MeasureError(f"Point {self.point.id} was not begun: {e}") from e

    async def _drain(
        self, before: Mapping[str, Samples], give_up: asyncio.Event
    ) -> tuple[str, ...] | None:
        try:
            return await drain(
                self._worker_names,
                self._scrape_one,
                before=before,
                timeout_s=self.policy.drain_timeout_s,
                give_up=give_up,
            )
        except MeasureError as e:
            self._note(f"{e}; whether it is idle after the point is not known", self.point.id)
            return None

    # --- what people are told ---

    def _say_begun(self) -> None:
        """With what closes the window; where that is an interval, nobody knows when."""
        policy = self.policy
        by_interval = policy.window == "steady" and policy.until_relative_ci is not None
        self._say(
            "warmup",
            target_requests=None if by_interval else wanted_requests(policy, self.point),
            target_s=policy.min_window_s if policy.window == "steady" else None,
        )

    def _say(
        self,
        status: PointStatus,
        message: str = "",
        target_requests: int | None = None,
        target_s: float | None = None,
    ) -> None:
        self.emit(
            PointState(
                run=self.run.id,
                point=self.point.id,
                status=status,
                attempt=self.attempt,
                target_requests=target_requests,
                target_s=target_s,
                message=message,
            )
        )

    def _say_ended(self, ending: Ending) -> None:
        """A stopped point stays to be measured when the session is resumed."""
        self._say("skipped" if ending == "skipped" else "pending", f"{ending} by an operator")

    def _say_driver(self, status: ProcessStatus, last_log: str = "") -> None:
        self.emit(
            ProcessState(
                run=self.run.id,
                process="driver",
                node=self._node,
                status=status,
                role="driver",
                message=self.point.id,
                last_log=last_log,
            )
        )

    def _warn_of(self, *scrapes: Scrape | None) -> None:
        for failure in (f for scrape in scrapes if scrape for f in scrape.failures):
            self._note(f"{failure}; flags that need it are left out", self.point.id)

    def _note(self, message: str, subject: str) -> None:
        self.emit(Note(level="warning", message=message, subject=subject))


def _also(sentence: str, more: str) -> str:
    return f"{sentence.rstrip('.')}. {more}" if more else sentence


async def _carried_through(work: Coroutine[object, object, None]) -> None:
    """Finish `work` although we are cancelled meanwhile; the cancellation goes on afterwards."""
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError as e:
            cancelled = e
    task.result()
    if cancelled is not None:
        raise cancelled
