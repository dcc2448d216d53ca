"""Bringing a deployment up and taking it down, on nodes in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from fake_serving_node import Behaviour, FakeClock, FakeNode
from serving_cases import placed, planned, run_of

from pdconsole.model.events import Event, ProcessState
from pdconsole.serving import deployment
from pdconsole.serving.errors import DeploymentError
from pdconsole.serving.plan import DeploymentPlan

OOM = """\
INFO 01-02 03:04:05 [gpu_model_runner.py:2602] Starting to load model openai/gpt-oss-120b...
ERROR 01-02 03:04:09 [core.py:708] torch.OutOfMemoryError: CUDA out of memory. Tried to take 2 GiB
Traceback (most recent call last):
  File "/opt/vllm/bin/vllm", line 8, in <module>
RuntimeError: Engine core initialization failed. See root cause above."""


class Scene:
    """A spread 2P+2D deployment on two fake nodes."""

    def __init__(self, behave: Callable[[str], Behaviour] = lambda _: Behaviour()) -> None:
        self.clock = FakeClock()
        self.plan = planned(run_of(placed("2P-TP2+2D-TP2", "spread"), "srd"))
        self.calls: list[tuple[str, ...]] = []
        self.events: list[Event] = []
        self.nodes: dict[str, FakeNode] = {
            name: FakeNode(name, self.clock, self.plan, behave, self.calls)
            for name in self.plan.nodes
        }

    async def start(self, plan: DeploymentPlan | None = None, **options: Any) -> None:
        options.setdefault("startup_timeout_s", 60.0)
        await deployment.start(
            plan or self.plan,
            self.nodes,  # type: ignore[arg-type]
            self.events.append,
            pace=self.clock.pace,
            **options,
        )

    async def stop(self) -> None:
        await deployment.stop(self.plan, self.nodes, self.events.append)  # type: ignore[arg-type]

    @property
    def running(self) -> set[str]:
        return set().union(*(node.running for node in self.nodes.values()))

    @property
    def locked(self) -> bool:
        return any(node.locked for node in self.nodes.values())

    def names(self, call: str) -> list[str]:
        return [words[2] for words in self.calls if words[0] == call]

    def told(self, process: str) -> list[str]:
        states = (event for event in self.events if isinstance(event, ProcessState))
        return [state.status for state in states if state.process == process]


async def test_workers_come_first_then_the_router_and_all_goes_in_reverse() -> None:
    scene = Scene()
    await scene.start()
    assert scene.names("start")[-1] == "router"
    assert set(scene.names("start")[:-1]) == {"P1", "P2", "D1", "D2"}
    assert [words[0] for words in scene.calls].index("start") == 2  # after both locks
    assert scene.told("D1") == ["starting", "loading", "loading", "ready"]
    assert set(scene.names("follow")) == {"P1", "P2", "D1", "D2", "router"}
    await scene.stop()
    assert scene.names("stop")[0] == "router"
    assert not scene.running
    assert not scene.locked
    assert scene.told("D1")[-2:] == ["stopping", "stopped"]
    told = len(scene.events)
    await scene.stop()
    assert len(scene.events) == told


async def test_a_worker_that_dies_is_named_with_its_cause_and_nothing_is_left() -> None:
    scene = Scene(lambda name: Behaviour(dies_s=3.0, log=OOM) if name == "D2" else Behaviour(9.0))
    with pytest.raises(DeploymentError) as caught:
        await scene.start()
    sentence = str(caught.value)
    assert sentence.startswith("D2 on p5-b ended with exit code 1 during start-up: GPU memory")
    assert "Tried to take 2 GiB" in sentence
    assert "Traceback" not in sentence
    assert caught.value.last_lines[-1].endswith("See root cause above.")
    assert not scene.running
    assert not scene.locked
    assert "router" not in scene.names("start")
    assert scene.told("D2")[-1] == "failed"
    assert scene.told("P1")[-1] == "stopped"


async def test_a_worker_that_dies_while_the_router_starts_is_seen() -> None:
    scene = Scene(lambda name: Behaviour(dies_s=4.0 if name == "P1" else None))
    with pytest.raises(DeploymentError, match="P1 on p5-a ended"):
        await scene.start()
    assert not scene.running


async def test_a_worker_that_never_answers_is_given_up_with_its_last_line() -> None:
    scene = Scene(lambda name: Behaviour(ready_s=None if name == "P2" else 1.0))
    with pytest.raises(DeploymentError, match=r"P2 on p5-a did not answer .*loading weights"):
        await scene.start(startup_timeout_s=30.0)
    assert 130.0 <= scene.clock.now <= 133.0
    assert not scene.running


async def test_what_runs_under_the_same_plan_is_adopted_and_its_log_goes_on() -> None:
    scene = Scene()
    await scene.start()
    scene.calls.clear()
    scene.events.clear()
    await scene.start(log_offset=lambda process: 77)
    assert scene.names("start") == []
    assert {words[3] for words in scene.calls if words[0] == "follow"} == {"77"}
    assert scene.told("P1")[-1] == "ready"


async def test_what_runs_under_another_plan_is_restarted() -> None:
    scene = Scene()
    await scene.start()
    scene.calls.clear()
    other = planned(run_of(placed("2P-TP2+2D-TP2", "spread"), "tcp"))
    await scene.start(other, log_offset=lambda process: 77)
    assert set(scene.names("start")) == {"P1", "P2", "D1", "D2"}  # the router's command is the same
    assert {w[3] for w in scene.calls if w[0] == "follow" and w[2] != "router"} == {"0"}


async def test_cancelling_stops_everything() -> None:
    scene = Scene(lambda _: Behaviour(ready_s=None))
    task = asyncio.create_task(scene.start(startup_timeout_s=1e9))
    await scene.clock.slept.wait()
    assert len(scene.running) == 4
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not scene.running
    assert not scene.locked


async def test_an_occupied_gpu_starts_nothing_and_says_who_holds_it() -> None:
    scene = Scene()
    scene.nodes["p5-b"].occupied = "slot 0 is held by ada (session x); wait, or choose other slots"
    with pytest.raises(DeploymentError, match="p5-b: slot 0 is held by ada"):
        await scene.start()
    assert scene.names("start") == []
    assert not scene.locked


async def test_who_listens_there_already_is_not_taken_for_the_worker() -> None:
    scene = Scene()
    scene.nodes["p5-b"].foreign = "D1"
    with pytest.raises(DeploymentError, match=r"D1 was not started on p5-b: somebody answers at"):
        await scene.start()
    assert "D1" not in scene.names("start")
    assert scene.told("D1")[-1] == "failed"
    assert "ready" not in scene.told("D1")
    assert not scene.running


@pytest.mark.parametrize(("outage_s", "comes_up"), [(8.0, True), (30.0, False)])
async def test_a_lost_node_is_borne_with_for_a_while(outage_s: float, comes_up: bool) -> None:
    scene = Scene(lambda _: Behaviour(ready_s=20.0))
    scene.nodes["p5-b"].lost = lambda now: 105.0 <= now < 105.0 + outage_s
    if comes_up:
        await scene.start()
        return
    with pytest.raises(DeploymentError, match=r"connection broke.*pdconsole clean"):
        await scene.start()
    assert scene.running <= {"D1", "D2"}  # what could not be reached, and nothing else


async def test_stop_tries_every_node_and_names_what_is_left() -> None:
    scene = Scene(lambda name: Behaviour(refuses_to_die=name == "P1"))
    await scene.start()
    with pytest.raises(DeploymentError, match=r"P1 on p5-a did not end.*pdconsole clean"):
        await scene.stop()
    assert scene.running == {"P1"}
    assert scene.told("P1")[-1] == "failed"
    assert scene.nodes["p5-a"].locked
    assert not scene.nodes["p5-b"].locked


async def test_a_worker_that_died_meanwhile_is_told_of_when_the_rest_is_stopped() -> None:
    scene = Scene(lambda name: Behaviour(dies_s=50.0 if name == "D1" else None))
    await scene.start()
    scene.clock.now += 60.0
    await scene.stop()
    assert scene.told("D1")[-1] == "failed"
    assert scene.told("D2")[-1] == "stopped"


async def test_a_replica_that_waits_for_ever_for_its_side_channel_is_not_waited_for() -> None:
    hangs = Behaviour(
        ready_s=None,
        log="zmq.error.ZMQError: Address already in use (addr='tcp://10.0.0.12:5600')",
    )
    scene = Scene(lambda name: hangs if name == "D1" else Behaviour())
    with pytest.raises(DeploymentError) as caught:
        await scene.start(startup_timeout_s=900.0)
    assert "D1 on p5-b cannot come up" in str(caught.value)
    assert "ports.side_channel" in str(caught.value)
    assert scene.clock.now < 200.0
    assert not scene.running
