"""The embedded cluster's process: an ssh server for each simulated node, on loopback.

`python -m pdconsole.sim.embedded_server DIRECTORY`; started by `ensure_embedded`. It ends by itself
when nobody has been connected and nothing has run on its nodes for a while, and when its directory
has been removed: keys and state are gone then, and nobody finds these nodes any more.
"""

from __future__ import annotations

import asyncio
import fcntl
import getpass
import hashlib
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import asyncssh
import msgspec

from pdconsole.sim.embedded_node import EmbeddedNode
from pdconsole.sim.embedded_session import SERVER_OPTIONS, CommandSession
from pdconsole.sim.embedded_state import (
    CLIENT_KEY_FILE,
    KNOWN_HOSTS_FILE,
    LOCK_FILE,
    SPEC_FILE,
    STATE_FILE,
    EmbeddedSpec,
    EmbeddedState,
    NodePlace,
    write_whole,
)
from pdconsole.sim.nvidia_smi import NODE_DIR_VARIABLE

SSH_PORT = 2222
LOOK_EVERY_S = 2.0
LOCK_PATIENCE_S = 2.0
KILL_ROUNDS = 20
KILL_PAUSE_S = 0.1

# Both are cheap with a processor's own AES.
ENCRYPTION = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com")


class _Activity:
    """Who is connected, and since when nobody is."""

    def __init__(self) -> None:
        self.connections = 0
        self.last = time.monotonic()

    def connected(self) -> None:
        self.connections += 1
        self.last = time.monotonic()

    def left(self) -> None:
        self.connections -= 1
        self.last = time.monotonic()


class _NodeServer(asyncssh.SSHServer):
    def __init__(self, node: EmbeddedNode, activity: _Activity) -> None:
        self._node = node
        self._activity = activity

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._activity.connected()

    def connection_lost(self, exc: Exception | None) -> None:
        self._activity.left()

    def session_requested(self) -> CommandSession:
        return CommandSession(str(self._node.home), self._node.environment(os.environ))


class EmbeddedServer:
    def __init__(self, directory: Path, spec: EmbeddedSpec, lock: int) -> None:
        self._directory = directory
        self._spec = spec
        self._lock = os.fstat(lock)
        self._activity = _Activity()
        self._nodes = [EmbeddedNode(node, directory / "nodes" / node.name) for node in spec.nodes]

    async def run(self) -> None:
        """Until nobody needs the nodes, their directory is gone, or SIGTERM."""
        stop = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
        for node in self._nodes:
            node.prepare()
        self._prepare_client()
        places = await self._listen()
        self._write_known_hosts(places)
        state = EmbeddedState(os.getpid(), getpass.getuser(), tuple(places))
        write_whole(self._directory / STATE_FILE, msgspec.json.encode(state).decode())
        print(f"listening: {state}", flush=True)  # noqa: T201
        pause_s = min(LOOK_EVERY_S, self._spec.idle_s / 2)
        while not stop.is_set():
            try:
                async with asyncio.timeout(pause_s):
                    await stop.wait()
            except TimeoutError:
                if not self._directory.exists():
                    await end_processes_on(self._directory)
                    return
                if not self._is_known():
                    if self._activity.connections:
                        continue
                    return  # what runs on the nodes and what their files say is another server's
                if self._idle():
                    break
        (self._directory / STATE_FILE).unlink(missing_ok=True)

    def _is_known(self) -> bool:
        """Whether our lock is still the one that others look at."""
        try:
            return os.path.samestat(self._lock, (self._directory / LOCK_FILE).stat())
        except FileNotFoundError:
            return False

    def _idle(self) -> bool:
        activity = self._activity
        if activity.connections or time.monotonic() - activity.last < self._spec.idle_s:
            return False
        if any(processes_on(self._directory)):
            activity.last = time.monotonic() - self._spec.idle_s / 2  # look again, not at once
            return False
        return True

    # --- keys ---

    def _prepare_client(self) -> None:
        path = self._directory / CLIENT_KEY_FILE
        if not path.exists():
            key = asyncssh.generate_private_key("ssh-ed25519", comment="pdconsole embedded")
            write_whole(path.with_suffix(".pub"), key.export_public_key().decode())
            write_whole(path, key.export_private_key().decode())

    def _write_known_hosts(self, places: list[NodePlace]) -> None:
        lines = []
        for node, place in zip(self._nodes, places, strict=True):
            key = asyncssh.read_private_key(node.host_key_path)
            public = key.export_public_key().decode().rsplit(" ", 1)[0]
            lines.append(f"[{place.address}]:{place.port} {public.strip()}\n")
        write_whole(self._directory / KNOWN_HOSTS_FILE, "".join(lines))

    # --- addresses ---

    async def _listen(self) -> list[NodePlace]:
        """All nodes on one loopback network of their own, the same after a restart if possible."""
        for attempt in range(32):
            network = self._network(attempt)
            acceptors: list[asyncssh.SSHAcceptor] = []
            try:
                for number, node in enumerate(self._nodes, start=1):
                    acceptors.append(await self._listen_at(node, f"{network}.{number}"))
            except OSError:
                for acceptor in acceptors:
                    acceptor.close()
                continue
            return [
                NodePlace(node.spec.name, f"{network}.{number}", acceptor.get_port())
                for number, (node, acceptor) in enumerate(
                    zip(self._nodes, acceptors, strict=True), start=1
                )
            ]
        raise OSError("no loopback network 127.x.y.* is free for the simulated nodes")

    def _network(self, attempt: int) -> str:
        digest = hashlib.sha256(f"{self._directory} {attempt}".encode()).digest()
        return f"127.{64 + digest[0] % 128}.{digest[1]}"

    async def _listen_at(self, node: EmbeddedNode, address: str) -> asyncssh.SSHAcceptor:
        return await asyncssh.listen(
            address,
            SSH_PORT,
            server_factory=lambda: _NodeServer(node, self._activity),
            server_host_keys=[str(node.host_key_path)],
            authorized_client_keys=str(self._directory / f"{CLIENT_KEY_FILE}.pub"),
            encryption_algs=ENCRYPTION,
            **SERVER_OPTIONS,
        )


def processes_on(directory: Path) -> Iterator[int]:
    """Processes of this user that run on a simulated node under `directory`."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and _is_on(entry, directory):
            yield int(entry.name)


def _is_on(process: Path, directory: Path) -> bool:
    needle = f"{NODE_DIR_VARIABLE}={directory}/".encode()
    try:
        variables = (process / "environ").read_bytes()
    except OSError:
        return False  # gone, or another user's
    return any(v.startswith(needle) for v in variables.split(b"\0"))


async def end_processes_on(directory: Path) -> None:
    """End what runs on nodes whose directory is gone, as machines that are switched off do."""
    for _ in range(KILL_ROUNDS):
        found = [pid for pid in processes_on(directory) if pid != os.getpid()]
        if not found:
            return
        for pid in found:
            _kill(pid, directory)
        await asyncio.sleep(KILL_PAUSE_S)


def _kill(pid: int, directory: Path) -> None:
    try:
        pinned = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        if _is_on(Path(f"/proc/{pid}"), directory):  # the number may be another's by now
            signal.pidfd_send_signal(pinned, signal.SIGKILL)
    except ProcessLookupError:
        return
    finally:
        os.close(pinned)


def main() -> int:
    directory = Path(sys.argv[1])
    lock = os.open(directory / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    if not _take(lock):
        print("another server has these nodes", file=sys.stderr)  # noqa: T201
        return 3
    spec = msgspec.json.decode((directory / SPEC_FILE).read_bytes(), type=EmbeddedSpec)
    asyncio.run(_serve(EmbeddedServer(directory, spec, lock)))
    return 0


def _take(lock: int) -> bool:
    """Held as long as this process lives: who cannot take it knows that a server is there."""
    deadline = time.monotonic() + LOCK_PATIENCE_S
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)  # who looks whether a server is there has the lock for an instant
        else:
            return True


async def _serve(server: EmbeddedServer) -> None:
    await server.run()
    # Not by an orderly end of the event loop: that would kill what still runs on the nodes.
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
