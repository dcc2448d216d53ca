"""One run: deploy a layout, measure its points, write its result directory, take it down."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal

import msgspec

from pdconsole.measure.errors import MeasureError
from pdconsole.measure.point import measure_point
from pdconsole.model import events as ev
from pdconsole.model.plan import ExperimentPlan, RunPlan
from pdconsole.model.workload import Point
from pdconsole.profiles.schema import ClusterProfile, ModelProfile, NetworkProfile
from pdconsole.remote.client import NodeClient
from pdconsole.remote.errors import RemoteError
from pdconsole.remote.feed import NewsFeed
from pdconsole.results import ResultDirectory
from pdconsole.runner.recording import Recording
from pdconsole.runner.steering import Steering
from pdconsole.runner.telemetry import metrics_name
from pdconsole.serving import deployment
from pdconsole.serving.errors import ServingError
from pdconsole.serving.plan import DeploymentPlan
from pdconsole.serving.planning import plan_deployment

METRICS_S = 1.0

RunOutcome = Literal["done", "failed", "skipped", "stopped"]


@dataclasses.dataclass(frozen=True)
class RunContext:
    """What every run of a session shares."""

    session: str
    plan: ExperimentPlan
    cluster: ClusterProfile
    model: ModelProfile
    networks: Mapping[str, NetworkProfile]
    seed: str
    versions: Mapping[str, Mapping[str, str]]  # node -> program -> version
    nodes: Mapping[str, NodeClient]
    feed: NewsFeed
    recording: Recording
    steering: Steering
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

    async def carry_out(self) -> RunOutcome:
        """Every way out takes the deployment down. Failures that name their cause end this run
        only; a RemoteError (the node is gone) ends it too, and the next layout is tried."""
        self._c.steering.layout_begins()
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
        self._state("pending" if outcome == "stopped" else outcome, message)
        return outcome

    def _state(self, status: ev.RunStatus, message: str = "") -> None:
        self._emit(ev.RunState(run=self._run.id, status=status, message=message))

    async def _deployed(self, plan: DeploymentPlan) -> tuple[RunOutcome, str]:
        for note in plan.notes:
            self._emit(ev.Note(level="info", subject=self._run.label, message=note))
        try:
            await deployment.start(
                plan,
                self._c.nodes,
                self._emit,
                startup_timeout_s=self._c.cluster.startup_timeout_s,
                log_offsets={
                    p.name: self._c.recording.log_offset(p.node, plan.token(p))
                    for p in plan.processes
                },
            )
            await self._watch(plan)
            self._state("ready")
            return await self._points(plan)
        finally:
            self._state("stopping")
            await self._watch(None)
            await deployment.stop(plan, self._c.nodes, self._emit)

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

    async def _points(self, plan: DeploymentPlan) -> tuple[RunOutcome, str]:
        results = self._result_directory()
        steering = self._c.steering
        failed: list[str] = []
        for point in self._run.points:
            if point.id in self._done:
                continue
            await self._hold_while_paused()
            if steering.stop_requested.is_set():
                return "stopped", "stopped by an operator"
            if steering.skip_layout:
                self._point_state(point, "skipped", "skipped by an operator")
                continue
            steering.point_begins()
            self._state("measuring")
            if not await self._point(plan, point, results):
                failed.append(point.label)
        if steering.stop_requested.is_set():
            return "stopped", "stopped by an operator"
        if failed:
            return "failed", f"{', '.join(failed)} could not be measured"
        results.finish("skipped" if steering.skip_layout else "done")
        return ("skipped", "skipped by an operator") if steering.skip_layout else ("done", "")

    async def _hold_while_paused(self) -> None:
        if self._c.steering.paused:
            self._emit(ev.SessionState(status="paused", message="between points"))
            await self._c.steering.while_paused()
            self._emit(ev.SessionState(status="running"))

    async def _point(self, plan: DeploymentPlan, point: Point, results: ResultDirectory) -> bool:
        """True unless the point failed; what it measured is on disk before its result is told."""
        attempt = self._attempts.get(point.id, 0) + 1
        try:
            measured = await measure_point(
                run=self._run,
                point=point,
                attempt=attempt,
                deployment=plan,
                nodes=self._c.nodes,
                driver_node=self._c.cluster.driver_node,
                policy=self._c.plan.policy,
                model=self._c.model,
                cluster=self._c.cluster,
                session=self._c.session,
                seed=self._c.seed,
                emit=self._emit,
                feed=self._c.feed,
                control=self._c.steering,
            )
        except MeasureError as e:
            self._point_state(point, "failed", str(e), attempt)
            if not await deployment.is_up(plan, self._c.nodes):
                raise  # nothing left to measure the other points with
            return False
        if measured is None:  # skipped or stopped on the way; measure_point has said so
            return True
        file = results.write_point(point, measured)
        self._emit(msgspec.structs.replace(measured.result, file=f"{results.name}/{file}"))
        self._point_state(point, "done", "", attempt)
        return True

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


def process_tokens(session: str, run: RunPlan) -> tuple[str, ...]:
    """The tokens of the processes that a deployment of this run consists of."""
    names = (*(a.replica for a in run.placement.assignments), "router")
    return tuple(f"{session}/{run.id}/{name}" for name in names)
