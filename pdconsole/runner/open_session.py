"""A session being carried out: begun or resumed, steered, recorded, and ended with nothing left."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import msgspec

from pdconsole import __version__
from pdconsole.journal import JournalError, SessionDir, read_events
from pdconsole.model import events as ev
from pdconsole.model.plan import RunPlan
from pdconsole.model.request import RunRequest
from pdconsole.model.state import State, fold
from pdconsole.model.survey import Checking, Survey
from pdconsole.profiles import Profiles
from pdconsole.remote.client import NodeClient
from pdconsole.remote.errors import RemoteError
from pdconsole.remote.feed import NewsFeed
from pdconsole.remote.values import Inventory, LinkChanged, News
from pdconsole.runner.command_line import command_line
from pdconsole.runner.kv_gate import KvGate
from pdconsole.runner.nodes import SessionNodes, nodes_of
from pdconsole.runner.plan_changes import PlanChanges
from pdconsole.runner.plan_events import changed_event, is_recorded, opened_event
from pdconsole.runner.planning import Planned, plan_experiment
from pdconsole.runner.recording import Recording
from pdconsole.runner.run_layout import LayoutRun, RunContext, RunOutcome, process_tokens
from pdconsole.runner.run_netbench import NetBenchRun
from pdconsole.runner.run_queue import RunQueue
from pdconsole.runner.session_checks import SessionChecks
from pdconsole.runner.session_meta import new_meta, node_facts, planned_of
from pdconsole.runner.sights import Sights
from pdconsole.runner.socket_path import socket_path
from pdconsole.runner.steering import Steering
from pdconsole.runner.telemetry import inventory_event
from pdconsole.runner.user_errors import USER_ERRORS, UserError, refusal
from pdconsole.sim.embedded import ensure_embedded

log = logging.getLogger(__name__)

GPU_SAMPLE_S = 2.0
NIC_SAMPLE_S = 2.0
NOT_USED = "the session that runs does not use this node"

Ending = tuple[ev.SessionStatus, str]


def begin(workspace: Path, request: RunRequest) -> OpenSession:
    """Plan a request and make its session directory. Raises UserError; then nothing was made."""
    if not request.command:
        request = msgspec.structs.replace(request, command=command_line(request))
    try:
        planned = plan_experiment(Profiles.open(workspace), request)
        directory = SessionDir.create(workspace, planned.plan.experiment)
        try:
            directory.write_meta(new_meta(directory.name, request, planned))
            return OpenSession(workspace, directory, planned, ignore_checks=request.ignore_checks)
        except JournalError:
            shutil.rmtree(directory.path, ignore_errors=True)
            raise
    except USER_ERRORS as e:
        raise UserError(str(e)) from e


def resume(workspace: Path, name: str, *, ignore_checks: bool = False) -> OpenSession:
    """Reopen a session that did not finish. Raises UserError."""
    try:
        directory = SessionDir.find(workspace, name)
        meta = directory.read_meta()
        planned = planned_of(meta)
        earlier = fold(read_events(directory.events_path))
        if earlier.status == "finished":
            raise UserError(f"{directory.name} is finished; there is nothing to resume")
        ignore = ignore_checks or bool(meta["request"].get("ignore_checks"))
        return OpenSession(workspace, directory, planned, ignore_checks=ignore, earlier=earlier)
    except USER_ERRORS as e:
        raise UserError(str(e)) from e
    except (KeyError, ValueError, TypeError, AttributeError) as e:
        raise UserError(f"{name} cannot be resumed: its session.yaml is not whole ({e})") from e


class OpenSession:
    """One session in this process; its lock is held until `close`.

    Raises JournalError when another process holds it.
    """

    def __init__(
        self,
        workspace: Path,
        directory: SessionDir,
        planned: Planned,
        *,
        ignore_checks: bool = False,
        earlier: State | None = None,
    ) -> None:
        self._workspace = workspace
        self._results_root = workspace / "bm_results"
        self._directory = directory
        self._planned = planned
        self._ignore_checks = ignore_checks
        self._earlier = earlier
        self._queue = RunQueue(planned.plan, earlier)
        self.nodes_profile = planned.cluster  # a simulated one's: with addresses, once it runs
        self._sights = Sights(planned.cluster)
        self._checks = SessionChecks(planned, directory.name, self._sights, self._emit)
        self._held = contextlib.ExitStack()
        self._held.enter_context(directory.hold())
        self._steering = Steering()
        self._feed = NewsFeed()
        self._recording: Recording | None = None
        self._nodes: SessionNodes | None = None
        self._work: asyncio.Task[Ending] | None = None
        self._meta = directory.read_meta()
        self.changes = PlanChanges(planned, self._queue, directory, self._meta, self._emit)
        self.versions: dict[str, Mapping[str, str]] = {}  # node -> program -> version
        self._cores: dict[str, int] = {}
        self.ending: Ending | None = None

    def close(self) -> None:
        """Let the session's lock go; the last thing to do, since followers wait for it."""
        self._held.close()

    @property
    def name(self) -> str:
        return self._directory.name

    @property
    def cluster(self) -> str:
        return self._planned.cluster.name

    # --- steering ---

    def stop(self, *, now: bool = False) -> None:
        """Orderly: the point ends, processes are ended, results kept. `now`: cut all that short."""
        self._note_command("stop", "now" if now else "")
        self._steering.stop()
        if now and self._work is not None:
            self._work.cancel()

    def pause(self) -> None:
        self._note_command("pause", "after this point")
        self._steering.pause()

    def unpause(self) -> None:
        self._note_command("resume")
        self._steering.unpause()

    def skip(self, scope: Literal["point", "layout"], runs: Sequence[str] = ()) -> None:
        """The current point or layout, or `runs`. Raises UserError when there is none to skip."""
        if runs:
            for run in runs:
                self._skip_run(run)
            return
        if scope == "point" and not self._steering.measuring:
            raise UserError("no point is being measured now; to skip a layout use --layout")
        if scope == "layout" and not self._steering.in_layout:
            raise UserError(
                "no layout is under way now; one that has not begun is skipped with --run ID"
            )
        self._note_command("skip", f"this {scope}")
        if scope == "layout":
            self._steering.skip_this_layout()
        else:
            self._steering.skip_point()

    def _skip_run(self, run: str) -> None:
        current = self._queue.current
        if current is not None and current.id == run:
            self.skip("layout")
        else:
            self.changes.skip(run)

    # --- looking ---

    def survey(self) -> Survey:
        """The cluster as this session sees it; of nodes that it does not use it knows nothing."""
        current = self._queue.current
        assignments = current.placement.assignments if current else ()
        return self._sights.survey(
            {slot: f"{a.replica} of {self.name}" for a in assignments for slot in a.slots}
        )

    def check(self, *, node: str = "", check: str = "", again: bool = False) -> Checking:
        """The session's checks as they are known; `again` looks anew, and records it."""
        if again and not self._checks.busy:
            if self._nodes is None or not self._checks.results:
                raise UserError("the session is connecting to its nodes; its checks come then")
            self._note_command("check", " ".join(filter(None, (check, node))) or "all")
            self._checks.begin_again(self._nodes.clients, self._queue, node=node, check=check)
        return Checking(cluster=self.cluster, busy=self._checks.busy, results=self._checks.results)

    def _note_command(self, command: str, detail: str = "") -> None:
        self._emit(ev.CommandReceived(command=command, detail=detail))

    def _emit(self, event: ev.Event) -> None:
        if self._recording is not None:
            self._recording.emit(event)

    # --- carrying out ---

    async def carry_out(self) -> None:
        """All of it. Whatever happens, the last event is the session's final state."""
        async with Recording(self._directory, self._recording_failed) as recording:
            self._recording = recording
            status, message = await self._sitting(recording)
            if recording.failure is not None:
                status, message = "failed", str(recording.failure)
            recording.emit(ev.SessionState(status=status, message=message))
        self._recording = None
        self.ending = (status, message)
        self._meta.update(status=status, message=message)
        self._directory.write_meta(self._meta)

    def _recording_failed(self, _failure: JournalError) -> None:
        """Numbers that cannot be kept are not worth the GPUs."""
        if self._work is not None:
            self._work.cancel()

    async def _sitting(self, recording: Recording) -> Ending:
        try:
            self._open_epoch(recording)
            if recording.failure is not None:
                raise recording.failure
            self._work = asyncio.create_task(self._through_the_plan(recording))
            return await self._work
        except asyncio.CancelledError:
            return "stopped", "ended at once by an operator"
        except USER_ERRORS as e:
            return "failed", str(e)
        except Exception as e:
            log.exception("session %s", self.name)
            return "failed", f"internal error: {e!r}; the runner's log has the details"
        finally:
            await self._end_nodes(recording)

    def _open_epoch(self, recording: Recording) -> None:
        plan = self._queue.plan
        epoch = 1 if self._earlier is None else self._earlier.epoch + 1
        if self._earlier is None or self._earlier.opened is None:
            recording.emit(opened_event(self.name, plan, self._meta.get("command", "")))
        reason = "" if epoch == 1 else f"resumed after {self._earlier_status()}"
        recording.emit(ev.EpochOpened(epoch=epoch, pid=os.getpid(), reason=reason))
        if self._earlier is not None and not is_recorded(plan, self._earlier):
            recording.emit(changed_event(plan, "as session.yaml has it"))
        recording.emit(ev.SessionState(status="starting"))
        self._meta["epochs"].append({"epoch": epoch, "wall": time.time(), "pdconsole": __version__})
        self._meta.update(
            status="running", message="", control_socket=str(socket_path(self._workspace))
        )
        self._directory.write_meta(self._meta)

    def _earlier_status(self) -> str:
        status = self._earlier.status if self._earlier else ""
        return status if status in ("stopped", "failed") else "the runner broke off"

    async def _through_the_plan(self, recording: Recording) -> Ending:
        cluster = self._planned.cluster
        if cluster.simulated:
            cluster = self.nodes_profile = await ensure_embedded(cluster)

        def on_news(news: News) -> None:
            recording.news(news)
            self._sights.take(news)
            self._feed.publish(news)

        remaining = self._queue.pending
        names = nodes_of(cluster, remaining)
        for node in cluster.nodes:
            if node.name not in names:
                self._sights.take(LinkChanged(node.name, "closed", NOT_USED))
        nodes = self._nodes = SessionNodes(
            cluster, names, self.name, on_news, models=[self._planned.model.source]
        )
        inventories = await nodes.open()
        # Before anything is looked at: what an earlier epoch left and this one cannot use.
        keep = process_tokens(self.name, remaining[0]) if remaining else ()
        await nodes.stop_others(keep)
        self._seen(inventories)
        self._check(recording, remaining)
        await _sample(nodes.clients.values())
        recording.emit(ev.SessionState(status="running"))
        context = RunContext(
            session=self.name,
            command=self._meta.get("command", ""),
            plan=self._planned.plan,
            cluster=cluster,
            model=self._planned.model,
            networks=self._planned.networks,
            seed=self._meta["seed"],
            versions=self.versions,
            cores=self._cores,
            nodes=nodes.clients,
            feed=self._feed,
            recording=recording,
            steering=self._steering,
            kv_gate=self._kv_gate(),
            results_root=self._results_root,
            gpu_sample_s=GPU_SAMPLE_S,
            nic_sample_s=NIC_SAMPLE_S,
        )
        return await self._runs(context, nodes)

    def _kv_gate(self) -> KvGate:
        return KvGate(
            model=self._planned.model,
            simulated=self._planned.cluster.simulated,
            asked=not self._meta["request"].get("no_validate", False),
            ignores_failure=self._ignore_checks,
            seed=self._meta["seed"],
            emit=self._emit,
            record=self._record_validation,
        )

    def _record_validation(self, found: ev.KvValidated) -> None:
        record = {name: v for name, v in msgspec.to_builtins(found).items() if name != "type"}
        self._meta.setdefault("validations", {})[found.run] = record
        self._directory.write_meta(self._meta)

    async def _runs(self, context: RunContext, nodes: SessionNodes) -> Ending:
        failed: list[str] = []
        queue = self._queue
        while True:
            await self._hold_while_paused(context.recording)
            if self._steering.stop_requested.is_set():
                return "stopped", f"stopped by an operator; go on with `run --resume {self.name}`"
            run = queue.take()
            if run is None:
                break
            self._steering.layout_begins()
            try:
                outcome = await self._run(context, nodes, run)
            finally:
                self._steering.layout_ends()
            if outcome == "failed":
                failed.append(run.label)
        if failed:
            count = f"{len(failed)} of {queue.taken} layouts"
            return "failed", f"{count} did not complete: {'; '.join(failed)}"
        return "finished", ""

    async def _run(self, context: RunContext, nodes: SessionNodes, run: RunPlan) -> RunOutcome:
        trouble = await self._made_ready(nodes, run)
        if trouble:
            self._emit(ev.RunState(run=run.id, status="failed", message=trouble))
            return "failed"
        queue = self._queue
        if queue.plan.kind == "netbench":
            return await NetBenchRun(context, run).carry_out()
        layout = LayoutRun(context, run, queue.points_done(run), queue.attempts(run))
        return await layout.carry_out()

    async def _made_ready(self, nodes: SessionNodes, run: RunPlan) -> str:
        """Connect to and check what an added run uses; why it cannot be, or nothing."""
        if not self.changes.was_added(run):
            return ""
        try:
            used = nodes_of(self._planned.cluster, [run])
            known = set(nodes.clients)
            added = await nodes.add(used)
            self._seen(added)
            await _sample(nodes.clients[name] for name in added)
        except RemoteError as e:
            return str(e)
        await self._checks.look_anew(nodes.clients, used & known)
        refused = refusal(self._checks.look([run]))
        return "" if self._ignore_checks else refused

    async def _hold_while_paused(self, recording: Recording) -> None:
        if self._steering.paused:
            recording.emit(ev.SessionState(status="paused", message="between layouts"))
            await self._steering.while_paused()
            recording.emit(ev.SessionState(status="running"))

    def _seen(self, inventories: Mapping[str, Inventory]) -> None:
        for name, inventory in inventories.items():
            self._sights.take_inventory(inventory, with_versions=True)
            self.versions[name] = inventory.versions
            if inventory.cores:
                self._cores[name] = inventory.cores
            self._emit(inventory_event(inventory))
            self._meta["nodes"][name] = node_facts(inventory)

    def _check(self, recording: Recording, runs: Sequence[RunPlan]) -> None:
        """Raises UserError when a hard check failed and nobody said to go on all the same."""
        results = self._checks.look(runs)
        self._meta["checks"] = [msgspec.to_builtins(r) for r in results]
        self._meta["checks_ignored"] = self._ignore_checks
        self._directory.write_meta(self._meta)
        refused = refusal(results)
        if refused and not self._ignore_checks:
            raise UserError(refused)
        if refused:
            recording.emit(ev.Note(level="warning", message=f"going on although {refused}"))

    async def _end_nodes(self, recording: Recording) -> None:
        """Shielded: a second cancellation must not leave anything running."""
        self._checks.cancel()
        if self._nodes is None:
            return
        ending = asyncio.ensure_future(self._nodes.end())
        while not ending.done():
            try:
                await asyncio.shield(ending)
            except asyncio.CancelledError:
                continue
        for failure in ending.result():
            lease_s = self._planned.cluster.lease_s
            recording.emit(
                ev.Note(
                    level="error",
                    subject=failure.node,
                    message=f"{failure.sentence}; what we started there ends by itself when its "
                    f"lease runs out, within {lease_s:.0f} s; check with `pdconsole clean`",
                )
            )


async def _sample(clients: Iterable[NodeClient]) -> None:
    for client in clients:
        await client.watch(gpus_s=GPU_SAMPLE_S, nics_s=NIC_SAMPLE_S)
