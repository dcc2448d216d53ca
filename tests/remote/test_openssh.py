"""The same against OpenSSH: its sshd, its agent, its limits."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from openssh_server import SSHD, Sshd
from ssh_node import Reader, opened, until_not

from pdconsole.remote.client import NodeClient, RemoteError
from pdconsole.remote.values import LinkChanged, LogChunk, ProcessChanged, ProcessSpec

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(not Path(SSHD).exists(), reason="needs the package openssh-server"),
    pytest.mark.skipif(not shutil.which("ssh-agent"), reason="needs the package openssh-client"),
]


@pytest.fixture
def sshd(tmp_path: Path) -> Iterator[Sshd]:
    server = Sshd(tmp_path)
    try:
        yield server
    finally:
        server.clean_up()


async def test_a_process_over_a_restart_of_sshd(sshd: Sshd) -> None:
    script = "i=0; while [ $i -lt 200 ]; do echo line $i; i=$((i+1)); sleep 0.01; done"
    async with opened(sshd.target()) as (client, reader):
        await client.start(ProcessSpec(token="s/1/P1", session="s", argv=("sh", "-c", script)))
        await client.follow("s/1/P1")
        await reader.until(lambda: len(reader.of(LogChunk)) > 3)
        await asyncio.to_thread(sshd.stop)
        await reader.until(lambda: any(n.status == "unreachable" for n in reader.of(LinkChanged)))
        await asyncio.to_thread(sshd.start)
        await reader.until(lambda: reader.of(ProcessChanged))
        log = b"".join(chunk.data for chunk in reader.of(LogChunk))
        assert log == b"".join(b"line %d\n" % i for i in range(200))


async def test_nothing_is_left_after_the_end(sshd: Sshd) -> None:
    client = NodeClient(sshd.target(), "s", Reader())
    await client.open()
    await client.start(
        ProcessSpec(token="s/1/P1", session="s", argv=("sh", "-c", "setsid sleep 99 & sleep 99"))
    )
    await client.close(end_agent=True)
    await until_not(sshd.pids)


async def test_host_keys(sshd: Sshd) -> None:
    line = sshd.known_hosts.read_text()
    sshd.known_hosts.write_text("")
    with pytest.raises(RemoteError, match="is unknown") as caught:
        await NodeClient(sshd.target(), "s", Reader()).open()
    assert caught.value.kind == "host-key"
    # The advice, carried out, is the cure.
    scanned = await asyncio.to_thread(
        subprocess.run,
        ["ssh-keyscan", "-p", str(sshd.port), "127.0.0.1"],
        check=True,
        capture_output=True,
    )
    sshd.known_hosts.write_bytes(scanned.stdout)
    async with opened(sshd.target()):
        pass
    other = (sshd.folder / "id.pub").read_text().split()[:2]
    sshd.known_hosts.write_text(" ".join([line.split()[0], *other]))
    with pytest.raises(RemoteError, match="is not the one in") as caught:
        await NodeClient(sshd.target(), "s", Reader()).open()
    assert caught.value.kind == "host-key"


async def test_a_key_that_only_the_ssh_agent_has(
    sshd: Sshd, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = sshd.folder / "agent.sock"
    agent = await asyncio.create_subprocess_exec(
        "ssh-agent", "-D", "-a", str(address), stdout=asyncio.subprocess.DEVNULL
    )
    try:
        await until_not(lambda: not address.exists())
        monkeypatch.setenv("SSH_AUTH_SOCK", str(address))
        monkeypatch.setenv("HOME", str(sshd.home))
        with pytest.raises(RemoteError, match="refuses the login") as caught:
            await NodeClient(sshd.target(identity=()), "s", Reader()).open()
        assert caught.value.kind == "auth"
        add = await asyncio.create_subprocess_exec(
            "ssh-add", "-q", str(sshd.folder / "id"), stderr=asyncio.subprocess.DEVNULL
        )
        assert await add.wait() == 0
        async with opened(sshd.target(identity=())) as (client, _):
            assert await client.processes() == []
    finally:
        agent.terminate()
        await agent.wait()


@pytest.mark.slow
async def test_many_sessions_within_the_default_limits(tmp_path: Path) -> None:
    """MaxStartups drops logins at random from the third on; all get in all the same."""
    server = Sshd(tmp_path, "MaxStartups 2:50:6\nMaxSessions 1\n")
    try:
        clients = [NodeClient(server.target(), f"s{i}", lambda _: None) for i in range(8)]
        await asyncio.gather(*(client.open() for client in clients))
        await asyncio.gather(*(client.close(end_agent=True) for client in clients))
    finally:
        server.clean_up()
