"""The embedded cluster as a process: started once, reached by real ssh, gone when idle."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import random
import shutil
import signal
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncssh
import pytest

from pdconsole.profiles.schema import ClusterProfile, NodeProfile
from pdconsole.sim.embedded import EmbeddedError, ensure_embedded, stop_embedded
from pdconsole.sim.embedded_state import LOCK_FILE, STATE_FILE

pytestmark = pytest.mark.slow


@pytest.fixture
async def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ClusterProfile]:
    monkeypatch.setenv("PDCONSOLE_RUNTIME_DIR", str(tmp_path))
    profile = ClusterProfile(
        name="test",
        simulated=True,
        fabric="loopback",
        nodes=[
            NodeProfile(name=name, gpu_model="NVIDIA H100 80GB HBM3", gpu_memory_mib=81559, gpus=2)
            for name in ("n1", "n2")
        ],
    )
    yield profile
    await stop_embedded(profile)


async def login(cluster: ClusterProfile, number: int = 0) -> asyncssh.SSHClientConnection:
    node = cluster.nodes[number]
    return await asyncssh.connect(
        node.host,
        node.port or 22,
        username=node.user,
        config=[cluster.ssh.config],
        client_keys=cluster.ssh.identity,
        known_hosts=cluster.ssh.known_hosts,
    )


def directory(cluster: ClusterProfile) -> Path:
    return Path(cluster.ssh.identity[0]).parent


def alive(*pids: int) -> bool:
    return all(Path(f"/proc/{pid}").exists() for pid in pids)


async def until(condition: object, timeout_s: float = 20.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


async def test_nodes_have_homes_commands_and_gpus_of_their_own(cluster: ClusterProfile) -> None:
    found = await asyncio.gather(*(ensure_embedded(cluster) for _ in range(5)))
    assert len({one.model_dump_json() for one in found}) == 1
    ready = found[0]
    assert all(node.address.startswith("127.") for node in ready.nodes)
    homes = []
    for number in (0, 1):
        async with await login(ready, number) as node:
            seen = await node.run("pwd; vllm --version; vllm-router --version; python3 -V")
            home, vllm, router, python = str(seen.stdout).splitlines()
            homes.append(home)
            assert (vllm, router.split()[0]) == ("0.33.0+simulated", "vllm-router")
            assert python.startswith("Python 3.")
            listed = await node.run("nvidia-smi --query-gpu=index,uuid --format=csv,noheader")
            homes.append(str(listed.stdout))
            assert str(listed.stdout).count("GPU-") == 2
    assert len(set(homes)) == 4, "homes and GPUs differ between nodes"


async def test_only_the_clusters_own_key_lets_in(cluster: ClusterProfile) -> None:
    node = (await ensure_embedded(cluster)).nodes[0]
    stranger = asyncssh.generate_private_key("ssh-ed25519")
    with pytest.raises(asyncssh.PermissionDenied):
        await asyncssh.connect(
            node.host,
            node.port or 22,
            username=node.user,
            config=None,
            client_keys=[stranger],
            agent_path=None,
            known_hosts=None,
        )


async def test_bytes_arrive_whole_in_both_directions(cluster: ClusterProfile) -> None:
    ready = await ensure_embedded(cluster)
    data = random.Random(1).randbytes(20 << 20)
    async with await login(ready) as node:
        process = await node.create_process("tee /dev/stderr | cat", encoding=None)
        process.stdin.write(data)
        process.stdin.write_eof()
        out, err = await asyncio.gather(process.stdout.read(), process.stderr.read())
        assert hashlib.sha256(out).digest() == hashlib.sha256(data).digest()
        assert hashlib.sha256(err).digest() == hashlib.sha256(data).digest()
        # A reader that never reads holds the writer up, and nobody else.
        stuck = await node.create_process("cat /dev/zero; echo never", encoding=None)
        assert str((await node.run("echo fine; exit 3")).stdout) == "fine\n"
        stuck.kill()


async def test_exit_codes_and_signals_come_back(cluster: ClusterProfile) -> None:
    async with await login(await ensure_embedded(cluster)) as node:
        assert (await node.run("exit 7")).exit_status == 7
        killed = (await node.run("kill -9 $$")).exit_signal
        assert killed is not None
        assert killed[0] == "KILL"
        sleeper = await node.create_process("sleep 600")
        sleeper.terminate()
        assert (await sleeper.wait()).exit_signal is not None


async def test_a_lost_connection_kills_nothing(cluster: ClusterProfile) -> None:
    node = await login(await ensure_embedded(cluster))
    attached = await node.create_process("echo $$; exec sleep 600")
    pids = [int(await attached.stdout.readline())]
    detached = await node.run("setsid sleep 600 </dev/null >/dev/null 2>&1 & echo $!")
    pids.append(int(str(detached.stdout)))
    node.abort()
    await node.wait_closed()
    try:
        await asyncio.sleep(0.5)
        assert alive(*pids)
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGKILL)


async def test_a_server_that_was_killed_is_replaced_at_the_same_address(
    cluster: ClusterProfile,
) -> None:
    first = await ensure_embedded(cluster)
    async with await login(first) as node:
        pid = int(str((await node.run("echo $PPID")).stdout))
        sleeper = await node.run("setsid sleep 600 </dev/null >/dev/null 2>&1 & echo $!")
    left = int(str(sleeper.stdout))
    os.kill(pid, signal.SIGKILL)
    try:
        second = await ensure_embedded(cluster)
        assert second == first
        async with await login(second) as node:
            assert int(str((await node.run("echo $PPID")).stdout)) != pid
            assert str((await node.run(f"kill -0 {left} && echo stands")).stdout) == "stands\n"
    finally:
        os.kill(left, signal.SIGKILL)


async def test_a_state_file_of_another_boot_is_not_believed(cluster: ClusterProfile) -> None:
    first = await ensure_embedded(cluster)
    state = (directory(first) / STATE_FILE).read_bytes()
    assert await stop_embedded(cluster)
    (directory(first) / STATE_FILE).write_bytes(state.replace(b'"pid":', b'"pid":1'))
    second = await ensure_embedded(cluster)
    async with await login(second) as node:
        assert (await node.run("true")).exit_status == 0


async def test_it_ends_when_nobody_and_nothing_is_left(cluster: ClusterProfile) -> None:
    ready = await ensure_embedded(cluster, idle_s=0.2)
    state = directory(ready) / STATE_FILE
    async with await login(ready) as node:
        left = await node.run("setsid sleep 600 </dev/null >/dev/null 2>&1 & echo $!")
        await asyncio.sleep(1.0)
        assert state.exists(), "somebody is connected"
    await asyncio.sleep(1.0)
    assert state.exists(), "something runs on a node"
    os.kill(int(str(left.stdout)), signal.SIGKILL)
    await until(lambda: not state.exists())
    assert not await stop_embedded(cluster)


async def server_of(ready: ClusterProfile) -> tuple[int, int]:
    """The server's pid, and that of a process that runs on a node."""
    async with await login(ready) as node:
        server = int(str((await node.run("echo $PPID")).stdout))
        left = await node.run("setsid sleep 600 </dev/null >/dev/null 2>&1 & echo $!")
    return server, int(str(left.stdout))


async def test_it_ends_with_its_nodes_when_their_directory_is_gone(cluster: ClusterProfile) -> None:
    ready = await ensure_embedded(cluster, idle_s=1.0)
    server, left = await server_of(ready)
    async with await login(ready):  # nor does it wait for those who are connected
        shutil.rmtree(directory(ready))
        await until(lambda: not alive(left) and not serves(server))


async def test_a_server_that_nobody_finds_any_more_leaves_the_nodes_to_the_next(
    cluster: ClusterProfile,
) -> None:
    ready = await ensure_embedded(cluster, idle_s=1.0)
    server, left = await server_of(ready)
    try:
        async with await login(ready):
            (directory(ready) / LOCK_FILE).unlink()
            second = await ensure_embedded(cluster)
            await asyncio.sleep(1.5)
            assert serves(server), "somebody is connected"
        await until(lambda: not serves(server))
        assert alive(left)
        async with await login(second) as node:
            assert (await node.run("true")).exit_status == 0
        assert (directory(second) / STATE_FILE).exists()
    finally:
        os.kill(left, signal.SIGKILL)


def serves(pid: int) -> bool:
    """Not one that has ended and was not waited for."""
    try:
        return b"embedded_server" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except FileNotFoundError:
        return False


async def test_what_is_not_simulated_is_not_started(cluster: ClusterProfile) -> None:
    real = cluster.model_copy(update={"simulated": False})
    with pytest.raises(EmbeddedError, match="Cluster test is not simulated"):
        await ensure_embedded(real)


@pytest.fixture
def unsafe_cluster(cluster: ClusterProfile, tmp_path: Path) -> Iterator[ClusterProfile]:
    """Its runtime directory can be entered by anyone."""
    tmp_path.chmod(0o755)
    yield cluster
    tmp_path.chmod(0o700)


async def test_a_directory_that_others_can_enter_is_not_trusted(
    unsafe_cluster: ClusterProfile,
) -> None:
    with pytest.raises(EmbeddedError, match="0700"):
        await ensure_embedded(unsafe_cluster)


async def test_a_place_that_is_full_is_named(
    cluster: ClusterProfile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, _text: str) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr("pdconsole.sim.embedded.write_whole", full)
    with pytest.raises(EmbeddedError, match=rf"in {tmp_path}/.*: No space left on device; make"):
        await ensure_embedded(cluster)
