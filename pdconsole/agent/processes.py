"""The processes of a session: started once a token, kept by keepers, found again after the agent
died."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import subprocess
import sys
from typing import Callable, Dict, Iterable, List, Optional, Tuple

from pdconsole.agent import paths, sweep
from pdconsole.agent.locks import SlotLocks
from pdconsole.agent.protocol import AgentError, Message, decode, encode, log

OWN_FILES = frozenset(["log", "records", "status.json", "keeper.sock"])
LOG_TAIL_BYTES = 8192
LOG_TAIL_LINES = 6


class Child:
    """One start of a token."""

    def __init__(self, directory: str, status: Message) -> None:
        self.dir = directory
        self.status = status
        self.keeper: Optional[asyncio.StreamWriter] = None
        self.ended = asyncio.Event()
        self.stuck: List[Tuple[int, str]] = []
        self.stuck_seen = asyncio.Event()

    @property
    def token(self) -> str:
        return str(self.status["token"])

    @property
    def running(self) -> bool:
        return not self.ended.is_set()

    def info(self) -> Message:
        status = self.status
        return {
            "token": status["token"],
            "session": status["session"],
            "pid": status["pid"],
            "state": status["state"] if self.ended.is_set() else "running",
            "exit_code": status["exit_code"],
            "reason": status["reason"],
            "started_node_t": status["started_node_t"],
            "cpu_s": sweep.cpu_s(status["pid"]) if self.running else None,
            "log_size": _size(os.path.join(self.dir, "log")),
            "records_size": _size(os.path.join(self.dir, "records")),
            "last_log": last_lines(os.path.join(self.dir, "log")),
        }


class Processes:
    def __init__(
        self,
        *,
        session: str,
        work_dir: str,
        archive: str,
        adopt_grace_s: float,
        end_grace_s: float,
        locks: SlotLocks,
        on_end: Callable[[Child], None],
    ) -> None:
        self._session = session
        self._work_dir = work_dir
        self._archive = archive
        self._adopt_grace_s = adopt_grace_s
        self._end_grace_s = end_grace_s
        self._locks = locks
        self._on_end = on_end
        self._dir = os.path.join(paths.session_dir(work_dir, session), "processes")
        self._children: Dict[str, Child] = {}
        self._keepers: List[subprocess.Popen[bytes]] = []
        self._starting: Dict[str, asyncio.Lock] = {}
        self._readers: set[asyncio.Task[None]] = set()

    def all(self) -> List[Child]:
        return list(self._children.values())

    def get(self, token: str) -> Child:
        child = self._children.get(token)
        if child is None:
            raise AgentError("missing", f"no process {token} was started here in this session")
        return child

    # -- starting

    async def start(self, request: Message) -> Child:
        """Idempotent: a token that runs is left alone; a repeated request (same nonce) finds its
        process, also when that has ended meanwhile; else an ended token starts anew."""
        token = str(request["token"])
        async with self._starting.setdefault(token, asyncio.Lock()):
            child = self._children.get(token)
            if child and (child.running or child.status["nonce"] == request["nonce"]):
                return child
            slots = [int(slot) for slot in request["slots"]]
            fresh = set(slots) - set(self._locks.held)
            self._locks.take(slots)
            try:
                directory = self._next_dir(token)
                _write_files(directory, self._replaced(request["files"], directory))
                return await self._launch(self._keeper_spec(request, directory, slots))
            except AgentError:
                self._locks.give_back(fresh)
                raise

    def _next_dir(self, token: str) -> str:
        parent = os.path.join(self._dir, paths.short_hash(token))
        starts = paths.starts_of(parent)
        for old in starts[:-1]:
            shutil.rmtree(os.path.join(parent, str(old)))
        return paths.private_dir(os.path.join(parent, str(starts[-1] + 1 if starts else 1)))

    def _replaced(self, texts: Dict[str, str], directory: str) -> Dict[str, str]:
        return {name: self._replace(text, directory) for name, text in texts.items()}

    def _replace(self, text: str, directory: str) -> str:
        text = text.replace("@agent@", self._archive).replace("@dir@", directory)
        text = text.replace("@home@", os.path.expanduser("~"))
        return text.replace("@python@", sys.executable)

    def _keeper_spec(self, request: Message, directory: str, slots: List[int]) -> Message:
        token = str(request["token"])
        marks = {
            sweep.TOKEN: token,
            sweep.SESSION: self._session,
            sweep.WORK_DIR: self._work_dir,
            # Keeps setproctitle (vLLM has it) from overwriting the environment in /proc.
            "SPT_NOENV": "1",
        }
        return {
            "token": token,
            "session": self._session,
            "nonce": request["nonce"],
            "work_dir": self._work_dir,
            "dir": directory,
            "argv": [paths.expanded(self._replace(word, directory)) for word in request["argv"]],
            "env": {**os.environ, **self._replaced(request["env"], directory), **marks},
            "records": bool(request["records"]),
            "locks": self._locks.descriptors(slots),
            "adopt_grace_s": self._adopt_grace_s,
            "end_grace_s": self._end_grace_s,
        }

    async def _launch(self, spec: Message) -> Child:
        ours, theirs = socket.socketpair()
        with theirs:
            keeper = subprocess.Popen(  # noqa: ASYNC220 - takes milliseconds
                [sys.executable, "-I", "-S", self._archive, "keeper", str(theirs.fileno())],
                pass_fds=[theirs.fileno(), *spec["locks"].values()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                start_new_session=True,
                cwd="/",
            )
        self._keepers.append(keeper)
        reader, writer = await asyncio.open_connection(sock=ours)
        # The environment may hold secrets: it goes over the socket, not into argv or a file.
        writer.write(encode(spec))
        line = await reader.readline()
        answer = decode(line) if line else {}
        if "started" not in answer:
            writer.close()
            failed = answer.get("failed") or {
                "kind": "start",
                "message": f"the keeper of {spec['token']} died at its start; see agent.log",
            }
            raise AgentError(failed["kind"], failed["message"])
        return self._keep(Child(spec["dir"], answer["started"]), reader, writer)

    def _keep(
        self, child: Child, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> Child:
        child.keeper = writer
        self._children[child.token] = child
        task = asyncio.ensure_future(self._hear(child, reader))
        self._readers.add(task)
        task.add_done_callback(self._readers.discard)
        return child

    async def _hear(self, child: Child, reader: asyncio.StreamReader) -> None:
        """What a keeper tells, until it is done, or dead."""
        while True:
            try:
                line = await reader.readline()
            except ConnectionError:
                line = b""
            if not line:
                break
            message = decode(line)
            if "stuck" in message:
                child.stuck = [(pid, name) for pid, name in message["stuck"]]
                child.stuck_seen.set()
            if "ended" in message:
                child.status = message["ended"]
                self._settle(child)
                return
        await self._sweep_after(child, "its keeper died")

    async def _sweep_after(self, child: Child, reason: str) -> None:
        """Nobody keeps this process any more: end what carries its token, write that down."""
        log(f"{child.token}: {reason}; ending what is left of it")
        child.stuck = await self._end_carriers([child.token], self._end_grace_s)
        child.status = {**child.status, "state": "killed", "reason": reason}
        try:
            paths.write_whole(os.path.join(child.dir, "status.json"), json.dumps(child.status))
        except OSError as error:
            log(f"{child.token}: cannot write its status: {error}")
        self._settle(child)

    def _settle(self, child: Child) -> None:
        if child.keeper is not None:
            child.keeper.close()
        child.ended.set()
        self.reap()
        self._on_end(child)

    def reap(self) -> None:
        """Takes dead keepers off the process table."""
        self._keepers = [keeper for keeper in self._keepers if keeper.poll() is None]

    # -- stopping

    async def stop(self, tokens: Iterable[str], grace_s: float, reason: str) -> List[Message]:
        """Ends these processes and all that carries their tokens, known to us or not; raises
        AgentError("stuck") if somebody does not die."""
        wanted = list(tokens)
        for token in wanted:
            async with self._starting.setdefault(token, asyncio.Lock()):
                pass  # what is just being started is known after this
        children = [self._children[t] for t in wanted if t in self._children]
        await asyncio.gather(*(self._stop(c, grace_s, reason) for c in children if c.running))
        left = await self._end_carriers(wanted, grace_s)
        stuck = left + [pair for child in children if child.running for pair in child.stuck]
        if stuck:
            names = ", ".join(f"{pid} ({name})" for pid, name in sorted(set(stuck)))
            raise AgentError(
                "stuck",
                f"these processes do not die after KILL: {names}; they hang in the kernel, "
                "look at dmesg there, the node may need a reboot",
            )
        return [child.info() for child in children]

    async def _stop(self, child: Child, grace_s: float, reason: str) -> None:
        assert child.keeper is not None
        child.keeper.write(encode({"stop": grace_s, "reason": reason}))
        over = {
            asyncio.ensure_future(child.ended.wait()),
            asyncio.ensure_future(child.stuck_seen.wait()),
        }
        _, waiting = await asyncio.wait(
            over, timeout=grace_s + 30.0, return_when=asyncio.FIRST_COMPLETED
        )
        for task in waiting:
            task.cancel()

    async def _end_carriers(self, tokens: List[str], grace_s: float) -> List[Tuple[int, str]]:
        find = sweep.of_tokens(tokens, self._work_dir)
        loop = asyncio.get_running_loop()
        left = await loop.run_in_executor(None, sweep.end, find, grace_s)
        return [(p.pid, p.name) for p in left]

    # -- after an agent's death

    async def adopt(self) -> None:
        """Takes over what an earlier agent of this session left behind."""
        try:
            names = os.listdir(self._dir)
        except FileNotFoundError:
            return
        await asyncio.gather(*(self._adopt(os.path.join(self._dir, name)) for name in names))

    async def _adopt(self, parent: str) -> None:
        starts = paths.starts_of(parent)
        if not starts:
            return
        directory = os.path.join(parent, str(starts[-1]))
        status = paths.read_json(os.path.join(directory, "status.json"))
        if status is None:
            return
        loop = asyncio.get_running_loop()
        met = await loop.run_in_executor(None, _meet_keeper, directory)
        if met is not None:
            connection, hello, rest, descriptors = met
            for slot, fd in zip(hello["slots"], descriptors):
                self._locks.accept(int(slot), fd)
            reader, writer = await asyncio.open_connection(sock=connection)
            reader.feed_data(rest)
            child = self._keep(Child(directory, hello), reader, writer)
            log(f"{child.token}: adopted, pid {child.status['pid']}")
            return
        status = paths.read_json(os.path.join(directory, "status.json")) or status
        child = Child(directory, status)
        self._children[child.token] = child
        if status["state"] == "running":
            await self._sweep_after(child, "agent and keeper died")
        else:
            child.ended.set()


def _meet_keeper(directory: str) -> Optional[Tuple[socket.socket, Message, bytes, List[int]]]:
    """Connects to a keeper; None if it is gone, or ends before it answers."""
    try:
        connection = paths.connect(os.path.join(directory, "keeper.sock"), timeout_s=30.0)
    except OSError:
        return None
    if connection is None:
        return None
    data, descriptors, _, _ = socket.recv_fds(connection, 65536, 64)
    while data and b"\n" not in data:
        more = connection.recv(65536)
        data = data + more if more else b""
    if not data:
        connection.close()
        return None
    connection.setblocking(False)
    hello, _, rest = data.partition(b"\n")
    return connection, decode(hello)["adopted"], rest, list(descriptors)


def _write_files(directory: str, files: Dict[str, str]) -> None:
    for name, text in files.items():
        if name in OWN_FILES or not name or "/" in name or name.startswith("."):
            raise AgentError("start", f"a process's file cannot be named {name!r}")
        path = os.path.join(directory, name)
        try:
            paths.write_whole(path, text)
        except OSError as error:
            raise paths.disk_error(path, error) from error


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except FileNotFoundError:
        return 0


def last_lines(path: str) -> str:
    """The last lines of a log; progress bars (carriage returns) count as lines."""
    try:
        with open(path, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - LOG_TAIL_BYTES))
            text = file.read().decode("utf-8", "replace")
    except FileNotFoundError:
        return ""
    lines = [line.strip()[-500:] for line in text.replace("\r", "\n").split("\n")]
    return "\n".join([line for line in lines if line][-LOG_TAIL_LINES:])
