"""One run: deploy a layout, measure its points, write its result directory, take it down."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec

from pdconsole.measure.errors import MeasureError
from pdconsole.measure.point import measure_point
from pdconsole.measure.sampling import is_inexact
from pdconsole.measure.scrape import scrape_all
from pdconsole.model import events as ev
from pdconsole.model.plan import ExperimentPlan, RunPlan
from pdconsole.model.workload import Point
from pdconsole.profiles.schema import ClusterProfile, ModelProfile, NetworkProfile
from pdconsole.remote.client import NodeClient
from pdconsole.remote.errors import RemoteError
from pdconsole.remote.feed import NewsFeed
from pdconsole.results import ResultDirectory, RunFacts
from pdconsole.runner.kv_gate import KvGate
from pdconsole.runner.ray_token import secrets_of
from pdconsole.runner.recording import Recording
from pdconsole.runner.steering import Steering
from pdconsole.runner.telemetry import metrics_name
from pdconsole.serving import deployment
from pdconsole.serving.errors import ServingError
from pdconsole.serving.plan import DeploymentPlan
from pdconsole.serving.planning import plan_deployment
from pdconsole.serving.ray_nodes import HEAD, member_name

METRICS_S = 1.0
ENDED_S = 15.0  # Ray's processes notice by and by that their head is gone

RunOutcome = Literal["done", "failed", "skipped", "stopped"]


@dataclasses.dataclass(frozen=True)
class RunContext:
    """What every run of a session shares."""

    session: str
    command: str  # what reproduces it
    plan: ExperimentPlan
    cluster: ClusterProfile
    model: ModelProfile
    networks: Mapping[str, NetworkProfile]
    seed: str
    versions: Mapping[str, Mapping[str, str]]  # node -> program -> version
    cores: Mapping[str, int]  # node -> CPU cores
    nodes: Mapping[str, NodeClient]
    feed: NewsFeed
    recording: Recording
    steering: Steering
    kv_gate: KvGate
    results_root: Path
    gpu_sample_s: float
    nic_sample_s: float


class LayoutRun:
    """Carries out one run, from where an earlier epoch left it."""

    def __init__(
        self,
        context: RunContext,
        run: RunPlan,
        points_done: Iterable[str] = (),
        attempts: Mapping[str, int] | None = None,
    ) -> None:
        self._c = context
        self._run = run
        self._done = frozenset(points_done)
        self._attempts = dict(attempts or {})
        self._emit = context.recording.emit
        self._results: ResultDirectory | None = None  # made when there is something to put in
        self._validation: ev.KvValidated | None = None

    async def carry_out(self) -> RunOutcome:
        """Every way out takes the deployment down. Failures that name their cause end this run
        only; a RemoteError (the node is gone) ends it too, and the next layout is tried."""
        self._state("launching")
        try:
            plan = plan_deployment(
                self._run,
                cluster=self._c.cluster,
                model=self._c.model,
                network=self._c.networks[self._run.network],
                versions=self._c.versions,
                session=self._c.session,
            )
            outcome, message = await self._deployed(plan)
        except (ServingError, MeasureError, RemoteError) as e:
            outcome, message = "failed", str(e)
        if self._results is not None:
            self._results.finish(outcome, message)
        self._state("pending" if outcome == "stopped" else outcome, message)
        return outcome

    def _state(self, status: ev.RunStatus, message: str = "") -> None:
        self._emit(ev.RunState(run=self._run.id, status=status, message=message))

    async def _deployed(self, plan: DeploymentPlan) -> tuple[RunOutcome, str]:
        for note in plan.notes:
            self._emit(ev.Note(level="info", subject=self._run.label, message=note))
        if plan.serve_config:
            where = self._c.recording.keep_serve_config(self._run.id, plan.serve_config)
            told = f"what Ray Serve is given is in {where} of the session"
            self._emit(ev.Note(level="info", subject=self._run.label, message=told))
        try:
            if not await self._started(plan):
                return self._unwanted()
            await self._watch(plan)
            await self._say_what_is_estimated(plan)
            self._state("ready")
            if not await self._validated(plan):
                return self._unwanted()
            return await self._points(plan)
        finally:
            self._state("stopping")
            await self._take_down(plan)

    async def _started(self, plan: DeploymentPlan) -> bool:
        """False when an operator no longer wants the layout before it answers."""
        if self._c.steering.layout_unwanted:
            return False
        starting = asyncio.ensure_future(
            deployment.start(
                plan,
                self._c.nodes,
                self._emit,
                startup_timeout_s=self._c.cluster.startup_timeout_s,
                log_offset=lambda p: self._c.recording.log_offset(p.node, plan.token(p)),
                secrets=secrets_of(plan),
            )
        )
        return await self._wanted_to_the_end(starting)

    async def _validated(self, plan: DeploymentPlan) -> bool:
        """False when an operator no longer wants the layout before it is known.

        Raises MeasureError when the KV is found to be wrong.
        """
        if all(point.id in self._done for point in self._run.points):
            return True
        gate, network = self._c.kv_gate, self._c.networks[self._run.network]
        validating = asyncio.ensure_future(gate.validated(self._run, plan, self._c.nodes, network))
        if not await self._wanted_to_the_end(validating):
            return False
        self._validation = validating.result()
        refused = gate.refusal(self._validation)
        if refused:
            raise MeasureError(refused)
        return True

    async def _wanted_to_the_end(self, work: asyncio.Future[Any]) -> bool:
        """Whether it is done; otherwise it was cancelled, and has undone what it began."""
        unwanted = asyncio.ensure_future(self._c.steering.until_layout_is_unwanted())
        try:
            await asyncio.wait((work, unwanted), return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                await work
                return True
            return False
        finally:
            unwanted.cancel()
            if not work.done():
                work.cancel()
                await asyncio.wait((work,))

    def _unwanted(self) -> tuple[RunOutcome, str]:
        if self._c.steering.stop_requested.is_set():
            return "stopped", "stopped by an operator"
        return "skipped", "skipped by an operator"

    async def _take_down(self, plan: DeploymentPlan) -> None:
        """What cannot be ended here is told, and ended with the agents or by the lease; it must
        not hide why the run ended."""
        try:
            await deployment.stop(plan, self._c.nodes, self._emit)
            await self._watch(None)
        except (ServingError, RemoteError) as e:
            self._emit(ev.Note(level="error", subject=self._run.label, message=str(e)))

    async def _watch(self, plan: DeploymentPlan | None) -> None:
        """Sample GPUs and NICs always, and the workers' metrics while they run."""
        for name, client in self._c.nodes.items():
            workers = [p for p in plan.workers if p.node == name] if plan else []
            await client.watch(
                gpus_s=self._c.gpu_sample_s,
                nics_s=self._c.nic_sample_s,
                metrics={
                    metrics_name(self._run.id, p.name, p.role): (p.metrics_url, METRICS_S)
                    for p in workers
                },
            )

    async def _say_what_is_estimated(self, plan: DeploymentPlan) -> None:
        if self._c.cluster.orchestrator != "ray":
            return
        scrape = await scrape_all(plan.workers, self._c.nodes, None)
        names = [name for name, samples in scrape.workers.items() if is_inexact(samples)]
        if names:
            self._emit(
                ev.Note(
                    level="warning",
                    subject=self._run.label,
                    message=f"{' and '.join(names)} cannot be asked for metrics directly; Ray's "
                    "exporter knows counts, not sums: bytes and times of KV transfers, and queue "
                    "times, are left out",
                )
            )

    async def _points(self, plan: DeploymentPlan) -> tuple[RunOutcome, str]:
        steering = self._c.steering
        failed: dict[str, str] = {}  # label -> why
        for point in self._run.points:
            if point.id in self._done:
                continue
            await self._hold_while_paused()
            if steering.stop_requested.is_set():
                return self._unwanted()
            if steering.layout_skipped.is_set():
                self._point_state(point, "skipped", "skipped by an operator")
                continue
            steering.point_begins()
            self._state("measuring")
            try:
                why = await self._point(plan, point)
                if why:
                    failed[point.label] = why
            finally:
                steering.point_ends()
        if steering.stop_requested.is_set():
            return self._unwanted()
        if failed:
            labels, first = ", ".join(failed), next(iter(failed.values()))
            return "failed", f"{labels} could not be measured: {first}"
        return self._unwanted() if steering.layout_skipped.is_set() else ("done", "")

    async def _hold_while_paused(self) -> None:
        if self._c.steering.paused:
            self._emit(ev.SessionState(status="paused", message="between points"))
            await self._c.steering.while_paused()
            self._emit(ev.SessionState(status="running"))

    async def _point(self, plan: DeploymentPlan, point: Point) -> str:
        """Why it failed, or nothing; what it measured is on disk before its result is told."""
        attempt = self._attempts.get(point.id, 0) + 1
        try:
            measured = await measure_point(
                run=self._run,
                point=point,
                attempt=attempt,
                deployment=plan,
                nodes=self._c.nodes,
                policy=self._c.plan.policy,
                model=self._c.model,
                cluster=self._c.cluster,
                session=self._c.session,
                seed=self._c.seed,
                emit=self._emit,
                feed=self._c.feed,
                control=self._c.steering,
                cores=self._c.cores,
                validation=self._validation,
            )
        except MeasureError as e:
            self._point_state(point, "failed", str(e), attempt)
            if await deployment.is_healthy(plan, self._c.nodes):
                return str(e)
            why = "The deployment no longer answers, so its run ends here"
            raise MeasureError(f"{str(e).rstrip('.')}. {why}{await self._ended(plan)}") from e
        if measured is None:  # skipped or stopped on the way; measure_point has said so
            return ""
        results = self._results = self._results or self._result_directory()
        # Parquet of thousands of requests takes its time; the connections go on meanwhile.
        file = await asyncio.to_thread(results.write_point, point, measured)
        self._emit(msgspec.structs.replace(measured.result, file=f"{results.name}/{file.name}"))
        self._point_state(point, "done", "", attempt)
        return ""

    async def _ended(self, plan: DeploymentPlan) -> str:
        """Which process of Ray's ended, where load is refused before that is seen."""
        if self._c.cluster.orchestrator != "ray":
            return ""
        by_token = {plan.token(p): p for p in plan.processes}
        until = asyncio.get_running_loop().time() + ENDED_S
        while True:
            for client in self._c.nodes.values():
                for info in await client.processes():
                    process = by_token.get(info.token)
                    if process is not None and info.state != "running":
                        last = info.last_log.strip().splitlines()[-1:]
                        return f": {process.name} on {process.node} ended{_saying(last)}"
            if asyncio.get_running_loop().time() > until:
                return ""
            await asyncio.sleep(0.5)

    def _result_directory(self) -> ResultDirectory:
        facts = run_facts(self._c, self._run)
        return ResultDirectory.go_on_or_create(self._c.results_root, self._run, facts)

    def _point_state(
        self, point: Point, status: ev.PointStatus, message: str, attempt: int | None = None
    ) -> None:
        if attempt is None:
            attempt = self._attempts.get(point.id, 0)
        self._emit(
            ev.PointState(
                run=self._run.id, point=point.id, status=status, attempt=attempt, message=message
            )
        )


def _saying(lines: Sequence[str]) -> str:
    return f", saying: {lines[0]}" if lines else ""


def run_facts(c: RunContext, run: RunPlan) -> RunFacts:
    """What the results of a run say of its session."""
    used = {slot.node for slot in run.placement.slots}
    node = next(node for node in c.cluster.nodes if node.name in used)
    return RunFacts(
        session=c.session,
        experiment=c.plan.experiment,
        cluster=c.cluster.name,
        model=c.model.source,
        simulated=c.cluster.simulated,
        policy=c.plan.policy,
        gpu_model=node.gpu_model,
        slot_kind=node.kind,
        command=c.command,
        versions={name: dict(v) for name, v in c.versions.items() if name in used},
    )


def process_tokens(session: str, run: RunPlan) -> tuple[str, ...]:
    """The tokens of the processes that a deployment of this run consists of."""
    replicas = (a.replica for a in run.placement.assignments)
    # What runs for Ray, where it is started; tokens that are not there name nothing.
    ray = (HEAD, *map(member_name, run.placement.nodes))
    names = (*replicas, "router", *ray)
    return tuple(f"{session}/{run.id}/{name}" for name in names)
