"""A node's client over real ssh to a real agent."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from ssh_node import Reader, SshNode, opened, ssh_node, until_not

from pdconsole.remote.client import NodeClient, RemoteError
from pdconsole.remote.values import (
    ClockSeen,
    LinkChanged,
    LogChunk,
    ProcessChanged,
    ProcessSpec,
    Records,
)

COUNT = "i=0; while [ $i -lt 300 ]; do echo line $i; i=$((i+1)); sleep 0.01; done"


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[SshNode]:
    async with ssh_node(tmp_path) as node:
        yield node


def spec(token: str, *argv: str, **fields: object) -> ProcessSpec:
    return ProcessSpec(token=token, session="s", argv=argv, **fields)  # type: ignore[arg-type]


def log_of(reader: Reader, token: str) -> bytes:
    data = b""
    for chunk in [c for c in reader.of(LogChunk) if c.token == token]:
        assert chunk.offset == len(data)
        data += chunk.data
    return data


async def test_open_ships_the_agent_once_and_measures_the_clock(node: SshNode) -> None:
    reader = Reader()
    client = NodeClient(node.target(), "s", reader, version_commands={"sh": ["echo", "v1.2"]})
    found = await client.open()
    assert found.simulated
    assert found.versions["sh"] == "1.2"
    assert found.work_dir == str(node.home / ".pdconsole")
    (archive,) = (node.home / ".pdconsole/bin").iterdir()
    assert [n.status for n in reader.of(LinkChanged)] == ["connecting", "up"]
    clock = reader.of(ClockSeen)[0]
    # Same machine, same clock: the true offset is 0.
    assert abs(clock.offset_s) <= clock.bound_s
    await client.close()
    first = archive.stat()
    async with opened(node.target(), "s"):
        (again,) = (node.home / ".pdconsole/bin").iterdir()
    assert again.stat().st_ino == first.st_ino
    assert len(node.agent_pids()) == 1


async def test_a_damaged_agent_is_replaced(node: SshNode) -> None:
    async with opened(node.target(), "one"):
        (archive,) = (node.home / ".pdconsole/bin").iterdir()
    archive.write_bytes(b"not what it was")
    async with opened(node.target(), "two") as (client, _):
        assert await client.processes() == []


async def test_follow_goes_on_over_broken_connections(node: SshNode) -> None:
    async with opened(node.target()) as (client, reader):
        await client.start(spec("s/1/P1", "sh", "-c", COUNT))
        await client.follow("s/1/P1")
        for round_ in range(1, 4):
            await reader.until(lambda n=round_: log_of(reader, "s/1/P1").count(b"\n") > 50 * n)
            node.cut()
        await reader.until(lambda: reader.of(ProcessChanged))
        lines = log_of(reader, "s/1/P1").split(b"\n")
        assert lines == [*(b"line %d" % i for i in range(300)), b""]
        statuses = [n.status for n in reader.of(LinkChanged)]
        assert statuses[:5] == ["connecting", "up", "lost", "connecting", "up"]
        assert reader.news.index(reader.of(ProcessChanged)[0]) > reader.news.index(
            reader.of(LogChunk)[-1]
        )


async def test_records_are_whole_lines_over_broken_connections(node: SshNode) -> None:
    script = (
        'i=0; while [ $i -lt 60 ]; do printf \'{"n":\'; sleep 0.02; echo "$i}"; i=$((i+1)); done'
    )
    async with opened(node.target()) as (client, reader):
        await client.start(spec("s/1/driver", "sh", "-c", script, records=True))
        await client.follow("s/1/driver")
        for wanted in (10, 25):
            await reader.until(lambda n=wanted: len(_records(reader)) > n)
            node.cut()
        await reader.until(lambda: reader.of(ProcessChanged))
        assert _records(reader) == [b'{"n":%d}' % i for i in range(60)]
        at = 0
        for news in reader.of(Records):
            assert news.offset == at
            at += sum(len(line) + 1 for line in news.lines)


def _records(reader: Reader) -> list[bytes]:
    return [line for news in reader.of(Records) for line in news.lines]


async def test_requests_wait_for_the_link_and_are_not_done_twice(node: SshNode) -> None:
    async with opened(node.target()) as (client, reader):
        await node.stop()
        work = asyncio.ensure_future(
            client.start(spec("s/1/P1", "sh", "-c", "echo x >> $HOME/ran; sleep 1000"))
        )
        await reader.until(lambda: any(n.status == "unreachable" for n in reader.of(LinkChanged)))
        await node.start()
        info = await work
        node.cut()
        assert (await client.processes())[0].pid == info.pid
        assert (node.home / "ran").read_text() == "x\n"


async def test_a_runner_that_comes_back_within_the_lease_goes_on(node: SshNode) -> None:
    reader = Reader()
    before = NodeClient(node.target(), "s", reader)
    await before.open()
    info = await before.start(spec("s/1/P1", "sh", "-c", COUNT))
    await before.follow("s/1/P1")
    await reader.until(lambda: log_of(reader, "s/1/P1").count(b"\n") > 20)
    await before.close()  # for the agent the same as a runner that is killed
    so_far = log_of(reader, "s/1/P1")
    later = Reader()
    after = NodeClient(node.target(), "s", later)
    found = await after.open()
    assert [(p.token, p.pid) for p in found.processes] == [("s/1/P1", info.pid)]
    await after.follow("s/1/P1", log_offset=len(so_far))
    await later.until(lambda: later.of(ProcessChanged))
    rest = b"".join(chunk.data for chunk in later.of(LogChunk))
    assert so_far + rest == b"".join(b"line %d\n" % i for i in range(300))
    await after.close()


async def test_a_dead_agent_is_replaced_and_adopts(node: SshNode) -> None:
    async with opened(node.target()) as (client, reader):
        info = await client.start(spec("s/1/P1", "sh", "-c", COUNT))
        await client.follow("s/1/P1")
        await reader.until(lambda: log_of(reader, "s/1/P1").count(b"\n") > 20)
        (agent,) = node.agent_pids()
        os.kill(agent, signal.SIGKILL)
        ended = (await reader.until(lambda: reader.of(ProcessChanged)))[0]
        assert (ended.info.pid, ended.info.state) == (info.pid, "exited")
        assert log_of(reader, "s/1/P1").count(b"\n") == 300
        assert node.agent_pids() != [agent]


async def test_an_expired_lease_is_told_to_who_comes_late(node: SshNode) -> None:
    async with opened(node.target(), lease_s=1.0) as (client, reader):
        await client.start(spec("s/1/P1", "sleep", "1000"))
        (agent,) = node.agent_pids()
        await node.stop()
        await until_not(lambda: agent in node.agent_pids())
        await node.start()
        ended = (await reader.until(lambda: reader.of(ProcessChanged)))[0].info
        assert ended.state == "killed"
        assert "lease of 1 s ran out" in ended.reason
        up = [n for n in reader.of(LinkChanged) if n.status == "up"][-1]
        assert "lease of 1 s ran out" in up.message


async def test_the_second_runner_of_a_session_takes_over(node: SshNode) -> None:
    async with opened(node.target()) as (first, reader), opened(node.target()) as (second, _):
        await reader.until(lambda: any(n.status == "closed" for n in reader.of(LinkChanged)))
        with pytest.raises(RemoteError, match="another pdconsole speaks for session s") as caught:
            await first.processes()
        assert caught.value.kind == "taken-over"
        assert await second.processes() == []


async def test_close_with_end_leaves_nothing(node: SshNode) -> None:
    reader = Reader()
    client = NodeClient(node.target(), "s", reader)
    await client.open()
    await client.start(
        spec("s/1/P1", "sh", "-c", "setsid sleep 1000 & echo last words; sleep 1000")
    )
    await client.follow("s/1/P1")
    await client.close(end_agent=True)
    assert reader.of(ProcessChanged)[0].info.state == "killed"
    assert log_of(reader, "s/1/P1") == b"last words\n"
    await until_not(node.pids)


async def test_occupied_gpus_name_their_holder(node: SshNode) -> None:
    async with opened(node.target(), "one") as (one, _), opened(node.target(), "two") as (two, _):
        await one.lock([0, 3])
        with pytest.raises(
            RemoteError, match="n1: slot 3 is held by session one of user"
        ) as caught:
            await two.lock([3, 4])
        assert caught.value.kind == "occupied"
        locks = (await two.inventory()).locks
        assert [(lock.slot, lock.session, lock.ours) for lock in locks] == [
            (0, "one", False),
            (3, "one", False),
        ]
        await one.unlock()
        await two.lock([3, 4])


async def test_leftovers_of_another_session(node: SshNode) -> None:
    async with opened(node.target(), "old") as (old, _):
        await old.start(spec("old/1/P1", "sleep", "1000"))
    async with opened(node.target(), "clean") as (client, _):
        found = await client.find_leftovers()
        assert [p.token for p in found] == ["old/1/P1", "old/agent"]
        await client.clean([p.token for p in found])
        assert await client.find_leftovers() == []


async def test_one_process_s_failure_at_start(node: SshNode) -> None:
    async with opened(node.target()) as (client, reader):
        with pytest.raises(RemoteError, match="n1: no such command on the node: vllm-nowhere"):
            await client.start(spec("s/1/P1", "vllm-nowhere"))
        await client.start(spec("s/1/P2", "sh", "-c", "echo no memory >&2; exit 1"))
        await client.follow("s/1/P2")
        info = (await reader.until(lambda: reader.of(ProcessChanged)))[0].info
        assert (info.exit_code, info.last_log) == (1, "no memory")
        assert await client.read("s/1/P2", "log") == b"no memory\n"
        with pytest.raises(RemoteError) as caught:
            await client.read("s/1/P2", "gaps.bin")
        assert caught.value.kind == "missing"


async def test_a_reader_that_fails_does_not_end_the_link(node: SshNode) -> None:
    complaints: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    calls = 0

    def reader(_: object) -> None:
        nonlocal calls
        calls += 1
        raise ValueError("reader's own fault")

    client = NodeClient(node.target(), "s", reader)
    await client.open()
    await client.processes()
    await client.close()
    assert len(complaints) == calls > 0


async def test_many_clients_at_once_stay_within_the_login_gate(node: SshNode) -> None:
    clients = [NodeClient(node.target(), f"s{i}", lambda _: None) for i in range(8)]
    await asyncio.gather(*(client.open() for client in clients))
    await asyncio.gather(*(client.close(end_agent=True) for client in clients))


async def test_banners_of_login_scripts_are_noise(node: SshNode) -> None:
    python = node.folder / "python"
    python.write_text(f'#!/bin/sh\necho welcome to n1; echo; exec {sys.executable} "$@"\n')
    python.chmod(0o755)
    async with opened(node.target(python=str(python))) as (client, _):
        assert await client.processes() == []


async def test_python_below_home(node: SshNode) -> None:
    (node.home / "my env").mkdir()
    (node.home / "my env/python").symlink_to(sys.executable)
    async with opened(node.target(python="~/my env/python")) as (client, _):
        assert await client.processes() == []


async def test_deep_homes_do_not_hit_the_socket_limit(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 60) / ("e" * 60)
    async with ssh_node(deep) as node, opened(node.target()) as (client, _):
        await client.start(spec("s/1/P1", "sleep", "1000"))
        (agent,) = node.agent_pids()
        os.kill(agent, signal.SIGKILL)
        assert (await client.processes())[0].state == "running"


async def test_http_is_not_repeated(node: SshNode) -> None:
    async with opened(node.target()) as (client, _):
        with pytest.raises(RemoteError) as caught:
            await client.http("GET", "http://127.0.0.1:1/health")
        assert caught.value.kind == "http"


async def test_stop_waits_for_the_end(node: SshNode) -> None:
    async with opened(node.target()) as (client, _):
        await client.start(spec("s/1/P1", "sh", "-c", "trap '' TERM; while :; do sleep 1; done"))
        began = time.monotonic()
        (info,) = await client.stop(["s/1/P1"], grace_s=0.2)
        assert (info.state, info.exit_code) == ("killed", -9)
        assert time.monotonic() > began


async def test_closing_with_end_does_not_wait_for_a_node_never_reached(node: SshNode) -> None:
    client = NodeClient(node.target(port=1), "s", Reader())
    with pytest.raises(RemoteError):
        await client.open()
    async with asyncio.timeout(5):
        await client.close(end_agent=True)


async def test_an_end_that_cannot_be_had_is_told(node: SshNode) -> None:
    client = NodeClient(node.target(), "s", Reader(), lease_s=1.0)
    await client.open()
    await node.stop()
    with pytest.raises(RemoteError, match=r"n1: .* its lease ends it within 1 s$") as caught:
        await client.close(end_agent=True)
    assert caught.value.kind == "unreachable"


async def test_cpu_time_of_a_process_and_its_children(node: SshNode) -> None:
    busy = "while [ $i -lt 200000 ]; do i=$((i+1)); done"
    async with opened(node.target()) as (client, _):
        script = f"sh -c 'i=0; {busy}; echo done; sleep 99'; :"
        await client.start(spec("s/1/router", "sh", "-c", script))
        while (info := (await client.processes())[0]).last_log != "done":  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        assert info.cpu_s
        (ended,) = await client.stop([info.token])
        assert ended.cpu_s is None


@pytest.mark.parametrize("moment", ["_greet", "inventory"])
async def test_an_open_that_is_cancelled_leaves_no_agent(
    node: SshNode, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    reached = asyncio.Event()

    async def never(*_: object, **__: object) -> None:
        reached.set()
        await asyncio.Event().wait()

    client = NodeClient(node.target(), "s", Reader())
    with monkeypatch.context() as patch:
        patch.setattr(client, moment, never)
        opening = asyncio.ensure_future(client.open())
        await reached.wait()
        assert node.agent_pids()
        opening.cancel()
        await asyncio.wait((opening,))
    await client.close(end_agent=True)
    await until_not(node.agent_pids)
