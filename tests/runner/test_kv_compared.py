"""A network's KV beside that of another one."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

import pdconsole.runner.kv_validation as kv_validation
from pdconsole.measure.validation import Tried
from pdconsole.model import events as ev
from pdconsole.model.validation import Case, Score
from pdconsole.runner.kv_validation import Validated, validate


def case(kind: Any, off: float = 0.0, **more: Any) -> Case:
    score = Score(tokens=(1, 2), own=(-1.0 - off, -1.0), reference=(-1.0, -1.0))
    return Case(kind=kind, prompt=1, length=20, who="P1>D1", score=score, **more)


CONTROL = case("corrupted", 9.0, control=True, blocks=2, wrong_blocks=2)
FINE = (case("self"), case("transfer"), CONTROL)


async def validated(monkeypatch: pytest.MonkeyPatch, earlier: Validated) -> ev.KvValidated:
    async def tried(*_: Any, **__: Any) -> Tried:
        return Tried(cases=FINE)

    monkeypatch.setattr(kv_validation, "try_transfers", tried)
    plan: Any = SimpleNamespace(
        run="1",
        session="s",
        processes=(),
        workers=[SimpleNamespace(role="prefill", name="P1", node="a")],
    )
    network: Any = SimpleNamespace(name="srd", backend="UCX")
    model: Any = None
    return (await validate(plan, {}, model, network, "seed", earlier=earlier)).event


def earlier(verdict: Any, off: float) -> Validated:
    event = ev.KvValidated(run="0", verdict=verdict, message="2 of 2 prompts are wrong")
    return Validated(event=event, network="libfabric", cases=(case("transfer", off),))


async def test_one_that_differs_by_more_than_rounding_fails(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    event = await validated(monkeypatch, earlier("ok", 4.0))
    assert event.verdict == "fail"
    assert "more than the tolerance" in event.message


async def test_one_that_is_right_is_not_blamed_for_the_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    event = await validated(monkeypatch, earlier("fail", 4.0))
    assert event.verdict == "ok"
    assert "libfabric, which is wrong itself: 2 of 2 prompts are wrong" in event.message
    assert event.other_deviation is None
