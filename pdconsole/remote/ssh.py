"""Opening an ssh connection to a node, through its jump hosts, every host key checked."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import cast
from weakref import WeakKeyDictionary

import asyncssh

from pdconsole.remote.errors import RemoteError
from pdconsole.remote.ssh_trouble import Hop, explain
from pdconsole.remote.values import SshTarget

LOGINS_AT_ONCE = 5  # on one sshd
CONNECTIONS_AT_ONCE = 64  # being opened, on all of them
LOGIN_TRIES = 4
MAX_HOPS = 8


class _Gates:
    """sshd drops logins when ten are under way (MaxStartups 10:30:100), so each has a gate of its
    own: hosts that do not answer hold up nobody else."""

    def __init__(self) -> None:
        self._all = asyncio.Semaphore(CONNECTIONS_AT_ONCE)
        self._by_host: dict[tuple[str, int], asyncio.Semaphore] = {}

    @asynccontextmanager
    async def through(self, address: str, port: int) -> AsyncIterator[None]:
        gate = self._by_host.setdefault((address, port), asyncio.Semaphore(LOGINS_AT_ONCE))
        async with gate, self._all:
            yield


_gates: WeakKeyDictionary[asyncio.AbstractEventLoop, _Gates] = WeakKeyDictionary()


class Wire:
    """An open connection and the jump hosts under it."""

    def __init__(self, connections: list[asyncssh.SSHClientConnection]) -> None:
        self._connections = connections

    @property
    def connection(self) -> asyncssh.SSHClientConnection:
        return self._connections[-1]

    async def close(self) -> None:
        for connection in reversed(self._connections):
            connection.abort()
            await connection.wait_closed()


async def open_wire(target: SshTarget) -> Wire:
    """Raises RemoteError that says what is wrong, with which host, and what to do."""
    async with AsyncExitStack() as opened:
        connections: list[asyncssh.SSHClientConnection] = []
        for hop in _route(target):
            tunnel = connections[-1] if connections else None
            connection = await _login(target, hop, tunnel)
            opened.callback(connection.abort)
            connections.append(connection)
        opened.pop_all()
    return Wire(connections)


def _route(target: SshTarget) -> list[Hop]:
    """The jump hosts in order, then the node itself, as the ssh configuration resolves them."""
    host = target.host or target.node
    hop = _resolve(target, host, target.port, target.user, is_node=True)
    jump = target.jump if target.jump is not None else hop.jump
    hops = [hop]
    while jump and jump.lower() != "none":
        *before, nearest = jump.split(",")
        user, _, place = nearest.strip().rpartition("@")
        name, port = _split_port(place)
        hop = _resolve(target, name, port, user or None, is_node=False)
        hops.insert(0, hop)
        jump = ",".join(before) or hop.jump
        if len(hops) > MAX_HOPS:
            names = " > ".join(h.name for h in hops[:3])
            raise RemoteError(
                target.node,
                "config",
                f"its jump hosts go in a circle ({names} ...); correct ProxyJump in "
                f"{target.config}",
            )
    return hops


def _split_port(place: str) -> tuple[str, int | None]:
    name, colon, port = place.rpartition(":")
    if colon and port.isdigit():
        return name.strip("[]"), int(port)
    return place.strip("[]"), None


def _resolve(
    target: SshTarget, name: str, port: int | None, user: str | None, *, is_node: bool
) -> Hop:
    try:
        options = asyncssh.SSHClientConnectionOptions(
            config=_config_files(target),
            host=name,
            port=port if port is not None else (),
            username=user if user is not None else (),
            client_keys=None,
        )
        files = _known_hosts_files(target, options.known_hosts)
        trusted = asyncssh.read_known_hosts(files)
    except (asyncssh.Error, OSError, ValueError) as error:
        raise RemoteError(
            target.node, "config", f"cannot read the ssh settings for {name}: {error}"
        ) from error
    jump = options.tunnel if isinstance(options.tunnel, str) else None
    return Hop(
        name=name,
        address=options.host,
        port=options.port,
        user=options.username,
        jump=None if options.proxy_command else jump,
        key_name=options.host_key_alias or options.host,
        known_hosts=trusted,
        known_hosts_file=files[0] if files else "~/.ssh/known_hosts",
        is_node=is_node,
    )


def _config_files(target: SshTarget) -> list[str]:
    path = Path(target.config).expanduser() if target.config else None
    if path is None or (target.config == "~/.ssh/config" and not path.exists()):
        return []
    return [str(path)]


def _identity(target: SshTarget) -> list[str]:
    return [str(Path(path).expanduser()) for path in target.identity]


def _known_hosts_files(target: SshTarget, configured: object) -> list[str]:
    """What to read trusted keys from. Never None for asyncssh, which would switch its check off;
    without any file every key is unknown."""
    if target.known_hosts is not None:
        return [str(Path(target.known_hosts).expanduser())]
    names = list(cast(Iterable[str], configured)) if isinstance(configured, list) else []
    if configured is not None and not names:
        names = ["~/.ssh/known_hosts", "~/.ssh/known_hosts2", "/etc/ssh/ssh_known_hosts"]
    files = [Path(name).expanduser() for name in names]
    return [str(file) for file in files if file.is_file()]


class _Witness(asyncssh.SSHClient):
    """Notes how far a login got, for the sentence if it fails."""

    def __init__(self, hop: Hop) -> None:
        self._hop = hop
        self.connected = asyncio.Event()

    def connection_made(self, conn: asyncssh.SSHClientConnection) -> None:
        self.connected.set()

    def validate_host_public_key(
        self, host: str, addr: str, port: int, key: asyncssh.SSHKey
    ) -> bool:
        """Called for a key that is not trusted."""
        self._hop.presented.append(key)
        return False


async def _login(
    target: SshTarget, hop: Hop, tunnel: asyncssh.SSHClientConnection | None
) -> asyncssh.SSHClientConnection:
    loop = asyncio.get_running_loop()
    gates = _gates.get(loop) or _gates.setdefault(loop, _Gates())
    for attempt in range(1, LOGIN_TRIES + 1):
        try:
            async with gates.through(hop.address, hop.port):
                return await _try_login(target, hop, tunnel)
        except (asyncssh.Error, OSError, ValueError, TimeoutError) as error:
            dropped = isinstance(error, asyncssh.ConnectionLost | ConnectionResetError)
            if not dropped or attempt == LOGIN_TRIES:
                raise explain(target, hop, error) from error
        # An overloaded sshd drops a login before it begins.
        await asyncio.sleep(attempt * random.uniform(0.2, 0.8))
    raise AssertionError("unreachable")


async def _try_login(
    target: SshTarget, hop: Hop, tunnel: asyncssh.SSHClientConnection | None
) -> asyncssh.SSHClientConnection:
    witness = _Witness(hop)
    work = asyncio.ensure_future(
        asyncssh.connect(
            hop.name,
            hop.port,
            tunnel=tunnel,
            config=_config_files(target),
            username=hop.user,
            client_keys=_identity(target) or (),
            known_hosts=hop.known_hosts,
            client_factory=lambda: witness,
            agent_forwarding=False,
            x11_forwarding=False,
            login_timeout=target.login_timeout_s,
            connect_timeout=None,
            keepalive_interval=target.keepalive_s,
            keepalive_count_max=3,
        )
    )
    connected = asyncio.ensure_future(witness.connected.wait())
    try:
        await asyncio.wait(
            {work, connected},
            timeout=target.connect_timeout_s,
            return_when=asyncio.FIRST_COMPLETED,
        )
        if not witness.connected.is_set() and not work.done():
            raise TimeoutError(f"no answer within {target.connect_timeout_s:g} s")
        # asyncssh ends a login that lasts; the margin is for the key exchange before it.
        async with asyncio.timeout(target.login_timeout_s + target.connect_timeout_s):
            return await work
    finally:
        connected.cancel()
        work.cancel()
