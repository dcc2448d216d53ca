"""Looking at a cluster while nothing runs on it: real ssh, real agents, simulated GPUs."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from runner_case import RunnerCase

from pdconsole.model.request import PlacedLayout, Reply, RunRequest
from pdconsole.model.survey import Survey, SurveyNode
from pdconsole.profiles import Profiles
from pdconsole.runner import survey as survey_module
from pdconsole.runner.leftovers import find_leftovers
from pdconsole.runner.nodes import SessionNodes
from pdconsole.runner.survey import ClusterSurvey
from pdconsole.sim.embedded import ensure_embedded


def node(survey: Survey, name: str) -> SurveyNode:
    return next(n for n in survey.nodes if n.name == name)


def all_up(reply: Reply) -> Survey | None:
    survey = reply.survey
    assert survey is not None
    known = all(n.link == "up" and "vllm" in n.versions for n in survey.nodes)
    return survey if known and survey.nodes[0].gpus[0].util_pct is not None else None


async def until(so: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not so():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.05)


async def agents(case: RunnerCase) -> list[str]:
    found = await asyncio.to_thread(find_leftovers, case.workspace, "embedded")
    return [entry.token for entry in found]


async def test_a_survey_is_answered_at_once_and_filled_in_as_nodes_answer(
    case: RunnerCase,
) -> None:
    first = (await case.ask("survey", cluster="embedded")).survey
    assert first is not None
    assert first.simulated
    assert [(n.link, len(n.gpus)) for n in first.nodes] == [("connecting", 8)] * 2
    assert {g.owner for n in first.nodes for g in n.gpus} == {"unknown"}
    assert node(first, "node1").gpus[0].memory_mib == 81559

    seen = await case.until(all_up, "survey", cluster="embedded")
    assert {g.owner for n in seen.nodes for g in n.gpus} == {"free"}
    assert all(n.seen_wall > 0 and n.hostname for n in seen.nodes)


async def test_gpus_that_a_session_holds_are_ours(case: RunnerCase) -> None:
    await case.until(all_up, "survey", cluster="embedded")
    cluster = await ensure_embedded(Profiles.open(case.workspace).cluster("embedded"))
    holder = SessionNodes(cluster, ["node2"], "elsewhere", lambda _: None)
    try:
        await holder.open()
        await holder.clients["node2"].lock([3])

        def held(reply: Reply) -> bool:
            return bool(reply.survey and node(reply.survey, "node2").gpus[3].owner == "ours")

        await case.until(held, "survey", cluster="embedded")
        seen = (await case.ask("survey", cluster="embedded")).survey
        assert seen is not None
        assert "elsewhere" in node(seen, "node2").gpus[3].holder
        assert node(seen, "node1").gpus[3].owner == "free"
    finally:
        await holder.end()


async def test_agents_end_when_nobody_asks_any_longer(
    case: RunnerCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(survey_module, "LOOK_S", 0.05)
    now = [0.0]
    cluster = Profiles.open(case.workspace).cluster("embedded")
    survey = ClusterSurvey(cluster, "survey-test", patience_s=15.0, clock=lambda: now[0])
    await until(lambda: not survey.waiting_for())
    assert sorted(await agents(case)) == ["survey-test/agent"] * 2
    now[0] = 14.0
    survey.ask()
    now[0] = 28.0
    await asyncio.sleep(0.2)
    assert not survey.is_over
    now[0] = 29.5
    await until(lambda: survey.is_over)
    assert await agents(case) == []


async def test_agents_end_with_the_runner(case: RunnerCase) -> None:
    await case.until(all_up, "survey", cluster="embedded")
    await case.runner.wind_up()
    assert await agents(case) == []


@pytest.fixture
def silent_port() -> Iterator[int]:
    """Takes connections and says nothing, as a hung node does."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(64)
        yield listener.getsockname()[1]


async def test_nodes_that_do_not_answer_hold_up_nobody(case: RunnerCase, silent_port: int) -> None:
    """Eight of them, more than log in to one host at once, stand before the two that are well."""
    embedded = await ensure_embedded(Profiles.open(case.workspace).cluster("embedded"))
    well: list[dict[str, Any]] = [
        {"name": n.name, "host": n.host, "port": n.port, "user": n.user} for n in embedded.nodes
    ]
    hung: list[dict[str, Any]] = [
        {"name": f"hung{i}", "host": "127.0.0.1", "port": silent_port} for i in range(8)
    ]
    gone: list[dict[str, Any]] = [{"name": "gone", "host": "127.0.0.1", "port": 1}]
    kind = {"gpus": 8, "gpu_model": "H100", "gpu_memory_mib": 81559}
    case.change(
        "clusters",
        "embedded",
        name="mixed",
        simulated=False,
        nodes=[{**n, **kind} for n in (*gone, *hung, *well)],
        ssh={
            "config": embedded.ssh.config,
            "known_hosts": embedded.ssh.known_hosts,
            "identity": embedded.ssh.identity,
            "connect_timeout_s": 3600.0,
            "login_timeout_s": 3600.0,
        },
    )
    path = case.workspace / "profiles" / "clusters"
    (path / "embedded.yaml").rename(path / "mixed.yaml")

    def well_up(reply: Reply) -> bool:
        assert reply.survey is not None
        known = all("vllm" in node(reply.survey, name).versions for name in ("node1", "node2"))
        return known and node(reply.survey, "gone").link == "unreachable"

    await case.until(well_up, "survey", cluster="mixed")
    seen = (await case.ask("survey", cluster="mixed")).survey
    assert seen is not None
    assert "refuse" in node(seen, "gone").message
    assert node(seen, "hung0").link == "connecting"
    checked = (await case.ask("check", cluster="mixed")).checking
    assert checked is not None
    assert checked.busy  # the hung ones may answer yet
    verdicts = {(r.node, r.check): r.verdict for r in checked.results}
    assert verdicts["gone", "reachable"] == "fail"
    assert verdicts["node1", "reachable"] == "ok"
    assert ("hung0", "reachable") not in verdicts


async def test_what_there_is_no_cluster_of(case: RunnerCase) -> None:
    assert "embedded" in await case.refused("survey", cluster="embeded")


def ad_hoc(**placed: Any) -> RunRequest:
    return RunRequest(
        experiment="ad-hoc",
        cluster="embedded",
        model="gpt-oss-120b",
        workload="itl5000-otl250",
        network="cuda-ipc",
        placed=(PlacedLayout(**placed),),
    )


async def test_a_plan_names_every_process_and_starts_none(case: RunnerCase) -> None:
    await case.until(all_up, "survey", cluster="embedded")
    request = ad_hoc(strategy="manual", manual="P1=node1:0,1 D1=node1:4-7")
    reply = await case.ask("plan", run=request)
    assert reply.plan is not None
    assert str(reply.plan.runs[0].placement.layout) == "1P-TP2 + 1D-TP4"
    assert [p.label for p in reply.plan.runs[0].points] == [
        f"c={c}" for c in (4, 8, 16, 32, 48, 64)
    ]
    (launch,) = reply.launches
    assert launch.refused == ""
    assert launch.notes == ()  # versions and addresses are known from the survey
    assert [(p.name, p.node, p.slots) for p in launch.processes] == [
        ("P1", "node1", (0, 1)),
        ("D1", "node1", (4, 5, 6, 7)),
        ("router", "node1", ()),
    ]
    decode = launch.processes[1]
    assert decode.argv[:2] == ("vllm", "serve")
    assert decode.env["CUDA_VISIBLE_DEVICES"] == "4,5,6,7"
    assert not (case.workspace / "sessions").exists()


async def test_a_plan_says_what_cannot_be_started(case: RunnerCase) -> None:
    apart = ad_hoc(layout="1P-TP2+1D-TP2", strategy="spread")
    (launch,) = (await case.ask("plan", run=apart)).launches
    assert "works within one node" in launch.refused
    for placed, says in (
        ({"layout": "9P-TP2+9D-TP2"}, "16 are free"),
        ({"layout": "1Q-TP2"}, "Accepted"),
        ({"strategy": "manual", "manual": "P1=node9:0 D1=node1:1"}, "node9"),
        ({"strategy": "manual"}, "says where each replica goes"),
    ):
        assert says in await case.refused("plan", run=ad_hoc(**placed))
    bare = await case.refused("plan", run=RunRequest(experiment="ad-hoc", cluster="embedded"))
    assert "--model" in bare


async def test_checks_of_a_cluster_and_of_a_request(case: RunnerCase) -> None:
    def done(reply: Reply) -> bool:
        return bool(reply.checking and not reply.checking.busy)

    await case.until(done, "check", cluster="embedded")
    checked = (await case.ask("check", cluster="embedded")).checking
    assert checked is not None
    names = {(r.node, r.check) for r in checked.results}
    assert {("node1", "gpus-free"), ("node2", "gpus-free"), ("node2", "vllm-equal")} <= names
    assert {r.verdict for r in checked.results} <= {"ok", "warn"}

    one_node = ad_hoc(layout="2xTP2")
    of_run = (await case.ask("check", run=one_node)).checking
    assert of_run is not None
    assert "node2" not in {r.node for r in of_run.results}

    again = (await case.ask("check", cluster="embedded", node="node2", again=True)).checking
    assert again is not None
    assert again.busy
    assert {r.node for r in again.results if r.check == "disk"} == {"node1"}
    await case.until(done, "check", cluster="embedded")
