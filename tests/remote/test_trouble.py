"""Every way in which a node cannot be used: one sentence, the node's name, the next step."""

from __future__ import annotations

import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncssh
import pytest
from ssh_node import Reader, SshNode, opened, ssh_node

from pdconsole.remote.client import NodeClient, RemoteError
from pdconsole.remote.values import LinkChanged, SshTarget


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[SshNode]:
    async with ssh_node(tmp_path) as node:
        yield node


async def refusal(target: SshTarget) -> RemoteError:
    reader = Reader()
    client = NodeClient(target, "s", reader)
    with pytest.raises(RemoteError) as caught:
        await client.open()
    error = caught.value
    assert str(error).startswith("n1: ")
    assert "\n" not in str(error)
    assert [n.status for n in reader.of(LinkChanged)] == ["connecting", "unreachable"]
    await client.close()
    return error


async def test_nothing_listens(node: SshNode) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    error = await refusal(node.target(port=port))
    assert error.kind == "unreachable"
    assert f"nothing listens at 127.0.0.1:{port}" in str(error)


async def test_something_else_listens(node: SshNode) -> None:
    """Accepts, says nothing, as a firewall or a hung host does."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        target = node.target(port=silent.getsockname()[1], login_timeout_s=0.3)
        error = await refusal(target)
    assert error.kind == "unreachable"
    assert str(target.port) in str(error)


async def test_a_name_that_does_not_resolve(node: SshNode) -> None:
    error = await refusal(node.target(host="no-such-host.invalid"))
    assert error.kind == "unreachable"
    assert "the name no-such-host.invalid cannot be resolved" in str(error)


async def test_unknown_host_key(node: SshNode) -> None:
    node.known_hosts.write_text("")
    error = await refusal(node.target())
    assert error.kind == "host-key"
    assert "is unknown" in str(error)
    assert node.host_key.get_fingerprint() in str(error)
    assert f"ssh-keyscan -p {node.port} 127.0.0.1" in str(error)


@pytest.mark.parametrize("algorithm", ["ssh-ed25519", "ecdsa-sha2-nistp256"])
async def test_changed_host_key(node: SshNode, algorithm: str) -> None:
    node.trust(asyncssh.generate_private_key(algorithm))
    error = await refusal(node.target())
    assert error.kind == "host-key"
    assert "is not the one in" in str(error)
    assert "ssh-keygen" in str(error)


async def test_known_hosts_none_in_the_configuration_does_not_switch_the_check_off(
    node: SshNode,
) -> None:
    config = node.folder / "config"
    config.write_text("Host *\n  UserKnownHostsFile none\n  StrictHostKeyChecking no\n")
    error = await refusal(node.target(config=str(config), known_hosts=None))
    assert error.kind == "host-key"


async def test_login_refused(node: SshNode) -> None:
    stranger = node.folder / "stranger"
    asyncssh.generate_private_key("ssh-ed25519").write_private_key(stranger)
    error = await refusal(node.target(identity=(str(stranger),)))
    assert error.kind == "auth"
    assert "refuses the login of user tester" in str(error)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"identity": ("/nowhere/id",)}, "/nowhere/id"),
        ({"known_hosts": "/nowhere/known_hosts"}, "/nowhere/known_hosts"),
        ({"config": "/nowhere/config"}, "/nowhere/config"),
    ],
)
async def test_files_that_are_not_there(node: SshNode, changes: dict[str, Any], named: str) -> None:
    error = await refusal(node.target(**changes))
    assert error.kind == "config"
    assert named in str(error)


async def test_a_configuration_that_cannot_be_read(node: SshNode) -> None:
    config = node.folder / "config"
    config.write_text("Port twenty-two\n")
    error = await refusal(node.target(config=str(config)))
    assert error.kind == "config"
    assert "line 1" in str(error)


async def test_python_missing(node: SshNode) -> None:
    error = await refusal(node.target(python="python-of-nowhere"))
    assert error.kind == "python"
    assert "python-of-nowhere" in str(error)
    assert "engine.python" in str(error)


async def test_python_too_old(node: SshNode) -> None:
    """The bootstrap runs with another version number; an old interpreter may not be here."""
    python = node.folder / "old-python"
    python.write_text(
        "#!/usr/bin/env python3\n"
        "import sys\n"
        "sys.version_info = (3, 6, 8)\n"
        "code, sys.argv = sys.argv[3], sys.argv[3:]\n"
        "exec(code)\n"
    )
    python.chmod(0o755)
    error = await refusal(node.target(python=str(python)))
    assert error.kind == "python"
    assert "is Python 3.6.8, the agent needs 3.9 or newer" in str(error)


async def test_work_directory_that_cannot_be_made(node: SshNode) -> None:
    (node.home / "file").write_text("")
    error = await refusal(node.target(work_dir="~/file/work"))
    assert error.kind == "disk"
    assert f"{node.home}/file" in str(error)


async def test_work_directory_that_others_can_write(node: SshNode) -> None:
    (node.home / "open").mkdir()
    (node.home / "open").chmod(0o777)
    error = await refusal(node.target(work_dir="~/open"))
    assert error.kind == "disk"
    assert "only this user can write" in str(error)


async def test_a_file_system_that_takes_no_more(node: SshNode) -> None:
    """A limit on file size fails the same write as a full disk does."""
    python = node.folder / "python"
    python.write_text(f'#!/bin/sh\nulimit -f 8\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    error = await refusal(node.target(python=str(python)))
    assert error.kind == "disk"
    assert "cannot write" in str(error)
    assert list((node.home / ".pdconsole/bin").iterdir()) == []


async def test_a_link_that_cannot_come_back_ends_the_waiting(node: SshNode) -> None:
    async with opened(node.target(), lease_s=2.0) as (client, _):
        client_call = client.processes
        await node.stop()
        # The wait is as long as the lease, or an answer may take.
        client._target = node.target()
        with pytest.raises(RemoteError, match="nothing listens at"):
            await client._call("processes", {}, answer_s=0.5)
        await node.start()
        assert await client_call() == []
