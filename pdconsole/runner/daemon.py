"""The runner process: one a workspace and user; takes calls, carries out one session at a time.

It ends by itself when idle with nobody attached. SIGTERM is an orderly stop: the session's
processes are ended on every node before the runner goes.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import signal
import time
from pathlib import Path
from typing import IO, Any

from pdconsole import __version__
from pdconsole.model.request import Call, Reply
from pdconsole.model.survey import Survey
from pdconsole.profiles import Profiles
from pdconsole.runner.checking import checking
from pdconsole.runner.control import ControlServer
from pdconsole.runner.launch_plans import launch_plans
from pdconsole.runner.open_session import OpenSession, begin, resume
from pdconsole.runner.planning import plan_experiment
from pdconsole.runner.socket_path import lock_path, socket_path
from pdconsole.runner.survey import Surveys
from pdconsole.runner.user_errors import USER_ERRORS, UserError

IDLE_S = 60.0
IDLE_CHECK_S = 1.0

log = logging.getLogger(__name__)


class Runner:
    """Answers calls; `session` is the one being carried out, if any."""

    def __init__(self, workspace: Path, *, idle_s: float = IDLE_S) -> None:
        self._workspace = workspace
        self._idle_s = idle_s
        self._control = ControlServer(socket_path(workspace), self.handle)
        self._surveys = Surveys(workspace)
        self._session: OpenSession | None = None
        self._carrying_out: asyncio.Task[None] | None = None
        self._last_ending = ("", "")  # name of the last session and what it said
        self._end = asyncio.Event()
        self._idle_since = time.monotonic()
        self._winding_up = False

    async def serve(self) -> None:
        """Until idle, told to shut down, or a signal."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.add_signal_handler(number, self._end.set)
        await self._control.open()
        log.info("runner %s of %s listens, pid %d", __version__, self._workspace, os.getpid())
        try:
            while not self._end.is_set() and not self._idle_for_long():
                try:
                    async with asyncio.timeout(IDLE_CHECK_S):
                        await self._end.wait()
                except TimeoutError:
                    continue
        finally:
            await self.wind_up()
            log.info("runner ends")

    async def wind_up(self) -> None:
        """Stop the session in order, end surveys: nothing of this runner stays on any node."""
        self._winding_up = True
        try:
            if self._session is not None and self._carrying_out is not None:
                self._session.stop()
                await self._carrying_out
        finally:
            await self._control.close()
            await self._surveys.end()

    def _idle_for_long(self) -> bool:
        if self._session is not None or self._control.attached:
            self._idle_since = time.monotonic()
        return time.monotonic() - self._idle_since > self._idle_s

    async def handle(self, call: Call) -> Reply:
        self._idle_since = time.monotonic()  # a console asks anew each time; none is attached
        try:
            return await self._dispatch(call)
        except USER_ERRORS as e:
            return self._reply(error=str(e))
        except Exception as e:  # a fault of ours must not take the session with it
            log.exception("call %s failed", call.command)
            return self._reply(error=f"internal error in the runner: {e!r}; please report it")

    def _reply(self, error: str = "", **found: Any) -> Reply:
        return Reply(
            error=error,
            version=__version__,
            pid=os.getpid(),
            workspace=str(self._workspace),
            session=self._session.name if self._session is not None else "",
            last_session=self._last_ending[0],
            last_message=self._last_ending[1],
            **found,
        )

    async def _dispatch(self, call: Call) -> Reply:
        match call.command:
            case "hello":
                return self._reply()
            case "run" | "resume":
                return await self._open(call)
            case "survey":
                return self._reply(survey=self._survey(call.cluster))
            case "check":
                return self._check(call)
            case "plan":
                return self._plan(call)
            case "shutdown":
                if self._session is not None:
                    raise UserError(f"{self._session.name} is running; stop it first")
                self._end.set()
                return self._reply()
            case _:
                return self._steer(call)

    def _profiles(self) -> Profiles:
        return Profiles.open(self._workspace)

    def _survey(self, cluster: str) -> Survey:
        """Of the cluster that a session runs on, as that sees it: nobody else looks there."""
        if self._session is not None and self._session.cluster == cluster:
            return self._session.survey()
        return self._surveys.survey(cluster)

    def _plan(self, call: Call) -> Reply:
        if call.run is None:
            raise UserError("the call `plan` needs a request")
        planned = plan_experiment(self._profiles(), call.run)
        name = planned.cluster.name
        cluster, survey, versions = planned.cluster, None, self._surveys.versions(name)
        if self._session is not None and self._session.cluster == name:
            cluster, survey = self._session.nodes_profile, self._session.survey()
            versions = {**versions, **self._session.versions}
        elif (running := self._surveys.running(name)) is not None:
            cluster, survey = running.cluster, running.sights.survey()
        launches = launch_plans(planned, cluster=cluster, versions=versions, survey=survey)
        return self._reply(plan=planned.plan, launches=launches)

    def _check(self, call: Call) -> Reply:
        """Of the session that runs, where one does; what it finds is recorded there too."""
        session = self._session
        if session is not None and call.run is None and call.cluster in ("", session.cluster):
            found = session.check(node=call.node, check=call.check, again=call.again)
            return self._reply(checking=found)
        planned = plan_experiment(self._profiles(), call.run) if call.run else None
        name = planned.plan.cluster if planned else call.cluster
        if not name:
            raise UserError("the call `check` needs a cluster or a request")
        if session is not None and session.cluster == name:
            raise UserError(
                f"{session.name} is running on {name}; what else would run there can be checked "
                "when it has ended"
            )
        survey = self._surveys.of(name)
        if call.again:
            survey.look_again(call.node)
        return self._reply(checking=checking(survey, planned))

    async def _open(self, call: Call) -> Reply:
        if self._winding_up:  # what began now would not be carried out
            raise UserError("the runner is ending; try again in a moment")
        if self._session is not None:
            raise UserError(
                f"{self._session.name} is running in this workspace; follow it with "
                "`pdconsole watch`, or end it with `pdconsole stop`"
            )
        if call.command == "run":
            if call.run is None:
                raise UserError("the call `run` needs a request")
            session = begin(self._workspace, call.run)
        else:
            session = resume(self._workspace, call.session, ignore_checks=call.ignore_checks)
        self._session = session
        self._surveys.leave(session.cluster)
        self._carrying_out = asyncio.create_task(self._carry_out(session))
        await asyncio.sleep(0)  # its first step makes the recording, which who asked will follow
        return self._reply()

    async def _carry_out(self, session: OpenSession) -> None:
        try:
            await session.carry_out()
        except Exception:
            # The session itself says what it can; a full disk may leave it no way to.
            log.exception("session %s failed", session.name)
        finally:
            _, message = session.ending or ("failed", "see the runner's log")
            self._last_ending = (session.name, message)
            self._session = None
            self._carrying_out = None
            self._idle_since = time.monotonic()
            session.close()

    def _steer(self, call: Call) -> Reply:
        session = self._session
        if session is None:
            raise UserError("nothing is running in this workspace; see `pdconsole sessions`")
        match call.command:
            case "stop":
                session.stop(now=call.now)
            case "pause":
                session.pause()
            case "unpause":
                session.unpause()
            case "skip":
                session.skip(call.scope, call.runs)
            case "reorder":
                session.changes.reorder(call.runs)
            case "add":
                session.changes.add(call.placed)
            case _:
                raise UserError(f"this runner does not know the call {call.command}")
        return self._reply()


def run_daemon(workspace: Path, *, idle_s: float | None = None) -> int:
    """Exit code 0 also when another runner of this workspace was quicker."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    logging.getLogger("asyncssh").setLevel(logging.WARNING)
    if not workspace.is_dir():
        log.error("%s is not a directory", workspace)
        return 1
    held = _hold_lock(lock_path(workspace))
    if held is None:
        return 0
    if idle_s is None:
        idle_s = float(os.environ.get("PDCONSOLE_RUNNER_IDLE_S", IDLE_S))
    with held:
        asyncio.run(Runner(workspace, idle_s=idle_s).serve())
    return 0


def _hold_lock(path: Path) -> IO[bytes] | None:
    held = path.open("ab")
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        held.close()
        return None
    return held
