"""GPU locks: across sessions, and only as long as somebody lives who needs them."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from agent_node import Node, running_node, start_request, until

from pdconsole.agent.locks import SlotLocks
from pdconsole.agent.protocol import AgentError


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    with running_node(tmp_path / "home") as node:
        yield node


def test_all_or_nothing_and_the_holder_is_named(node: Node) -> None:
    one, two = node.connect("one"), node.connect("two")
    one.hello()
    two.hello()
    one.ok("lock", slots=[2, 3])
    one.ok("lock", slots=[3, 2])
    error = two.error("lock", slots=[1, 2])
    assert error["kind"] == "occupied"
    assert "slot 2 is held by session one" in error["message"]
    assert str(node.agent_pid("one")) in error["message"]
    held = {row["slot"]: row for row in _locks(two)}
    assert sorted(held) == [2, 3]
    assert (held[2]["session"], held[2]["ours"]) == ("one", False)
    one.ok("unlock", slots=[2])
    two.ok("lock", slots=[1, 2])


def test_starting_takes_the_locks_and_failing_gives_them_back(node: Node) -> None:
    one, two = node.connect("one"), node.connect("two")
    one.hello()
    two.hello()
    one.start("one/1/P1", "sleep", "1000", slots=[0])
    request = start_request("two/1/P1", "sleep", "1000", slots=[0, 1])
    assert two.error("start", **request)["kind"] == "occupied"
    assert two.error("start", **start_request("two/1/P1", "nowhere", slots=[1]))["kind"] == "start"
    assert [row["slot"] for row in _locks(two)] == [0]
    assert one.error("unlock", slots=None)["kind"] == "occupied"
    one.ok("stop", tokens=["one/1/P1"], grace_s=1)
    one.ok("unlock", slots=None)
    two.ok("lock", slots=[0, 1])


def test_a_dead_agent_frees_its_locks_but_not_those_of_living_processes(node: Node) -> None:
    one, two = node.connect("one"), node.connect("two")
    one.hello()
    two.hello()
    one.start("one/1/P1", "sleep", "1000", slots=[0])
    one.ok("lock", slots=[1])
    node.kill_agent("one")
    two.ok("lock", slots=[1])
    assert two.error("lock", slots=[0])["kind"] == "occupied"
    # The next agent of the session takes the lock over with the process ...
    again = node.connect("one")
    again.hello()
    assert [row["slot"] for row in _locks(again) if row["ours"]] == [0]
    again.ok("lock", slots=[0])
    # ... and lets it go with the process.
    again.ok("stop", tokens=["one/1/P1"], grace_s=1)
    assert two.error("lock", slots=[0])["kind"] == "occupied"
    again.ok("unlock", slots=None)
    two.ok("lock", slots=[0])


def test_an_orphan_that_is_ended_frees_its_gpu(node: Node) -> None:
    one, two = node.connect("one", adopt_grace_s=0.2), node.connect("two")
    one.hello()
    two.hello()
    one.start("one/1/P1", "sleep", "1000", slots=[0])
    node.kill_agent("one")
    until(lambda: "ok" in two.ask("lock", slots=[0]), "the GPU is free")


def test_the_shared_directory_is_for_all_users(tmp_path: Path) -> None:
    directory = tmp_path / "locks"
    locks = SlotLocks(str(directory), "s", shared=True)
    locks.take([0])
    assert stat.S_IMODE(directory.stat().st_mode) == 0o1777
    assert stat.S_IMODE((directory / "gpu-0").stat().st_mode) == 0o666
    locks.give_back()


def test_links_in_the_shared_directory_are_refused(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("keep me")
    directory = tmp_path / "locks"
    directory.mkdir()
    (directory / "gpu-0").symlink_to(precious)
    os.link(precious, directory / "gpu-1")
    for slot in (0, 1):
        with pytest.raises(AgentError, match="locks/gpu-"):
            SlotLocks(str(directory), "s", shared=True).take([slot])
    assert precious.read_text() == "keep me"


def _locks(client: object) -> list[dict[str, object]]:
    answer = client.ok("inventory", version_commands={}, version_env={})  # type: ignore[attr-defined]
    return answer["locks"]
