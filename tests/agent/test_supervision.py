"""Processes under the real agent and keepers: started once, ended wholly, adopted, never lost."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from agent_node import Node, alive, carriers, pythons, running_node, start_request, until

# Ignores TERM, and starts a helper that leaves the group, and one that double-forks.
STUBBORN = """
trap '' TERM
setsid sh -c 'trap "" TERM; while :; do sleep 1; done' &
(setsid sh -c '(trap "" TERM; while :; do sleep 1; done) &' &)
echo up
while :; do sleep 1; done
"""


@pytest.fixture(params=pythons(), ids=lambda path: Path(path).name)
def node(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Node]:
    with running_node(tmp_path / "home", request.param) as node:
        yield node


def test_a_token_is_started_once(node: Node) -> None:
    client = node.connect()
    client.hello()
    first = client.start("s/1/P1", "sleep", "1000")
    again = client.start("s/1/P1", "sleep", "1000")
    assert first["state"] == "running"
    assert again["pid"] == first["pid"]
    assert carriers("s/1/P1", node.work_dir) == [first["pid"]]


def test_a_repeated_request_finds_its_process_also_after_its_end(node: Node) -> None:
    client = node.connect()
    client.hello()
    request = start_request("s/1/P1", "sh", "-c", "echo once >> ../../../../ran; exit 3")
    client.ok("start", **request)
    until(lambda: client.ok("processes")["processes"][0]["state"] == "exited", "it exits")
    info = client.ok("start", **request)
    assert (info["state"], info["exit_code"]) == ("exited", 3)
    anew = client.ok("start", **{**request, "nonce": "another"})
    until(lambda: client.ok("processes")["processes"][0]["state"] == "exited", "it exits again")
    assert anew["pid"] != info["pid"]
    assert (node.session_dir() / "../ran").resolve().read_text() == "once\nonce\n"


def test_stop_ends_the_group_and_all_that_left_it(node: Node) -> None:
    client = node.connect()
    client.hello()
    client.start("s/1/P1", "sh", "-c", STUBBORN)
    bystander = client.start("s/1/P2", "sleep", "1000")
    until(lambda: len(carriers("s/1/P1", node.work_dir)) >= 5, "all helpers run")
    (info,) = client.ok("stop", tokens=["s/1/P1"], grace_s=0.3)["processes"]
    assert carriers("s/1/P1", node.work_dir) == []
    assert (info["state"], info["exit_code"], info["reason"]) == ("killed", -9, "stopped")
    assert alive(bystander["pid"])


def test_stop_gives_time_to_end_in_order(node: Node) -> None:
    client = node.connect()
    client.hello()
    script = "trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.05; done"
    client.start("s/1/P1", "sh", "-c", script)
    until(lambda: "up" in client.ok("processes")["processes"][0]["last_log"], "it is up")
    (info,) = client.ok("stop", tokens=["s/1/P1"], grace_s=20)["processes"]
    assert (info["exit_code"], info["last_log"].splitlines()[-1]) == (0, "bye")


def test_what_a_main_process_leaves_behind_is_ended(node: Node) -> None:
    client = node.connect()
    client.hello()
    client.start("s/1/P1", "sh", "-c", "setsid sleep 1000 & sleep 0.2; exit 7")
    client.ok("follow", token="s/1/P1", offsets={"log": 0})
    info = client.end_of("s/1/P1")
    assert (info["state"], info["exit_code"]) == ("exited", 7)
    assert carriers("s/1/P1", node.work_dir) == []


def test_a_worker_that_dies_at_start_tells_code_and_last_lines(node: Node) -> None:
    client = node.connect()
    client.hello()
    client.start("s/1/P1", "sh", "-c", "echo loading; echo 'CUDA error: no device' >&2; exit 42")
    client.ok("follow", token="s/1/P1", offsets={"log": 0})
    info = client.end_of("s/1/P1")
    assert (info["state"], info["exit_code"]) == ("exited", 42)
    assert info["last_log"] == "loading\nCUDA error: no device"
    assert client.log("s/1/P1") == b"loading\nCUDA error: no device\n"


def test_a_command_that_is_not_there(node: Node) -> None:
    client = node.connect()
    client.hello()
    error = client.error("start", **start_request("s/1/P1", "vllm-of-nowhere", "serve"))
    assert error["kind"] == "start"
    assert "vllm-of-nowhere" in error["message"]


def test_placeholders_and_files(node: Node) -> None:
    client = node.connect()
    client.hello()
    script = "import os, sys; print(sys.argv[1:], os.environ['WHERE'], open('a.json').read())"
    client.start(
        "s/1/x",
        "@python@",
        "-c",
        script,
        "@dir@",
        "@agent@",
        env={"WHERE": "in @dir@"},
        files={"a.json": '"@dir@/gaps.bin"'},
    )
    client.ok("follow", token="s/1/x", offsets={"log": 0})
    client.end_of("s/1/x")
    directory = next(node.session_dir().glob("processes/*/1"))
    said = f'{[str(directory), str(node.archive)]!r} in {directory} "{directory}/gaps.bin"\n'
    assert client.log("s/1/x").decode() == said
    assert (directory / "a.json").stat().st_mode & 0o777 == 0o600


def test_a_word_under_home_is_found_there(node: Node) -> None:
    client = node.connect()
    client.hello()
    client.start("s/1/x", "@python@", "-c", "import sys; print(sys.argv[1:])", "~/a", "b~/c")
    client.ok("follow", token="s/1/x", offsets={"log": 0})
    client.end_of("s/1/x")
    assert client.log("s/1/x").decode() == f"{[f'{node.home}/a', 'b~/c']!r}\n"


def test_environment_secrets_are_in_no_file_and_no_argv(node: Node) -> None:
    client = node.connect()
    client.hello()
    client.start("s/1/P1", "sleep", "1000", env={"HF_TOKEN": "hush-hush"})
    texts = [p.read_bytes() for p in node.work_dir.rglob("*") if p.is_file()]
    argvs = [p.read_bytes() for p in Path("/proc").glob("[0-9]*/cmdline")]
    assert not any(b"hush-hush" in text for text in [*texts, *argvs])


def test_lease_expiry_ends_everything_and_is_written_down(node: Node) -> None:
    client = node.connect()
    client.hello(lease_s=1.0)
    client.start("s/1/P1", "sh", "-c", STUBBORN)
    client.start("s/1/P2", "sleep", "1000")
    agent = node.agent_pid()
    client.kill()
    until(lambda: not alive(agent), "the agent ends")
    assert carriers("s/1/P1", node.work_dir) == carriers("s/1/P2", node.work_dir) == []
    note = json.loads((node.session_dir() / "ended.json").read_text())
    assert "lease of 1 s ran out" in note["reason"]
    assert sorted(note["ended"]) == ["s/1/P1", "s/1/P2"]
    assert note["left"] == []
    assert "lease of 1 s ran out" in (node.session_dir() / "agent.log").read_text()
    # Who comes back later is told.
    late = node.connect()
    assert "lease of 1 s ran out" in late.hello(running=["s/1/P1"])["previous_end"]
    assert "lease of 1 s ran out" in late.end_of("s/1/P1")["reason"]


def test_a_renewed_lease_keeps_all_alive(node: Node) -> None:
    client = node.connect()
    client.hello(lease_s=1.0)
    info = client.start("s/1/P1", "sleep", "1000")
    for _ in range(8):
        time.sleep(0.25)
        client.ok("ping")
    assert alive(info["pid"])


def test_keepers_end_their_groups_when_the_agent_is_gone(node: Node) -> None:
    client = node.connect(adopt_grace_s=0.5)
    client.hello()
    client.start("s/1/P1", "sh", "-c", STUBBORN)
    until(lambda: len(carriers("s/1/P1", node.work_dir)) >= 5, "all helpers run")
    node.kill_agent()
    until(lambda: not carriers("s/1/P1", node.work_dir), "the keeper ends its group")
    later = node.connect()
    later.hello()
    ended = lambda: [p for p in later.ok("processes")["processes"] if p["state"] == "killed"]  # noqa: E731
    (info,) = until(ended, "the end is known")
    assert "agent died" in info["reason"]


def test_a_new_agent_adopts_what_runs(node: Node) -> None:
    client = node.connect()
    client.hello()
    script = "i=0; while :; do echo line $i; i=$((i+1)); sleep 0.02; done"
    info = client.start("s/1/P1", "sh", "-c", script)
    client.ok("follow", token="s/1/P1", offsets={"log": 0})
    until(lambda: client.log("s/1/P1").count(b"\n") > 5, "some lines come")
    node.kill_agent()
    so_far = client.log("s/1/P1")
    later = node.connect()
    answer = later.hello(follows=[["s/1/P1", "log", len(so_far)]], running=["s/1/P1"])
    assert answer["unknown"] == []
    (found,) = later.ok("processes")["processes"]
    assert (found["pid"], found["state"]) == (info["pid"], "running")
    until(lambda: later.log("s/1/P1").count(b"\n") > 5, "more lines come")
    lines = (so_far + later.log("s/1/P1")).split(b"\n")[:-1]
    assert lines == [b"line %d" % i for i in range(len(lines))]
    later.ok("stop", tokens=["s/1/P1"], grace_s=0.5)
    assert carriers("s/1/P1", node.work_dir) == []


def test_a_dead_keeper_takes_its_group_with_it(node: Node) -> None:
    client = node.connect()
    client.hello()
    info = client.start("s/1/P1", "sh", "-c", STUBBORN)
    until(lambda: len(carriers("s/1/P1", node.work_dir)) >= 5, "all helpers run")
    client.ok("follow", token="s/1/P1", offsets={"log": 0})
    stat = Path(f"/proc/{info['pid']}/stat").read_text()
    os.kill(int(stat[stat.rfind(")") + 2 :].split()[1]), signal.SIGKILL)
    told = client.end_of("s/1/P1")
    assert (told["state"], told["reason"]) == ("killed", "its keeper died")
    assert carriers("s/1/P1", node.work_dir) == []


def test_end_leaves_nothing(node: Node) -> None:
    client = node.connect()
    client.hello()
    client.start("s/1/P1", "sh", "-c", STUBBORN)
    client.ok("lock", slots=[0, 1])
    agent = node.agent_pid()
    os.kill(agent, signal.SIGTERM)
    until(lambda: not alive(agent), "the agent ends")
    assert carriers("s/1/P1", node.work_dir) == []
    assert not list(node.session_dir().glob("**/*.sock"))


def test_sessions_of_one_node_do_not_touch_each_other(node: Node) -> None:
    one, two = node.connect("one"), node.connect("two")
    one.hello()
    two.hello()
    first = one.start("one/1/P1", "sleep", "1000")
    second = two.start("two/1/P1", "sleep", "1000")
    one.ok("end")
    assert not alive(first["pid"])
    assert alive(second["pid"])


def test_the_same_token_on_two_nodes_of_one_machine(tmp_path: Path) -> None:
    with running_node(tmp_path / "a") as a, running_node(tmp_path / "b") as b:
        on_a, on_b = a.connect(), b.connect()
        on_a.hello()
        on_b.hello()
        on_a.start("s/1/driver", "sleep", "1000")
        info = on_b.start("s/1/driver", "sleep", "1000")
        on_a.ok("lock", slots=[0])
        on_b.ok("lock", slots=[0])
        on_a.ok("end")
        assert alive(info["pid"])


def test_leftovers_are_found_and_cleaned(node: Node) -> None:
    lost = node.connect("lost", lease_s=3600, adopt_grace_s=3600)
    lost.hello(lease_s=3600)
    lost.start("lost/1/P1", "sh", "-c", STUBBORN)
    until(lambda: len(carriers("lost/1/P1", node.work_dir)) >= 5, "all helpers run")
    dead = node.connect("dead", adopt_grace_s=3600)
    dead.hello()
    dead.start("dead/1/P1", "sleep", "1000")
    node.kill_agent("dead")
    lost.kill()
    client = node.connect("clean")
    client.hello()
    found = {row["token"]: row for row in client.ok("leftovers")["processes"]}
    assert sorted(found) == ["dead/1/P1", "lost/1/P1", "lost/agent"]
    assert found["lost/1/P1"]["supervised"]
    assert not found["dead/1/P1"]["supervised"]
    assert len(found["lost/1/P1"]["pids"]) >= 5
    client.ok("clean", tokens=sorted(found), grace_s=0.5)
    assert client.ok("leftovers")["processes"] == []


def test_a_work_directory_that_cannot_be_written(tmp_path: Path) -> None:
    with running_node(tmp_path / "home") as node:
        node.work_dir = tmp_path / "home/agent.pyz/below-a-file"
        process = node.launch("s")
        said, _ = process.communicate()
        fatal = json.loads(said.split(b" ", 1)[1])["fatal"]
        assert fatal["kind"] == "disk"
        assert str(node.work_dir) in fatal["message"]


def test_who_shed_environment_and_group_is_still_family(node: Node) -> None:
    client = node.connect()
    client.hello()
    client.start(
        "s/1/P1", "sh", "-c", "env -i setsid sh -c 'echo $$; exec sleep 1000' & sleep 1000"
    )
    log = until(lambda: client.ok("processes")["processes"][0]["last_log"], "its pid is told")
    assert alive(int(log))
    client.ok("stop", tokens=["s/1/P1"], grace_s=5)
    assert not alive(int(log))


def test_what_old_sessions_left_on_disk_is_tidied_away(node: Node) -> None:
    for session in ("old", "living", "recent"):
        client = node.connect(session)
        client.hello()
        if session != "living":
            client.ok("end")
            until(lambda c=client: c.closed, "the agent goes")
    folders = {session: node.session_dir(session) for session in ("old", "living", "recent")}
    archives = [node.home / "agent-1234.pyz", node.home / "agent-5678.pyz"]
    for path in archives:
        path.write_bytes(b"")
    for path in (folders["old"], folders["living"], archives[0]):
        os.utime(path, (0, 0))
    node.connect("new").hello()
    until(lambda: not folders["old"].exists(), "the old session is removed")
    assert folders["living"].exists()
    assert folders["recent"].exists()
    assert [path.exists() for path in archives] == [False, True]
