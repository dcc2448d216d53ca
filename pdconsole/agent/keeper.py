"""A keeper: the small process that owns one process group of ours.

It starts the process, holds a socket to the agent and the locks of the process's GPUs, and ends
the group with everything that left it when the agent says so, when the main process exits, or when
the agent is gone and no new one comes for the process in time.
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import signal
import socket
import subprocess
import time
from typing import Any, Dict, List, Optional

from pdconsole.agent import paths, sweep
from pdconsole.agent.protocol import decode, encode, log

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36


def main(argv: List[str]) -> int:
    control = socket.socket(fileno=int(argv[0]))
    line = control.makefile("rb").readline()
    if not line:
        return 1
    return Keeper(decode(line), control).run()


def _prctl(option: int, value: int) -> None:
    ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


class Keeper:
    """One process group, from start to its verified end. Single-threaded: it forks."""

    def __init__(self, spec: Dict[str, Any], control: socket.socket) -> None:
        self._spec = spec
        self._dir: str = spec["dir"]
        self._locks: Dict[int, int] = {int(slot): fd for slot, fd in spec["locks"].items()}
        self._agent: Optional[socket.socket] = control
        self._inbox = b""
        self._orphaned_at = 0.0
        self._ending: Optional[sweep.Ending] = None
        self._told_stuck = False
        self._terminated = False
        self._next_step = 0.0
        self._pause_s = 0.0
        self._find_marked = sweep.of_tokens([spec["token"]], spec["work_dir"])
        self._status: Dict[str, Any] = {
            "token": spec["token"],
            "session": spec["session"],
            "nonce": spec["nonce"],
            "slots": sorted(self._locks),
            "records": spec["records"],
            "state": "running",
            "pid": 0,
            "exit_code": None,
            "reason": "",
            "started_node_t": 0.0,
        }

    def run(self) -> int:
        os.chdir(self._dir)
        _prctl(PR_SET_CHILD_SUBREAPER, 1)
        wake = self._catch_signals()
        try:
            paths.write_whole(self._path("status.json"), json.dumps(self._status))
            listener = paths.listen(self._path("keeper.sock"))
        except OSError as error:
            refusal = paths.disk_error(self._dir, error)
            return self._fail(refusal.kind, refusal.sentence)
        try:
            child = self._start()
        except OSError as error:
            return self._fail("start", _start_error(self._spec["argv"][0], error))
        self._status["pid"] = child.pid
        self._status["started_node_t"] = time.monotonic()
        self._write_status()
        self._tell({"started": self._status})
        while not self._is_over():
            self._turn(listener, wake)
        os.unlink(self._path("keeper.sock"))
        self._write_status()
        self._tell({"ended": self._status})
        return 0

    def _path(self, name: str) -> str:
        return os.path.join(self._dir, name)

    def _catch_signals(self) -> int:
        """Handlers, not SIG_IGN, which the process would inherit. Returns what becomes readable."""
        wake, wakener = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        for number in (signal.SIGCHLD, signal.SIGHUP, signal.SIGINT):
            signal.signal(number, lambda *_: None)
        signal.signal(signal.SIGTERM, self._note_term)
        signal.set_wakeup_fd(wakener)
        return wake

    def _note_term(self, *_: object) -> None:
        self._terminated = True

    def _fail(self, kind: str, sentence: str) -> int:
        self._status.update(state="exited", exit_code=127, reason=sentence)
        self._write_status()
        self._tell({"failed": {"kind": kind, "message": sentence}})
        return 1

    def _start(self) -> subprocess.Popen[bytes]:
        log_fd = _append("log")
        out_fd = _append("records") if self._spec["records"] else log_fd
        keeper = os.getpid()

        def in_child() -> None:
            _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != keeper:
                os._exit(125)

        try:
            return subprocess.Popen(
                self._spec["argv"],
                env=self._spec["env"],
                stdin=subprocess.DEVNULL,
                stdout=out_fd,
                stderr=log_fd,
                start_new_session=True,
                preexec_fn=in_child,
            )
        finally:
            os.close(log_fd)
            if out_fd != log_fd:
                os.close(out_fd)

    # -- one turn of the loop

    def _turn(self, listener: socket.socket, wake: int) -> None:
        waiting = [listener.fileno(), wake]
        if self._agent is not None:
            waiting.append(self._agent.fileno())
        ready = select.select(waiting, [], [], self._patience())[0]
        if wake in ready:
            os.read(wake, 4096)
        if self._agent is not None and self._agent.fileno() in ready:
            self._hear()
        if listener.fileno() in ready:
            self._adopt(listener)
        self._notice_exit()
        if self._terminated:
            self._terminated = False
            self._end(self._spec["end_grace_s"], "its keeper was terminated")
        orphan = self._agent is None and self._ending is None
        if orphan and time.monotonic() - self._orphaned_at >= self._spec["adopt_grace_s"]:
            self._end(self._spec["end_grace_s"], "its agent died and no other came for it")

    def _patience(self) -> Optional[float]:
        now = time.monotonic()
        if self._ending is not None:
            return max(0.0, self._next_step - now)
        if self._agent is None:
            return max(0.0, self._orphaned_at + float(self._spec["adopt_grace_s"]) - now)
        return None

    def _hear(self) -> None:
        assert self._agent is not None
        try:
            data = self._agent.recv(65536)
        except ConnectionError:
            data = b""
        if not data:
            self._lose_agent()
            return
        *lines, self._inbox = (self._inbox + data).split(b"\n")
        for line in lines:
            order = json.loads(line)
            self._end(float(order["stop"]), str(order["reason"]))

    def _lose_agent(self) -> None:
        if self._agent is not None:
            self._agent.close()
        self._agent = None
        self._inbox = b""
        self._orphaned_at = time.monotonic()

    def _adopt(self, listener: socket.socket) -> None:
        """Another agent of the same session takes over; it gets our GPU locks as well."""
        connection, _ = listener.accept()
        if not paths.peer_is_us(connection):
            connection.close()
            return
        if self._agent is not None:
            self._agent.close()
        self._agent, self._inbox = connection, b""
        hello = encode({"adopted": self._status})
        try:
            socket.send_fds(connection, [hello], [self._locks[s] for s in sorted(self._locks)])
        except ConnectionError:
            self._lose_agent()

    def _tell(self, message: Dict[str, Any]) -> None:
        if self._agent is None:
            return
        try:
            self._agent.sendall(encode(message))
        except ConnectionError:
            self._lose_agent()

    # -- the end

    def _notice_exit(self) -> None:
        """The main process stays unreaped until its group is gone, so that its number, and the
        group's, cannot be given to others meanwhile."""
        if self._status["exit_code"] is not None:
            return
        result = os.waitid(os.P_PID, self._status["pid"], os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if result is None:
            self._reap_adopted()
            return
        by_signal = result.si_code != os.CLD_EXITED
        self._status["exit_code"] = -result.si_status if by_signal else result.si_status
        if self._ending is None:
            self._status["state"] = "exited"
            self._begin_ending(self._spec["end_grace_s"])
        self._next_step = 0.0

    def _reap_adopted(self) -> None:
        """Reaps grandchildren that were handed to us, never the main process."""
        while True:
            try:
                found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if found is None or found.si_pid == self._status["pid"]:
                return
            os.waitpid(found.si_pid, 0)

    def _end(self, grace_s: float, reason: str) -> None:
        if self._ending is None:
            self._status["state"] = "killed"
            self._status["reason"] = reason
            self._begin_ending(grace_s)
        else:
            self._ending.hurry(time.monotonic() + grace_s)
        self._next_step = 0.0

    def _begin_ending(self, grace_s: float) -> None:
        self._pause_s = 0.05
        self._ending = sweep.Ending(self._find, grace_s, time.monotonic())

    def _find(self) -> List[sweep.Process]:
        found = {p.pid: p for p in sweep.family(os.getpid(), self._status["pid"])}
        found.update((p.pid, p) for p in self._find_marked())
        return list(found.values())

    def _is_over(self) -> bool:
        if self._ending is None or time.monotonic() < self._next_step:
            return False
        gone = self._ending.step(time.monotonic())
        self._notice_exit()
        if gone and self._status["exit_code"] is not None:
            return True
        if self._ending.stuck(time.monotonic()) and not self._told_stuck:
            self._told_stuck = True
            self._tell({"stuck": [[p.pid, p.name] for p in self._ending.left]})
        self._next_step = time.monotonic() + self._pause_s
        self._pause_s = min(0.5, 1.5 * self._pause_s)
        return False

    def _write_status(self) -> None:
        try:
            paths.write_whole(self._path("status.json"), json.dumps(self._status))
        except OSError as error:
            # The group must be kept and ended all the same; the agent is told over the socket.
            log(f"{self._spec['token']}: cannot write {self._dir}/status.json: {error}")


def _append(name: str) -> int:
    return os.open(name, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)


def _start_error(command: str, error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return f"no such command on the node: {command}; install it there, or correct its path"
    if isinstance(error, PermissionError):
        return f"{command} may not be executed on the node; check its mode and owner"
    return f"cannot start {command}: {error.strerror or error}"
