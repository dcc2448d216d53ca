"""A node as the rest of pdconsole sees it: one connection, one agent, kept up."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import random
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import msgspec

from pdconsole.model.events import LinkStatus
from pdconsole.remote import clock
from pdconsole.remote.channel import Channel, LinkLostError, Message, open_channel
from pdconsole.remote.errors import RemoteError
from pdconsole.remote.streams import LOG, RECORDS, Streams
from pdconsole.remote.values import (
    HttpReply,
    Inventory,
    LinkChanged,
    Look,
    News,
    ProcessChanged,
    ProcessInfo,
    ProcessSpec,
    SshTarget,
)

__all__ = ["NodeClient", "RemoteError"]

PROTOCOL = 1
BACKOFF_S = (0.2, 15.0)
# The node's clock is measured, and the lease renewed, this often at least.
RENEW_AT_MOST_S = 20.0
CLOCK_ROUNDS = 5
ANSWER_S = 60.0
END_LINK_S = 30.0


class NodeClient:
    """One connection and one agent of one session on one node.

    After `open` it reconnects by itself until `close`; a request made while the link is down waits
    for it, at most as long as the lease lasts. `on_news` is called on the event loop, in order.
    Every method raises RemoteError.
    """

    def __init__(
        self,
        target: SshTarget,
        session: str,
        on_news: Callable[[News], None],
        *,
        lease_s: float = 300.0,
        lease_policy: Literal["kill", "keep"] = "kill",
        adopt_grace_s: float = 20.0,
        version_commands: Mapping[str, Sequence[str]] | None = None,
        version_env: Mapping[str, str] | None = None,
        look: Look | None = None,
    ) -> None:
        """`adopt_grace_s`: how long processes outlive a dead agent if no new one comes for them.
        `version_commands`: name -> argv whose output holds a version; `@python@` is the agent's
        Python; what is missing or fails is absent. `version_env` is added to their environment.
        `look`: what an inventory with versions looks at besides."""
        self._target = target
        self._session = session
        self._on_news = on_news
        self._lease_s = lease_s
        self._lease_policy = lease_policy
        self._adopt_grace_s = adopt_grace_s
        self._version_commands = {k: list(v) for k, v in (version_commands or {}).items()}
        self._version_env = dict(version_env or {})
        self._look = look
        self._id = secrets.token_hex(8)
        self._channel: Channel | None = None
        self._up = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._streams = Streams(target.node)
        self._running: set[str] = set()
        self._watched: Message = {}
        self._may_have_agent = False
        self._ended_for_good: RemoteError | None = None
        self._last_trouble: RemoteError | None = None

    @property
    def node(self) -> str:
        return self._target.node

    # -- link

    async def open(self, *, versions: bool = True) -> Inventory:
        """Ships and starts the agent, or adopts the one that lives, with all it runs.

        `close` is due however this ends: it may have started an agent and then failed.
        """
        self._tell_link("connecting")
        self._may_have_agent = True  # from here on, also if this is cancelled
        try:
            await self._connect()
        except RemoteError as error:
            self._may_have_agent = False
            self._tell_link("unreachable", error.sentence)
            raise
        self._tasks = [
            asyncio.ensure_future(self._stay_connected()),
            asyncio.ensure_future(self._renew()),
        ]
        found = await self.inventory(versions=versions)
        self._running.update(p.token for p in found.processes if p.state == "running")
        return found

    async def close(self, *, end_agent: bool = False) -> None:
        """With `end_agent` everything of this session on the node is ended first, and verified;
        a link that is down is given END_LINK_S to come back for that."""
        try:
            if end_agent and self._may_have_agent:
                await self._end_agent()
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            self._tasks = []
            closed = RemoteError(self.node, "lost", "the connection was closed")
            self._ended_for_good = self._ended_for_good or closed
            self._up.set()
            if self._channel is not None:
                await self._channel.close()
                self._channel = None
            self._tell_link("closed")

    async def _end_agent(self) -> None:
        for task in self._tasks[1:]:
            task.cancel()
        try:
            if self._channel is None:  # `open` was cut short
                await self._connect()
            link_s = min(self._lease_s, END_LINK_S)
            answer = await self._call("end", {}, answer_s=120.0, link_s=link_s)
        except RemoteError as error:
            if error.kind != "unreachable":
                raise
            rescue = "end it there by hand"
            if self._lease_policy == "kill":
                rescue = f"its lease ends it within {self._lease_s:g} s"
            raise RemoteError(
                self.node,
                error.kind,
                f"{error.sentence}; what this session runs there was not ended from here: {rescue}",
            ) from error
        if answer["left"] or answer["trouble"]:
            names = ", ".join(f"{pid} ({name})" for pid, name in answer["left"])
            raise RemoteError(
                self.node, "stuck", answer["trouble"] or f"these processes do not die: {names}"
            )

    async def _connect(self) -> None:
        options = {
            "session": self._session,
            "lease_s": self._lease_s,
            "lease_policy": self._lease_policy,
            "adopt_grace_s": self._adopt_grace_s,
            "lock_dir": self._target.lock_dir,
        }
        channel = await open_channel(self._target, options, self._take)
        try:
            await self._greet(channel)
        except BaseException:
            await channel.close()
            raise
        self._channel = channel

    async def _greet(self, channel: Channel) -> None:
        hello: Message = {
            "protocol": PROTOCOL,
            "client": self._id,
            "lease_s": self._lease_s,
            "lease_policy": self._lease_policy,
            "follows": self._streams.positions(),
            "running": sorted(self._running),
            "watch": self._watched,
        }
        try:
            async with asyncio.timeout(ANSWER_S):
                answer = await channel.request("hello", hello)
            self._streams.forget_metrics()
            await self._measure_clock(channel)
        except (LinkLostError, TimeoutError) as error:
            raise RemoteError(
                self.node,
                "agent",
                f"the agent does not greet back ({str(error) or 'no answer'}); see whether the "
                "node is overloaded, and agent.log in its work directory",
            ) from error
        self._tell_link("up", answer["previous_end"] and f"agent before: {answer['previous_end']}")
        for token in answer["unknown"]:
            self._running.discard(token)
            self._streams.drop(token)
            lost = ProcessInfo(
                token=token, pid=0, state="killed", reason="the node knows it no more"
            )
            self._tell(ProcessChanged(self.node, lost))
        self._up.set()

    async def _stay_connected(self) -> None:
        while self._channel is not None:
            await self._channel.closed.wait()
            self._up.clear()
            if self._ended_for_good is not None:
                self._tell_link("closed", self._ended_for_good.sentence)
                self._up.set()
                return
            self._tell_link("lost", self._channel.why)
            await self._channel.close()
            await self._reconnect()

    async def _reconnect(self) -> None:
        delay_s = BACKOFF_S[0]
        while True:
            await asyncio.sleep(delay_s * random.uniform(0.7, 1.3))
            delay_s = min(2 * delay_s, BACKOFF_S[1])
            self._tell_link("connecting")
            try:
                await self._connect()
            except RemoteError as error:
                self._last_trouble = error
                self._tell_link("unreachable", error.sentence)
                continue
            return

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(min(self._lease_s / 4, RENEW_AT_MOST_S))
            await self._up.wait()
            if self._channel is not None:
                with contextlib.suppress(LinkLostError, TimeoutError):  # the link's own affair
                    await self._measure_clock(self._channel)

    async def _measure_clock(self, channel: Channel) -> None:
        walls: list[float] = []

        async def ask() -> float:
            # Not wait_for: in Python 3.11 it can swallow a cancellation that meets the answer,
            # and then this task would never end.
            async with asyncio.timeout(ANSWER_S):
                answer = await channel.request("ping", {})
            if "wall" in answer:  # agents of earlier versions do not tell
                walls.append(float(answer["wall"]) - float(answer["t"]))
            return float(answer["t"])

        seen = await clock.measure(self.node, ask, rounds=CLOCK_ROUNDS, now=time.monotonic)
        if walls:
            ours = time.time() - time.monotonic()
            wall_offset_s = walls[-1] + seen.offset_s - ours
            seen = msgspec.structs.replace(seen, wall_offset_s=wall_offset_s)
        self._tell(seen)

    # -- requests

    async def _call(
        self,
        op: str,
        fields: Message,
        *,
        answer_s: float = ANSWER_S,
        link_s: float | None = None,
        repeat: bool = True,
    ) -> Message:
        """Sends the request again over the next connection if this one breaks under it."""
        wait_s = max(self._lease_s, answer_s) if link_s is None else link_s
        until = asyncio.get_running_loop().time() + wait_s
        while True:
            channel = await self._ready_channel(until)
            try:
                async with asyncio.timeout(answer_s):
                    return await channel.request(op, fields)
            except TimeoutError as error:
                raise RemoteError(
                    self.node,
                    "agent",
                    f"the agent does not answer {op!r} within {answer_s:g} s; see whether the node "
                    "is overloaded",
                ) from error
            except LinkLostError as error:
                if self._channel is channel:
                    self._up.clear()
                if not repeat:
                    raise RemoteError(
                        self.node, "lost", f"the connection broke during {op!r}: {error}"
                    ) from error

    async def _ready_channel(self, until: float) -> Channel:
        left_s = until - asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(max(0.0, left_s)):
                await self._up.wait()
        except TimeoutError as error:
            trouble = self._last_trouble
            said = trouble.sentence if trouble else "the connection does not come back"
            raise RemoteError(self.node, "unreachable", said) from error
        if self._ended_for_good is not None:
            raise self._ended_for_good
        assert self._channel is not None
        return self._channel

    async def inventory(self, *, versions: bool = True) -> Inventory:
        """Without `versions` only those that cost nothing: asking programs takes seconds."""
        fields: Message = {
            "version_commands": self._version_commands if versions else {},
            "version_env": self._version_env,
        }
        if versions and self._look is not None:
            fields["look"] = msgspec.to_builtins(self._look)
        answer = await self._call("inventory", fields, answer_s=180.0)
        found = msgspec.convert({**answer, "node": self.node}, Inventory)
        if found.looked is None:
            return found
        of_packages = found.looked.engine.versions()
        return msgspec.structs.replace(found, versions={**of_packages, **found.versions})

    async def lock(self, slots: Sequence[int]) -> None:
        """All of them or none; kind "occupied" names the GPUs and who holds them."""
        await self._call("lock", {"slots": list(slots)})

    async def unlock(self, slots: Sequence[int] | None = None) -> None:
        """None: all of this session. Refused for a slot that a running process of ours uses."""
        await self._call("unlock", {"slots": None if slots is None else list(slots)})

    async def start(self, spec: ProcessSpec) -> ProcessInfo:
        """Idempotent: a token that runs is left alone, one that has ended starts anew, with a new
        log. Takes the locks of its slots if this session does not hold them yet."""
        fields = {**msgspec.to_builtins(spec), "nonce": secrets.token_hex(8)}
        # Known before the answer: the process may end, and be announced, at once.
        known = spec.token in self._running
        self._running.add(spec.token)
        try:
            answer = await self._call("start", fields)
        except RemoteError:
            if not known:
                self._running.discard(spec.token)
            raise
        return msgspec.convert(answer, ProcessInfo)

    async def stop(self, tokens: Sequence[str], grace_s: float = 10.0) -> list[ProcessInfo]:
        """TERM, after the grace KILL, and verified: also what left the process group."""
        fields = {"tokens": list(tokens), "grace_s": grace_s}
        answer = await self._call("stop", fields, answer_s=grace_s + ANSWER_S)
        return msgspec.convert(answer["processes"], list[ProcessInfo])

    async def processes(self) -> list[ProcessInfo]:
        """Every token started here in this session, as it stands."""
        answer = await self._call("processes", {})
        return msgspec.convert(answer["processes"], list[ProcessInfo])

    async def http(
        self,
        method: str,
        url: str,
        *,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        timeout_s: float = 10.0,
    ) -> HttpReply:
        """A request made on the node, never repeated; kind "http" when no whole answer comes."""
        answer = await self._call(
            "http",
            {
                "method": method,
                "url": url,
                "body": base64.b64encode(body).decode(),
                "headers": dict(headers or {}),
                "timeout_s": timeout_s,
            },
            answer_s=timeout_s + ANSWER_S,
            repeat=False,
        )
        return msgspec.convert(answer, HttpReply)

    async def read(self, token: str, name: str, offset: int = 0, limit: int = 1 << 20) -> bytes:
        """Part of a file in the process's directory; empty at its end. kind "missing" if there is
        no such file."""
        fields = {"token": token, "name": name, "offset": offset, "limit": limit}
        answer = await self._call("read", fields)
        return base64.b64decode(answer["data"])

    async def watch(
        self,
        *,
        gpus_s: float | None = None,
        nics_s: float | None = None,
        metrics: Mapping[str, tuple[str, float]] | None = None,
    ) -> None:
        """Replaces what is sampled. `metrics`: name -> (url, interval_s)."""
        targets = {name: list(target) for name, target in (metrics or {}).items()}
        self._watched = {"gpus_s": gpus_s, "nics_s": nics_s, "metrics": targets}
        await self._call("watch", {"watch": self._watched})

    async def follow(self, token: str, *, log_offset: int = 0, records_offset: int = 0) -> None:
        """From these byte offsets on; until the process has ended and its last byte was told."""
        offsets = {LOG: log_offset, RECORDS: records_offset}
        self._streams.add(token, offsets)
        try:
            await self._call("follow", {"token": token, "offsets": offsets})
        except RemoteError:
            self._streams.drop(token)
            raise

    async def find_leftovers(self) -> list[ProcessInfo]:
        """What carries a token of any session of this user in this work directory, and agents of
        other sessions ("<session>/agent")."""
        answer = await self._call("leftovers", {})
        return msgspec.convert(answer["processes"], list[ProcessInfo])

    async def clean(self, tokens: Sequence[str], grace_s: float = 10.0) -> None:
        """Ends what `find_leftovers` found, verified."""
        fields = {"tokens": list(tokens), "grace_s": grace_s}
        await self._call("clean", fields, answer_s=grace_s + 120.0)

    # -- news

    def _take(self, message: Message) -> None:
        if message["news"] == "taken-over":
            self._ended_for_good = RemoteError(
                self.node,
                "taken-over",
                f"another pdconsole speaks for session {self._session} now; use that one, or end "
                "it first",
            )
            return
        news = self._streams.read(message)
        if isinstance(news, ProcessChanged):
            self._running.discard(news.info.token)
        if news is not None:
            self._tell(news)

    def _tell_link(self, status: LinkStatus, message: str = "") -> None:
        self._tell(LinkChanged(self.node, status, message))

    def _tell(self, news: News) -> None:
        try:
            self._on_news(news)
        except Exception as error:  # noqa: BLE001 - as asyncio does with callbacks
            asyncio.get_running_loop().call_exception_handler(
                {"message": f"{self.node}: a reader of news failed", "exception": error}
            )
