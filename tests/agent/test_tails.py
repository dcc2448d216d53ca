"""Tails by byte offset: whatever the bytes are, whoever reads them, however often it breaks."""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from agent_node import Node, running_node, until


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    with running_node(tmp_path / "home") as node:
        yield node


def test_a_client_that_comes_later_continues_at_its_byte(node: Node) -> None:
    client = node.connect()
    client.hello()
    script = "i=0; while [ $i -lt 400 ]; do echo line $i; i=$((i+1)); sleep 0.005; done"
    client.start("s/1/P1", "sh", "-c", script)
    client.ok("follow", token="s/1/P1", offsets={"log": 0})
    whole = b""
    while whole.count(b"\n") < 300:
        until(lambda c=client: len(c.log("s/1/P1")) > 300, "a few more lines come")
        client.kill()
        whole += client.log("s/1/P1")
        client = node.connect()
        client.hello(client="another", follows=[["s/1/P1", "log", len(whole)]])
    info = client.end_of("s/1/P1")
    whole += client.log("s/1/P1")
    assert whole == b"".join(b"line %d\n" % i for i in range(400))
    assert info["log_size"] == len(whole)


def test_odd_output_comes_through_byte_for_byte(node: Node) -> None:
    client = node.connect()
    client.hello()
    script = (
        "import sys; w = sys.stdout.buffer.write\n"
        "w(b'\\xff\\xfe\\x00 no utf-8 \\xc3\\n')\n"
        "w(b''.join(b'\\r%3d %%' % i for i in range(101)))\n"
        "w(b'x' * (3 << 20))\n"
        "w(bytes(range(256)) * 4096)\n"
    )
    client.start("s/1/P1", "@python@", "-c", script)
    client.ok("follow", token="s/1/P1", offsets={"log": 0})
    info = client.end_of("s/1/P1")
    expected = (
        b"\xff\xfe\x00 no utf-8 \xc3\n"
        + b"".join(b"\r%3d %%" % i for i in range(101))
        + b"x" * (3 << 20)
        + bytes(range(256)) * 4096
    )
    got = client.log("s/1/P1")
    assert hashlib.sha256(got).digest() == hashlib.sha256(expected).digest()
    assert info["exit_code"] == 0
    client.ok("ping")


def test_progress_bars_are_lines_of_the_last_log(node: Node) -> None:
    client = node.connect()
    client.hello()
    client.start("s/1/P1", "printf", "loading\\r 10 %%\\r 99 %%\\377\\r")
    client.ok("follow", token="s/1/P1", offsets={"log": 0})
    assert client.end_of("s/1/P1")["last_log"] == "loading\n10 %\n99 %\ufffd"


def test_records_and_log_are_apart(node: Node) -> None:
    client = node.connect()
    client.hello()
    client.start("s/1/driver", "sh", "-c", "echo '{}'; echo warn >&2; echo '[]'", records=True)
    client.ok("follow", token="s/1/driver", offsets={"log": 0, "records": 3})
    client.end_of("s/1/driver")
    assert client.log("s/1/driver") == b"warn\n"
    assert client.log("s/1/driver", "records") == b"[]\n"


def test_files_of_a_process_can_be_read(node: Node) -> None:
    client = node.connect()
    client.hello()
    client.start("s/1/driver", "sh", "-c", "printf 0123456789 > gaps.bin; sleep 1000")

    def read(name: str, offset: int, limit: int) -> bytes:
        fields = {"token": "s/1/driver", "name": name, "offset": offset, "limit": limit}
        return base64.b64decode(client.ok("read", **fields)["data"])

    until(
        lambda: "ok" in client.ask("read", token="s/1/driver", name="gaps.bin", offset=0, limit=1),
        "it is written",
    )
    assert read("gaps.bin", 0, 4) == b"0123"
    assert read("gaps.bin", 8, 100) == b"89"
    assert read("gaps.bin", 10, 100) == b""
    for name in ("none.bin", "../1/gaps.bin", ".."):
        refusal = client.error("read", token="s/1/driver", name=name, offset=0, limit=1)
        assert refusal["kind"] == "missing"


def test_another_client_takes_over_and_the_first_is_told(node: Node) -> None:
    first, second = node.connect(), node.connect()
    first.hello(client="first")
    assert second.error("processes")["kind"] == "taken-over"
    second.hello(client="second")
    until(lambda: {"news": "taken-over"} in first.news, "the first is told")
    second.ok("processes")


def test_a_flood_does_not_pile_up_in_the_agent(node: Node) -> None:
    """Nobody reads for a while: the agent stops reading the file instead of keeping it all."""
    client = node.connect()
    client.hello()
    client.start("s/1/P1", "sh", "-c", "head -c 200000000 /dev/zero; sleep 1000")
    until(lambda: client.ok("processes")["processes"][0]["log_size"] == 200000000, "it is written")
    client.kill()
    idle = node.launch("s")
    assert idle.stdin
    idle.stdin.write(
        b'{"id":1,"op":"hello","protocol":1,"client":"idle","lease_s":60,"lease_policy":"kill",'
        b'"watch":{},"running":[],"follows":[["s/1/P1","log",0]]}\n'
    )
    idle.stdin.flush()
    pid = node.agent_pid()

    def memory() -> int:
        status = Path(f"/proc/{pid}/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) // 1024

    until(lambda: _cpu_stands_still(pid), "the agent has nothing more to do")
    assert memory() < 80
    idle.kill()
    idle.wait()


def test_the_end_comes_after_the_output_also_for_who_follows_late(node: Node) -> None:
    client = node.connect()
    client.hello()
    client.start("s/1/P1", "echo", "why I die")
    until(lambda: client.ok("processes")["processes"][0]["state"] == "exited", "it exits")
    client.ok("follow", token="s/1/P1", offsets={"log": 0})
    client.end_of("s/1/P1")
    assert [n["news"] for n in client.news] == ["bytes", "process"]


def test_an_end_is_told_without_following_too(node: Node) -> None:
    client = node.connect()
    client.hello()
    client.start("s/1/P1", "true")
    assert client.end_of("s/1/P1")["exit_code"] == 0


def _cpu_stands_still(pid: int) -> bool:
    def ticks() -> int:
        return sum(map(int, Path(f"/proc/{pid}/stat").read_text().rsplit(")")[1].split()[11:13]))

    before = ticks()
    time.sleep(0.5)
    return ticks() - before <= 2
