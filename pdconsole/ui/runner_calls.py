"""How screens ask the runner: on a thread beside the screen, which never waits for an answer."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import msgspec

from pdconsole.model.request import Call, Reply
from pdconsole.runner.client import RunnerError, connect, connect_or_start

if TYPE_CHECKING:
    from pdconsole.ui.app import ConsoleApp

Then = Callable[[Reply], object]
Failed = Callable[[str], object]


class Client(Protocol):
    """What `runner.client.RunnerClient` does, for stand-ins."""

    def call(self, call: Call) -> Reply: ...

    def close(self) -> None: ...


# The runner of a workspace, started where none runs if so told; None where none runs.
Connect = Callable[[Path, bool], Client | None]


def connect_runner(workspace: Path, start: bool) -> Client | None:
    return connect_or_start(workspace) if start else connect(workspace)


class _Asked(msgspec.Struct, frozen=True):
    call: Call
    then: Then
    failed: Failed
    start: bool


class RunnerCalls:
    """The console's way to the workspace's runner."""

    def __init__(self, console: ConsoleApp, connect: Connect = connect_runner) -> None:
        self._console = console
        self._connect = connect
        self._starting = threading.Lock()
        self._under_way: set[str] = set()
        self._waiting: dict[str, _Asked] = {}

    def ask(
        self,
        call: Call,
        then: Then,
        failed: Failed | None = None,
        *,
        start: bool = True,
        topic: str = "",
    ) -> None:
        """Call the runner; `then` gets its reply, `failed` a sentence (else a notice says it).

        Both are called by the app's own loop, never before `ask` returns. `start`: start a runner
        where none runs. Of calls with the same `topic` one at a time is under way and the newest
        waits; others that waited are dropped, so that what is asked again and again does not pile
        up and old answers never come after new ones.
        """
        asked = _Asked(call, then, failed or self._say, start)
        if not topic:
            self._begin(asked, topic)
        elif topic in self._under_way:
            self._waiting[topic] = asked
        else:
            self._under_way.add(topic)
            self._begin(asked, topic)

    def _say(self, problem: str) -> None:
        self._console.say(problem, "error")

    def _begin(self, asked: _Asked, topic: str) -> None:
        self._console.run_worker(self._carry(asked, topic), group="runner", name=asked.call.command)

    async def _carry(self, asked: _Asked, topic: str) -> None:
        try:
            reply = await _on_a_thread(lambda: self._call(asked))
        except RunnerError as e:
            asked.failed(str(e))
        else:
            asked.then(reply)
        finally:
            self._go_on(topic)

    def _go_on(self, topic: str) -> None:
        asked = self._waiting.pop(topic, None)
        if asked is not None:
            self._begin(asked, topic)
        else:
            self._under_way.discard(topic)

    def _call(self, asked: _Asked) -> Reply:
        # Two threads that find no runner would both start one.
        with self._starting if asked.start else contextlib.nullcontext():
            client = self._connect(self._console.workspace, asked.start)
        if client is None:
            raise RunnerError("nothing is running in this workspace")
        with contextlib.closing(client):
            return client.call(asked.call)


async def _on_a_thread(work: Callable[[], Reply]) -> Reply:
    """As asyncio.to_thread, but leaving the console never waits for the thread."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Reply] = loop.create_future()

    def tell(reply: Reply | None, problem: Exception | None) -> None:
        if done.cancelled():
            return
        if reply is not None:
            done.set_result(reply)
        elif problem is not None:
            done.set_exception(problem)

    def run() -> None:
        reply, problem = None, None
        try:
            reply = work()
        except Exception as e:  # noqa: BLE001 - the loop's own task raises it
            problem = e
        with contextlib.suppress(RuntimeError):  # the console has left
            loop.call_soon_threadsafe(tell, reply, problem)

    threading.Thread(target=run, name="runner-call", daemon=True).start()
    return await done
