"""One run of a network test in a session: two NIXL agents where its replicas would stand."""

from __future__ import annotations

import asyncio

from pdconsole.measure.errors import MeasureError
from pdconsole.measure.netbench import Bench
from pdconsole.model import events as ev
from pdconsole.model.plan import RunPlan
from pdconsole.remote.errors import RemoteError
from pdconsole.results import ResultError
from pdconsole.results.facts import RunRecord
from pdconsole.runner.network_bench import bench_and_write, bench_of, check_of
from pdconsole.runner.run_layout import RunContext, RunOutcome, run_facts


class NetBenchRun:
    """Carries out one run of a network test. It has no points; what it finds is an event."""

    def __init__(self, context: RunContext, run: RunPlan) -> None:
        self._c = context
        self._run = run

    async def carry_out(self) -> RunOutcome:
        """A bad verdict is a result and no failure. Nothing runs afterwards, whatever happens."""
        self._state("launching")
        try:
            outcome, message = await self._tested()
        except (MeasureError, RemoteError, ResultError) as e:
            outcome, message = "failed", str(e)
        self._state("pending" if outcome == "stopped" else outcome, message)
        return outcome

    def _state(self, status: ev.RunStatus, message: str = "") -> None:
        self._c.recording.emit(ev.RunState(run=self._run.id, status=status, message=message))

    async def _tested(self) -> tuple[RunOutcome, str]:
        """Unless an operator no longer wants it before it is done."""
        c = self._c
        b = bench_of(
            self._run,
            cluster=c.cluster,
            model=c.model,
            network=c.networks[self._run.network],
            session=c.session,
        )
        testing = asyncio.ensure_future(self._test(b))
        unwanted = asyncio.ensure_future(c.steering.until_layout_is_unwanted())
        try:
            await asyncio.wait((testing, unwanted), return_when=asyncio.FIRST_COMPLETED)
            if testing.done():
                return "done", (await testing).message
            if c.steering.stop_requested.is_set():
                return "stopped", "stopped by an operator"
            return "skipped", "skipped by an operator"
        finally:
            unwanted.cancel()
            if not testing.done():
                testing.cancel()  # it ends what it began
                await asyncio.wait((testing,))

    async def _test(self, b: Bench) -> ev.NetBenchResult:
        c = self._c

        def say(line: str) -> None:
            c.recording.emit(ev.Note(level="info", subject=self._run.label, message=line))

        self._state("measuring")
        result = await bench_and_write(
            b,
            RunRecord(plan=self._run, facts=run_facts(c, self._run)),
            c.nodes,
            c.results_root,
            say=say,
            log_offset=c.recording.log_offset,
        )
        c.recording.emit(result)
        c.recording.emit(check_of(result))
        return result
