"""Axes and promises as people write them, and what they make of a point."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pdconsole.model.latency_axis import AxisError, parse_latency
from pdconsole.model.slo import parse_slo


class APoint:
    """TTFT and TPOT, and an interval of each; no E2EL."""

    ci = {"ttft_p50_ms": (190.0, 220.0), "tpot_p50_ms": (9.0, 12.0)}  # noqa: RUF012
    _known = {("ttft", "p50"): 200.0, ("tpot", "p50"): 10.0, ("ttft", "p99"): 900.0}  # noqa: RUF012

    def latency(self, name: str, statistic: str = "p50") -> float | None:
        return self._known.get((name, statistic))


@pytest.mark.parametrize(
    ("text", "value", "interval", "title"),
    [
        ("tpot", 10.0, (9.0, 12.0), "median TPOT"),
        ("TTFT:p99", 900.0, None, "p99 TTFT"),
        ("chunk:16", 350.0, (325.0, 400.0), "median TTFT + 15 × TPOT"),
        ("chunk:1", 200.0, (190.0, 220.0), "median TTFT"),
        ("interactivity", 100.0, (1000 / 12, 1000 / 9), "median interactivity"),
        ("e2el", None, None, "median E2EL"),
    ],
)
def test_what_is_written_is_read(text, value, interval, title) -> None:
    axis = parse_latency(text)
    assert axis.value(APoint()) == value
    assert axis.interval(APoint()) == interval
    assert axis.title == title


@pytest.mark.parametrize("text", ["", "speed", "chunk", "chunk:0", "tpot:16", "ttft:p42", "tpot "])
def test_what_is_no_axis_is_refused_with_what_is(text: str) -> None:
    if text.strip() == "tpot":
        assert parse_latency(text).name == "tpot"
        return
    with pytest.raises(AxisError, match="write"):
        parse_latency(text)


@given(st.floats(0.1, 1e4))
def test_interactivity_turns_back_into_ms(tpot: float) -> None:
    axis = parse_latency("interactivity")
    assert axis.turned(axis.turned(tpot)) == pytest.approx(tpot)


@pytest.mark.parametrize(
    ("text", "met"),
    [
        ("ttft<=200ms,tpot<=10ms", True),
        ("ttft<=0.2s", True),
        ("ttft ≤ 199", False),
        ("ttft:p99<=1s , interactivity>=100", True),
        ("interactivity>=101", False),
        ("e2el<=5s", None),
        ("e2el<=5s,tpot<=9", False),  # broken, whatever the other is
    ],
)
def test_a_promise_is_kept_broken_or_cannot_be_told(text: str, met: bool | None) -> None:
    assert parse_slo(text).met_by(APoint()) is met


@pytest.mark.parametrize(
    "text", ["", "tpot", "tpot<=", "tpot>=5", "interactivity<=5", "tpot<=5h", "tpot<=1.2.3", "x<=1"]
)
def test_what_is_no_promise_is_refused(text: str) -> None:
    with pytest.raises(AxisError):
        parse_slo(text)


def test_a_line_can_be_drawn_for_the_bound_on_the_same_axis_alone() -> None:
    slo = parse_slo("ttft:p99<=1s,tpot<=15ms")
    assert slo.limit_on(parse_latency("tpot")) == 15.0
    assert slo.limit_on(parse_latency("ttft")) is None
    assert slo.limit_on(parse_latency("ttft:p99")) == 1000.0
