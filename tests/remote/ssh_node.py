"""A node behind a real asyncssh server on loopback: its own HOME, host key and shell."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import asyncssh

from pdconsole.remote.client import NodeClient
from pdconsole.remote.values import News, SshTarget


class _Server(asyncssh.SSHServer):
    def __init__(self, node: SshNode) -> None:
        self._node = node

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._node.connections.append(conn)
        self._node.logins += 1

    def connection_lost(self, exc: Exception | None) -> None:
        pass

    def connection_requested(self, *_: Any) -> bool:
        return True  # a jump host


class SshNode:
    """`start` listens, `cut` breaks every connection, `stop` also stops listening."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder / "home"
        self.home.mkdir(parents=True)
        self.env = {"PDCONSOLE_SIM_NODE_DIR": str(self.home)}
        self.host_key = asyncssh.generate_private_key("ssh-ed25519")
        self.client_key = asyncssh.generate_private_key("ssh-ed25519")
        self.key_file = folder / "id"
        self.client_key.write_private_key(self.key_file)
        self.known_hosts = folder / "known_hosts"
        self.connections: list[asyncssh.SSHServerConnection] = []
        self.logins = 0
        self._shells: set[asyncio.Task[Any]] = set()
        self.port = 0
        self._server: asyncssh.SSHAcceptor | None = None

    async def start(self) -> None:
        self._server = await asyncssh.listen(
            "127.0.0.1",
            self.port,
            server_factory=lambda: _Server(self),
            server_host_keys=[self.host_key],
            authorized_client_keys=asyncssh.import_authorized_keys(
                self.client_key.export_public_key().decode()
            ),
            process_factory=self._run,
            encoding=None,
        )
        self.port = self._server.get_port()
        self.trust()

    def trust(self, key: asyncssh.SSHKey | None = None) -> None:
        public = (key or self.host_key).export_public_key().decode()
        self.known_hosts.write_text(f"[127.0.0.1]:{self.port} {public}")

    def cut(self) -> None:
        for connection in self.connections:
            connection.abort()
        self.connections.clear()

    async def stop(self) -> None:
        self.cut()
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()
            self._server = None

    async def shells_gone(self) -> None:
        await asyncio.wait_for(asyncio.gather(*self._shells, return_exceptions=True), 30)

    async def _run(self, process: asyncssh.SSHServerProcess[bytes]) -> None:
        me = asyncio.current_task()
        assert me is not None
        self._shells.add(me)
        me.add_done_callback(self._shells.discard)
        shell = await asyncio.create_subprocess_exec(
            "/bin/sh",
            "-c",
            process.command or "",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "HOME": str(self.home), **self.env},
        )
        assert shell.stdin
        assert shell.stdout
        assert shell.stderr
        inward = asyncio.ensure_future(_inward(process.stdin, shell.stdin))
        await asyncio.gather(
            _outward(shell.stdout, process.stdout), _outward(shell.stderr, process.stderr)
        )
        status = await shell.wait()
        inward.cancel()
        process.exit(status)

    def target(self, **changes: Any) -> SshTarget:
        fields: dict[str, Any] = {
            "node": "n1",
            "host": "127.0.0.1",
            "port": self.port,
            "user": "tester",
            "config": "",
            "known_hosts": str(self.known_hosts),
            "identity": (str(self.key_file),),
            "connect_timeout_s": 5.0,
            "login_timeout_s": 10.0,
        }
        return SshTarget(**{**fields, **changes})

    def agent_pids(self) -> list[int]:
        return [pid for pid in self.pids() if b"\0agent\0" in _cmdline(pid)]

    def pids(self) -> list[int]:
        """Every process with this HOME, whatever it is."""
        needle = f"HOME={self.home}".encode()
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError):
                    if needle in (entry / "environ").read_bytes().split(b"\0"):
                        found.append(int(entry.name))
        return found


async def _inward(source: asyncssh.SSHReader[bytes], sink: asyncio.StreamWriter) -> None:
    """What the client sends, until it, or its connection, ends."""
    with contextlib.suppress(asyncssh.Error, OSError):
        while data := await source.read(1 << 16):
            sink.write(data)
            await sink.drain()
    sink.close()


async def _outward(source: asyncio.StreamReader, sink: asyncssh.SSHWriter[bytes]) -> None:
    while data := await source.read(1 << 16):
        with contextlib.suppress(asyncssh.Error, OSError):
            sink.write(data)
            await sink.drain()


async def until_not(condition: Callable[[], Any], timeout_s: float = 30.0) -> None:
    async with asyncio.timeout(timeout_s):
        while condition():  # noqa: ASYNC110 - nobody tells of processes that end
            await asyncio.sleep(0.02)


def _cmdline(pid: int) -> bytes:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


@contextlib.asynccontextmanager
async def ssh_node(folder: Path) -> AsyncIterator[SshNode]:
    node = SshNode(folder)
    await node.start()
    try:
        yield node
    finally:
        await node.stop()
        for pid in node.pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        await node.shells_gone()


class Reader:
    """Collects a client's news, and waits for some."""

    def __init__(self) -> None:
        self.news: list[News] = []
        self._came = asyncio.Event()

    def __call__(self, news: News) -> None:
        self.news.append(news)
        self._came.set()

    def of(self, kind: type[Any]) -> list[Any]:
        return [news for news in self.news if isinstance(news, kind)]

    async def until(self, condition: Callable[[], Any], timeout_s: float = 30.0) -> Any:
        async with asyncio.timeout(timeout_s):
            while not (value := condition()):
                self._came.clear()
                await self._came.wait()
            return value


@contextlib.asynccontextmanager
async def opened(
    target: SshTarget, session: str = "s", reader: Reader | None = None, **options: Any
) -> AsyncIterator[tuple[NodeClient, Reader]]:
    reader = reader or Reader()
    client = NodeClient(target, session, reader, **options)
    await client.open()
    try:
        yield client, reader
    finally:
        await client.close()
