"""Slot locks: one file a slot, held by flock, so that they free themselves when the holder is dead.

The holder is an open file description, shared by the agent and the keepers of the processes on
that GPU: it stays locked while any of them lives. A file's text says who holds it; it counts only
while the lock is held.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import pwd
import stat
import time
from typing import Any, Dict, Iterable, List, Optional

from pdconsole.agent.paths import disk_error
from pdconsole.agent.protocol import AgentError


class SlotLocks:
    def __init__(self, directory: str, session: str, *, shared: bool) -> None:
        """`shared`: among all users of the node."""
        self._dir = directory
        self._session = session
        self._shared = shared
        self._held: Dict[int, int] = {}

    @property
    def held(self) -> List[int]:
        return sorted(self._held)

    def descriptors(self, slots: Iterable[int]) -> Dict[int, int]:
        return {slot: self._held[slot] for slot in slots}

    def take(self, slots: Iterable[int]) -> None:
        """All of them or none; raises AgentError("occupied") that names the holders."""
        taken: Dict[int, int] = {}
        refused: List[str] = []
        for slot in sorted(set(slots) - set(self._held)):
            fd = self._open(slot)
            if _try_lock(fd):
                _write_holder(fd, self._session)
                taken[slot] = fd
            else:
                refused.append(f"slot {slot} is held by {_holder_text(fd)}")
                os.close(fd)
        if refused:
            for fd in taken.values():
                os.close(fd)
            raise AgentError(
                "occupied",
                f"{'; '.join(refused)}; wait for it to end, stop it, or place on other slots",
            )
        self._held.update(taken)

    def give_back(self, slots: Optional[Iterable[int]] = None) -> None:
        """Closes our descriptors; a keeper that still has its copy keeps the lock."""
        for slot in self.held if slots is None else slots:
            fd = self._held.pop(slot, None)
            if fd is not None:
                os.close(fd)

    def accept(self, slot: int, fd: int) -> None:
        """A keeper's descriptor, handed over when its process is adopted."""
        if slot in self._held:
            os.close(fd)
        else:
            self._held[slot] = fd

    def table(self) -> List[Dict[str, Any]]:
        """Every slot that anybody of this node holds."""
        try:
            names = os.listdir(self._dir)
        except FileNotFoundError:
            return []
        slots = sorted(int(n[4:]) for n in names if n.startswith("gpu-") and n[4:].isdigit())
        rows = []
        for slot in slots:
            if slot in self._held:
                holder = _read_holder(self._held[slot])
            else:
                fd = self._open(slot)
                # A shared lock, so that two who look do not hinder each other.
                holder = {} if _try_lock(fd, fcntl.LOCK_SH) else _read_holder(fd)
                os.close(fd)
                if not holder:
                    continue
            rows.append(
                {
                    "slot": slot,
                    "session": str(holder.get("session", "")),
                    "user": str(holder.get("user", "")),
                    "pid": int(holder.get("pid", 0)),
                    "ours": slot in self._held,
                }
            )
        return rows

    def _open(self, slot: int) -> int:
        path = os.path.join(self._dir, f"gpu-{slot}")
        try:
            self._make_dir()
            return _open_file(path, 0o666 if self._shared else 0o600)
        except OSError as error:
            raise disk_error(path, error) from error

    def _make_dir(self) -> None:
        try:
            os.makedirs(self._dir, mode=0o700)
        except FileExistsError:
            if not stat.S_ISDIR(os.lstat(self._dir).st_mode):
                raise
            return
        if self._shared:
            os.chmod(self._dir, 0o1777)


def _open_file(path: str, mode: int) -> int:
    """Existing files are opened without O_CREAT, which kernels forbid on files that another user
    owns in a sticky directory. Links are refused: the file's text is overwritten later."""
    flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        fd = os.open(path, flags)
    except FileNotFoundError:
        try:
            fd = os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o600)
            os.fchmod(fd, mode)
        except FileExistsError:
            fd = os.open(path, flags)
    found = os.fstat(fd)
    if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1:
        os.close(fd)
        raise OSError(errno.EPERM, "not a plain lock file")
    return fd


def _try_lock(fd: int, kind: int = fcntl.LOCK_EX) -> bool:
    """Three tries: somebody who only looks holds a file for an instant."""
    for attempt in range(3):
        if attempt:
            time.sleep(0.01)
        try:
            fcntl.flock(fd, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            continue
        return True
    return False


def _write_holder(fd: int, session: str) -> None:
    try:
        user = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        user = str(os.getuid())
    text = json.dumps({"session": session, "user": user, "pid": os.getpid()})
    os.ftruncate(fd, 0)
    os.pwrite(fd, text.encode(), 0)


def _read_holder(fd: int) -> Dict[str, Any]:
    try:
        value = json.loads(os.pread(fd, 4096, 0) or b"{}")
    except ValueError:
        value = {}
    return value if isinstance(value, dict) and value else {"session": "?"}


def _holder_text(fd: int) -> str:
    holder = _read_holder(fd)
    return (
        f"session {holder.get('session', '?')} of user {holder.get('user', '?')} "
        f"(agent pid {holder.get('pid', '?')})"
    )
