"""Finding processes of ours in /proc, and ending them.

What we start carries a token in its environment, and so does what it starts, also after setsid or
a double fork. Nobody is signalled by number alone: a pid is pinned by a pidfd, and the process
behind it must still be the one that was found.
"""

from __future__ import annotations

import os
import signal
import time
from typing import Callable, Dict, Iterable, List, NamedTuple, Optional, Set, Tuple

TOKEN = "PDCONSOLE_TOKEN"
SESSION = "PDCONSOLE_SESSION"
WORK_DIR = "PDCONSOLE_WORK_DIR"


class Process(NamedTuple):
    pid: int
    parent: int
    group: int
    start: int  # clock ticks since boot

    @property
    def identity(self) -> Tuple[int, int]:
        return self.pid, self.start

    @property
    def name(self) -> str:
        try:
            with open(f"/proc/{self.pid}/comm", "rb") as file:
                return file.read().decode("utf-8", "replace").strip()
        except OSError:
            return "?"


def look(pid: int) -> Optional[Process]:
    """The process of this number; None if there is none, or only a zombie."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            stat = file.read()
    except OSError:
        return None
    # The command in parentheses may itself hold anything.
    fields = stat[stat.rfind(b")") + 2 :].split()
    if fields[0] in (b"Z", b"X"):
        return None
    return Process(pid, int(fields[1]), int(fields[2]), int(fields[19]))


def cpu_s(pid: int) -> Optional[float]:
    """CPU seconds of a process, its children (of the main thread) and those it has reaped; None
    if it is gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            stat = file.read()
        with open(f"/proc/{pid}/task/{pid}/children", "rb") as file:
            children = [int(word) for word in file.read().split()]
    except OSError:
        return None
    ticks = sum(map(int, stat[stat.rfind(b")") + 2 :].split()[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK") + sum(cpu_s(child) or 0.0 for child in children)


def environment(pid: int) -> Dict[str, str]:
    """What the process was started with; empty if it is gone or not ours to read."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            raw = file.read()
    except OSError:
        return {}
    pairs = (item.partition(b"=") for item in raw.split(b"\0") if item)
    return {name.decode("utf-8", "replace"): os.fsdecode(value) for name, _, value in pairs}


def own_pids() -> Iterable[int]:
    uid = os.getuid()
    me = os.getpid()
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit() or int(entry.name) == me:
            continue
        try:
            if entry.stat().st_uid == uid:
                yield int(entry.name)
        except OSError:
            continue


def carriers(wanted: Callable[[Dict[str, str]], bool], mark: str = TOKEN) -> List[Process]:
    """Processes of this user whose environment has `mark` and is wanted."""
    needle = mark.encode() + b"="
    found = []
    for pid in own_pids():
        try:
            with open(f"/proc/{pid}/environ", "rb") as file:
                if needle not in file.read():
                    continue
        except OSError:
            continue
        variables = environment(pid)
        process = look(pid)
        if process is not None and mark in variables and wanted(variables):
            found.append(process)
    return found


def of_tokens(tokens: Iterable[str], work_dir: str) -> Callable[[], List[Process]]:
    """A finder of the processes that carry one of these tokens under this work directory."""
    names = frozenset(tokens)

    def wanted(variables: Dict[str, str]) -> bool:
        return variables.get(TOKEN) in names and variables.get(WORK_DIR) == work_dir

    return lambda: carriers(wanted)


def of_session(session: str, work_dir: str) -> Callable[[], List[Process]]:
    def wanted(variables: Dict[str, str]) -> bool:
        return variables.get(SESSION) == session and variables.get(WORK_DIR) == work_dir

    return lambda: carriers(wanted)


def family(root: int, group: int) -> List[Process]:
    """Descendants of `root` (never itself) and members of the process group."""
    everyone = [p for p in (look(pid) for pid in own_pids()) if p is not None]
    known: Set[int] = {root, os.getpid()}
    found: Dict[int, Process] = {p.pid: p for p in everyone if p.group == group}
    known.update(found)
    grown = True
    while grown:
        grown = False
        for process in everyone:
            if process.pid not in known and process.parent in known:
                known.add(process.pid)
                found[process.pid] = process
                grown = True
    return list(found.values())


def send(process: Process, number: int) -> None:
    """Signals the process if it still is the one that was found."""
    try:
        fd = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return
    except (AttributeError, OSError):  # Linux before 5.3
        fd = -1
    try:
        now = look(process.pid)
        if now is None or now.identity != process.identity:
            return
        if fd < 0:
            os.kill(process.pid, number)
        else:
            signal.pidfd_send_signal(fd, number)
    except ProcessLookupError:
        return
    finally:
        if fd >= 0:
            os.close(fd)


class Ending:
    """TERM once to each, KILL after the grace, step by step, so that the caller's loop goes on."""

    def __init__(self, find: Callable[[], List[Process]], grace_s: float, now: float) -> None:
        self._find = find
        self._termed: Set[Tuple[int, int]] = set()
        self._kill_at = now + grace_s
        self.left: List[Process] = []

    def step(self, now: float) -> bool:
        """Signals who is left; True when nobody is."""
        self.left = self._find()
        for process in self.left:
            if now >= self._kill_at:
                send(process, signal.SIGKILL)
            elif process.identity not in self._termed:
                self._termed.add(process.identity)
                send(process, signal.SIGTERM)
        return not self.left

    def hurry(self, kill_at: float) -> None:
        self._kill_at = min(self._kill_at, kill_at)

    def stuck(self, now: float) -> bool:
        """KILL has been sent for long and somebody is still there."""
        return now > self._kill_at + 10.0


def end(find: Callable[[], List[Process]], grace_s: float) -> List[Process]:
    """Ends all that `find` finds; returns who does not die (uninterruptible in the kernel)."""
    ending = Ending(find, grace_s, time.monotonic())
    while not ending.step(time.monotonic()):
        if ending.stuck(time.monotonic()):
            return ending.left
        time.sleep(0.05)
    return []
