"""The agent: one process a node and session, outliving every connection.

It answers one client at a time on a UNIX socket. As long as the client renews the lease all lives;
when the lease runs out the agent ends everything of the session, writes down what it did, and ends.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from typing import Any, Awaitable, Callable, Dict, List, Optional, Set

from pdconsole.agent import fetch, inventory, leftovers, look, nics, paths, sweep
from pdconsole.agent.connection import Connection
from pdconsole.agent.link import Link
from pdconsole.agent.locks import SlotLocks
from pdconsole.agent.processes import Child, Processes
from pdconsole.agent.protocol import (
    MAX_LINE,
    PROTOCOL,
    AgentError,
    Message,
    decode,
    log,
    pack,
    unpack,
)

KEEP_S = 7 * 86400.0  # what earlier sessions left on disk
LEASE_LOOK_S = 1.0  # a client may shorten the lease
END_GRACE_S = 10.0  # from TERM to KILL when the session ends, or a keeper is alone
# A renewal may already lie in the socket when the lease runs out: look once more.
SECOND_LOOK_S = 0.5


def main(argv: List[str]) -> int:
    options = json.loads(argv[0])
    ready_fd = int(options["ready_fd"])
    directory = paths.private_dir(paths.session_dir(options["work_dir"], options["session"]))
    lock = leftovers.take_session_lock(directory, options["session"])
    if lock is None:
        os.write(ready_fd, b"held\n")
        return 0
    asyncio.run(_run(options, directory, ready_fd))
    return 0


async def _run(options: Message, directory: str, ready_fd: int) -> None:
    await Agent(options, directory).run(ready_fd)
    # Nothing is left to tidy, and a thread that waits for a slow HTTP answer must not keep us.
    os._exit(0)


Op = Callable[[Connection, Message], Awaitable[Message]]


class Agent:
    def __init__(self, options: Message, directory: str) -> None:
        self._session: str = options["session"]
        self._work_dir: str = options["work_dir"]
        self._dir = directory
        self._archive = os.path.abspath(sys.argv[0])
        self._nic_root = os.environ.get("PDCONSOLE_NIC_ROOT") or nics.ROOT
        self._locks = _slot_locks(options["lock_dir"], self._work_dir, self._session)
        self._end_grace_s = float(options.get("end_grace_s", END_GRACE_S))
        self._processes = Processes(
            session=self._session,
            work_dir=self._work_dir,
            archive=self._archive,
            adopt_grace_s=float(options["adopt_grace_s"]),
            end_grace_s=self._end_grace_s,
            locks=self._locks,
            on_end=self._note_end,
        )
        self._lease_s = float(options["lease_s"])
        self._lease_kills = options["lease_policy"] == "kill"
        self._lease_until = time.monotonic() + self._lease_s
        self._connection: Optional[Connection] = None
        self._requests: Set[asyncio.Task[None]] = set()
        self._finishing = ""
        self._over = asyncio.Event()
        self._ops: Dict[str, Op] = {
            name[4:]: getattr(self, name) for name in dir(self) if name.startswith("_op_")
        }

    async def run(self, ready_fd: int) -> None:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGCHLD, self._processes.reap)
        loop.add_signal_handler(signal.SIGTERM, self._finish_soon, "it was terminated (SIGTERM)")
        loop.add_signal_handler(signal.SIGHUP, lambda: None)
        previous = paths.read_json(self._path("ended.json"))
        self._previous_end = str(previous["reason"]) if previous else ""
        log(f"agent {os.getpid()} of session {self._session} begins")
        await self._processes.adopt()
        listener = paths.listen(self._path("socket"))
        self._server = await asyncio.start_unix_server(self._serve, sock=listener, limit=MAX_LINE)
        os.write(ready_fd, b"ready\n")
        os.close(ready_fd)
        lease = asyncio.ensure_future(self._watch_lease())
        try:
            await _in_thread(lambda: leftovers.prune(self._work_dir, self._archive, KEEP_S))
        except OSError as error:
            log(f"cannot tidy old sessions away: {error}")
        await self._over.wait()
        lease.cancel()

    def _path(self, name: str) -> str:
        return os.path.join(self._dir, name)

    # -- lease and end

    async def _watch_lease(self) -> None:
        while True:
            left = self._lease_until - time.monotonic()
            if left > 0:
                await asyncio.sleep(min(left, LEASE_LOOK_S))
                continue
            await asyncio.sleep(SECOND_LOOK_S)
            if time.monotonic() < self._lease_until:
                continue
            if self._lease_kills or not any(c.running for c in self._processes.all()):
                self._finish_soon(f"its lease of {self._lease_s:g} s ran out")
                return
            self._lease_until = time.monotonic() + self._lease_s

    def _finish_soon(self, reason: str) -> None:
        self._spawn(self._finish_and_go(reason))

    async def _finish_and_go(self, reason: str) -> None:
        if self._finishing:
            return
        await self._finish(reason)
        self._over.set()

    async def _finish(self, reason: str) -> Message:
        """Ends everything of the session, writes down what was done, and returns that."""
        self._finishing = reason
        self._server.close()
        os.unlink(self._path("socket"))
        ended = [child.token for child in self._processes.all() if child.running]
        log(f"ending {len(ended)} processes of session {self._session}: {reason}")
        trouble = ""
        try:
            await self._processes.stop(ended, self._end_grace_s, reason)
        except AgentError as error:
            trouble = error.sentence
        loop = asyncio.get_running_loop()
        find = sweep.of_session(self._session, self._work_dir)
        left = await loop.run_in_executor(None, sweep.end, find, self._end_grace_s)
        self._locks.give_back()
        note = {
            "reason": reason,
            "wall": time.time(),
            "ended": ended,
            "left": [[p.pid, p.name] for p in left],
            "trouble": trouble,
        }
        try:
            paths.write_whole(self._path("ended.json"), json.dumps(note))
        except OSError as error:
            log(f"cannot write ended.json: {error}")
        log(f"ended: {', '.join(ended) or 'nothing ran'}{'; ' + trouble if trouble else ''}")
        return note

    def _note_end(self, child: Child) -> None:
        if self._connection is not None:
            self._connection.tails.note_end(child, now=time.monotonic())
            self._connection.tails.pump(self._connection.link, now=time.monotonic())

    # -- connections

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not paths.peer_is_us(writer.get_extra_info("socket")):
            writer.close()
            return
        connection = Connection(Link(writer, ""), self._nic_root)
        try:
            while True:
                line = await reader.readline()
                if not line:
                    break
                self._hear(connection, decode(line))
        except (ValueError, ConnectionError) as error:
            log(f"a client's connection broke: {error}")
        finally:
            connection.close()
            if self._connection is connection:
                self._connection = None

    def _hear(self, connection: Connection, message: Message) -> None:
        if connection is self._connection:
            self._lease_until = time.monotonic() + self._lease_s
        self._spawn(self._answer(connection, message))

    def _spawn(self, work: Any) -> None:
        task: asyncio.Task[None] = asyncio.ensure_future(work)
        self._requests.add(task)
        task.add_done_callback(self._requests.discard)

    async def _answer(self, connection: Connection, message: Message) -> None:
        answer: Message = {"id": message.get("id")}
        op = str(message.get("op"))
        try:
            answer["ok"] = await self._perform(op, connection, message)
        except AgentError as error:
            answer["error"] = {"kind": error.kind, "message": error.sentence}
        except Exception as error:  # noqa: BLE001 - the client must hear of it, the agent go on
            log(f"{op} failed: {type(error).__name__}: {error}")
            answer["error"] = {
                "kind": "disk" if isinstance(error, OSError) else "agent",
                "message": f"{op} failed in the agent: {type(error).__name__}: {error}; "
                f"its log is {self._path('agent.log')}",
            }
        if op == "end":
            await connection.flush()
        connection.link.send(answer)
        if op == "end":
            await connection.link.drain()
            self._over.set()

    async def _perform(self, op: str, connection: Connection, message: Message) -> Message:
        if op not in self._ops:
            raise AgentError("agent", f"this agent does not know {op!r}")
        if op != "hello" and connection is not self._connection:
            raise AgentError("taken-over", "another client speaks for this session now")
        if self._finishing:
            raise AgentError("agent", f"this agent is ending: {self._finishing}")
        return await self._ops[op](connection, message)

    async def _op_hello(self, connection: Connection, message: Message) -> Message:
        """Makes this client the one that speaks for the session, and restores its streams."""
        if message["protocol"] != PROTOCOL:
            raise AgentError(
                "agent",
                f"the agent of this session speaks protocol {PROTOCOL}, this pdconsole "
                f"{message['protocol']}; go on with the version that began the session",
            )
        old = self._connection
        connection.link.client = message["client"]
        self._connection = connection
        if old is not None and old is not connection:
            if old.link.client != message["client"]:
                old.link.send({"news": "taken-over"})
            old.close()
        self._lease_s = float(message["lease_s"])
        self._lease_kills = message["lease_policy"] == "kill"
        self._lease_until = time.monotonic() + self._lease_s
        connection.samplers.watch(message["watch"])
        known = {child.token: child for child in self._processes.all()}
        for token, name, offset in message["follows"]:
            if token in known:
                connection.tails.follow(known[token], name, int(offset))
        followed = [token for token, _, _ in message["follows"]]
        for token in [*message["running"], *followed]:
            if token in known and not known[token].running:
                connection.tails.note_end(known[token], now=time.monotonic())
        return {
            "protocol": PROTOCOL,
            "pid": os.getpid(),
            "previous_end": self._previous_end,
            "unknown": [token for token in message["running"] if token not in known],
        }

    # -- what a client may ask

    async def _op_ping(self, _: Connection, __: Message) -> Message:
        return {"t": time.monotonic(), "wall": time.time()}

    async def _op_inventory(self, _: Connection, message: Message) -> Message:
        def work() -> Message:
            taken = inventory.take(
                work_dir=self._work_dir,
                nic_root=self._nic_root,
                version_commands=message["version_commands"],
                version_env=message["version_env"],
            )
            asked = message.get("look")
            if asked:
                taken["looked"] = look.take(asked, message["version_env"], self._nic_root)
            return taken

        found: Message = await _in_thread(work)
        found["locks"] = self._locks.table()
        found["processes"] = [child.info() for child in self._processes.all()]
        return found

    async def _op_lock(self, _: Connection, message: Message) -> Message:
        self._locks.take(int(slot) for slot in message["slots"])
        return {}

    async def _op_unlock(self, _: Connection, message: Message) -> Message:
        asked = message["slots"]
        slots = self._locks.held if asked is None else [int(slot) for slot in asked]
        for child in self._processes.all():
            used = sorted(set(slots) & set(child.status["slots"])) if child.running else []
            if used:
                raise AgentError(
                    "occupied", f"GPU {used[0]} is in use by {child.token}; stop that first"
                )
        self._locks.give_back(slots)
        return {}

    async def _op_start(self, _: Connection, message: Message) -> Message:
        child = await self._processes.start(message)
        return child.info()

    async def _op_stop(self, _: Connection, message: Message) -> Message:
        grace_s = float(message["grace_s"])
        infos = await self._processes.stop(message["tokens"], grace_s, "stopped")
        return {"processes": infos}

    async def _op_processes(self, _: Connection, __: Message) -> Message:
        return {"processes": [child.info() for child in self._processes.all()]}

    async def _op_follow(self, connection: Connection, message: Message) -> Message:
        child = self._processes.get(message["token"])
        for name, offset in message["offsets"].items():
            connection.tails.follow(child, name, int(offset))
        if not child.running:
            connection.tails.note_end(child, now=time.monotonic())
        return {}

    async def _op_watch(self, connection: Connection, message: Message) -> Message:
        connection.samplers.watch(message["watch"])
        return {}

    async def _op_http(self, _: Connection, message: Message) -> Message:
        body = unpack(message["body"])
        reply: Message = await _in_thread(
            lambda: fetch.fetch(
                message["method"], message["url"], body, message["headers"], message["timeout_s"]
            )
        )
        return reply

    async def _op_read(self, _: Connection, message: Message) -> Message:
        child = self._processes.get(message["token"])
        name = str(message["name"])
        if "/" in name or name.startswith("."):
            raise AgentError("missing", f"{name!r} is not a file name")
        path = os.path.join(child.dir, name)
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError as error:
            raise AgentError("missing", f"{child.token} has no file {name}") from error
        try:
            data = os.pread(fd, min(int(message["limit"]), MAX_LINE // 2), int(message["offset"]))
        finally:
            os.close(fd)
        return {"data": pack(data)}

    async def _op_leftovers(self, _: Connection, __: Message) -> Message:
        rows = await _in_thread(lambda: leftovers.find(self._work_dir, self._session))
        return {"processes": rows}

    async def _op_clean(self, _: Connection, message: Message) -> Message:
        tokens, grace_s = list(message["tokens"]), float(message["grace_s"])
        mine = [child.token for child in self._processes.all() if child.token in tokens]
        await self._processes.stop(mine, grace_s, "cleaned")
        await _in_thread(lambda: leftovers.clean(self._work_dir, tokens, grace_s))
        return {}

    async def _op_end(self, _: Connection, __: Message) -> Message:
        note = await self._finish("its client ended the session here")
        return {"left": note["left"], "trouble": note["trouble"]}


async def _in_thread(work: Callable[[], Any]) -> Any:
    return await asyncio.get_running_loop().run_in_executor(None, work)


def _slot_locks(lock_dir: str, work_dir: str, session: str) -> SlotLocks:
    """One directory for all users of the node; simulated nodes share a machine, so each has its
    own. `lock_dir` overrules both."""
    if lock_dir:
        return SlotLocks(os.path.expanduser(lock_dir), session, shared=True)
    if inventory.simulated():
        own = os.path.join(paths.node_dir(work_dir), "locks")
        return SlotLocks(own, session, shared=False)
    return SlotLocks(paths.SHARED_LOCKS, session, shared=True)
