"""What the gate lets through, and what it leaves behind in the record."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

import pdconsole.runner.kv_gate as kv_gate
from pdconsole.model import events as ev
from pdconsole.model.grid import Grid, GridNode
from pdconsole.model.layout import parse_layout
from pdconsole.model.placement import place
from pdconsole.model.plan import RunPlan
from pdconsole.model.workload import Mode, Workload
from pdconsole.runner.kv_gate import KvGate
from pdconsole.runner.kv_validation import NOT_ASKED, SIMULATED, Validated

GRID = Grid((GridNode(name="b", slots=8),))


def run(layout: str = "1P-TP1+1D-TP1", mode: Mode = "mixed", network: str = "shm") -> RunPlan:
    return RunPlan(
        id="1",
        placement=place(parse_layout(layout), GRID, "pack"),
        network=network,
        workload=Workload(name="w", input_len=10, output_len=10, mode=mode),
        points=(),
        result_dir="",
    )


class Gate:
    """A gate with what it told and recorded."""

    def __init__(self, **how: Any) -> None:
        self.told: list[ev.Event] = []
        self.recorded: list[ev.KvValidated] = []
        settings = {"simulated": False, "asked": True, "ignores_failure": False} | how
        model: Any = None
        self.gate = KvGate(
            model=model, seed="s", emit=self.told.append, record=self.recorded.append, **settings
        )

    async def __call__(self, asked: RunPlan) -> ev.KvValidated | None:
        plan: Any = SimpleNamespace(workers=[SimpleNamespace(role="decode", node="b")])
        network: Any = SimpleNamespace(name=asked.network)
        return await self.gate.validated(asked, plan, {}, network)


@pytest.fixture
def wrong() -> set[str]:
    """The networks whose KV is found wrong."""
    return {"shm", "tcp"}


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch, wrong: set[str]) -> list[Validated | None]:
    """What the earlier run of the layout was in each validation."""
    earlier: list[Validated | None] = []

    async def validate(*words: Any, **how: Any) -> Validated:
        earlier.append(how["earlier"])
        is_wrong = words[3].name in wrong
        event = ev.KvValidated(
            run="1", verdict="fail" if is_wrong else "ok", message="P1>D1 is wrong"
        )
        return Validated(event=event, network=words[3].name)

    monkeypatch.setattr(kv_gate, "validate", validate)
    return earlier


async def test_wrong_kv_refuses_every_point(found: list[Validated | None]) -> None:
    gate = Gate()
    event = await gate(run())
    assert "P1>D1 is wrong" in gate.gate.refusal(event)
    assert gate.recorded == [event]
    check = gate.told[-1]
    assert isinstance(check, ev.CheckResult)
    assert (check.node, check.check, check.verdict) == ("b", "kv-validation", "fail")
    assert check.hard


async def test_an_operator_may_go_on_with_wrong_kv(found: list[Validated | None]) -> None:
    gate = Gate(ignores_failure=True)
    event = await gate(run())
    assert event is not None
    assert event.verdict == "fail"  # which every point will say
    assert gate.gate.refusal(event) == ""


async def test_without_being_asked_nothing_is_tried_and_that_is_recorded(
    found: list[Validated | None],
) -> None:
    gate = Gate(asked=False)
    event = await gate(run())
    assert event is not None
    assert (event.verdict, event.message) == ("unknown", NOT_ASKED)
    assert gate.recorded == [event]
    assert not found


async def test_a_simulated_cluster_has_nothing_to_validate(found: list[Validated | None]) -> None:
    gate = Gate(simulated=True)
    assert await gate(run()) is None  # so that no point says it was left out
    assert [event.message for event in gate.recorded] == [SIMULATED]
    assert not found


@pytest.mark.parametrize("asked", [run("2xTP1"), run(mode="prefill-only"), run(mode="decode-only")])
async def test_where_nothing_is_handed_over_nothing_is_said(
    asked: RunPlan, found: list[Validated | None]
) -> None:
    gate = Gate()
    assert await gate(asked) is None
    assert not gate.told
    assert not found


async def test_a_layout_is_compared_with_itself_on_another_network(
    found: list[Validated | None], wrong: set[str]
) -> None:
    wrong.clear()
    gate = Gate()
    await gate(run(network="shm"))
    await gate(run("2P-TP1+1D-TP1", network="tcp"))
    await gate(run(network="tcp"))
    assert [one and one.network for one in found] == [None, None, "shm"]


async def test_a_network_that_is_wrong_is_no_measure_of_the_next(
    found: list[Validated | None], wrong: set[str]
) -> None:
    wrong.remove("tcp")
    gate = Gate()
    for network in ("shm", "tcp", "srd"):
        await gate(run(network=network))
    assert [one and one.network for one in found] == [None, None, "tcp"]
