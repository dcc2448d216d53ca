"""The user's ssh configuration: aliases, jump hosts, each with its host key checked."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from ssh_node import SshNode, opened, ssh_node

from pdconsole.remote.client import NodeClient, RemoteError


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[SshNode]:
    async with ssh_node(tmp_path / "node") as node:
        yield node


@pytest.fixture
async def bastion(tmp_path: Path) -> AsyncIterator[SshNode]:
    async with ssh_node(tmp_path / "bastion") as node:
        yield node


def write_config(folder: Path, text: str) -> str:
    path = folder / "config"
    path.write_text(text)
    return str(path)


async def test_an_alias_says_all(node: SshNode, tmp_path: Path) -> None:
    config = write_config(
        tmp_path,
        f"Host gpu-a\n  HostName 127.0.0.1\n  Port {node.port}\n  User tester\n"
        f"  IdentityFile {node.key_file}\n  UserKnownHostsFile {node.known_hosts}\n",
    )
    target = node.target(
        host="gpu-a", port=None, user=None, identity=(), known_hosts=None, config=config
    )
    async with opened(target) as (client, _):
        assert await client.processes() == []


async def test_through_a_jump_host_of_the_configuration(
    node: SshNode, bastion: SshNode, tmp_path: Path
) -> None:
    config = write_config(
        tmp_path,
        f"Host n1\n  HostName 127.0.0.1\n  Port {node.port}\n  ProxyJump jumper@b\n"
        f"  IdentityFile {node.key_file}\n  UserKnownHostsFile {node.known_hosts}\n"
        f"Host b\n  HostName 127.0.0.1\n  Port {bastion.port}\n"
        f"  IdentityFile {bastion.key_file}\n  UserKnownHostsFile {bastion.known_hosts}\n",
    )
    target = node.target(host="", port=None, identity=(), known_hosts=None, config=config)
    async with opened(target) as (client, _):
        assert await client.processes() == []
    assert (bastion.logins, node.logins) == (1, 1)


async def test_through_a_jump_host_of_the_profile(node: SshNode, bastion: SshNode) -> None:
    both = node.folder / "both"
    both.write_text(node.known_hosts.read_text() + bastion.known_hosts.read_text())
    target = node.target(
        jump=f"jumper@127.0.0.1:{bastion.port}",
        known_hosts=str(both),
        identity=(str(node.key_file), str(bastion.key_file)),
    )
    async with opened(target) as (client, _):
        assert await client.processes() == []
    assert bastion.logins == 1


async def test_the_key_of_a_jump_host_is_checked_too(node: SshNode, bastion: SshNode) -> None:
    target = node.target(
        jump=f"127.0.0.1:{bastion.port}",
        identity=(str(node.key_file), str(bastion.key_file)),
    )
    client = NodeClient(target, "s", lambda _: None)
    with pytest.raises(RemoteError, match=f"jump host 127.0.0.1 .*:{bastion.port}") as caught:
        await client.open()
    assert caught.value.kind == "host-key"
    assert node.logins == 0
    await client.close()


async def test_a_node_that_its_jump_host_cannot_reach(node: SshNode, bastion: SshNode) -> None:
    both = node.folder / "both"
    both.write_text(node.known_hosts.read_text() + bastion.known_hosts.read_text())
    await node.stop()
    target = node.target(
        jump=f"127.0.0.1:{bastion.port}",
        known_hosts=str(both),
        identity=(str(node.key_file), str(bastion.key_file)),
    )
    client = NodeClient(target, "s", lambda _: None)
    with pytest.raises(RemoteError, match="through its jump host") as caught:
        await client.open()
    assert caught.value.kind == "unreachable"
    await client.close()


async def test_jump_hosts_in_a_circle(tmp_path: Path) -> None:
    config = write_config(tmp_path, "Host *\n  ProxyJump b\n")
    async with ssh_node(tmp_path / "n") as node:
        client = NodeClient(node.target(config=config), "s", lambda _: None)
        with pytest.raises(RemoteError, match="in a circle"):
            await client.open()
        await client.close()
