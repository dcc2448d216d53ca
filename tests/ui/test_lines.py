"""Events as lines: what a pipe gets to read."""

from __future__ import annotations

import msgspec
import pytest

from pdconsole.model import events as ev
from pdconsole.model.state import State, reduce
from pdconsole.ui.lines import EventLines, duration, point_name, printable, result_text, unit_of


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (59.4, "59 s"), (60, "1:00"), (3762, "1:02:42")]
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_point_names() -> None:
    assert (point_name("conc16"), point_name("rr0.5")) == ("c=16", "rr=0.5")


def test_log_text_is_data() -> None:
    assert printable("\x1b[31mred\x07") == "\\x1b[31mred\\x07"


def lines_of(*events: ev.Event) -> list[str]:
    state, lines, made = State(), EventLines(), []
    for seq, event in enumerate(events, 1):
        event = msgspec.structs.replace(event, seq=seq, t=float(seq), wall=float(seq))
        state = reduce(state, event)
        made += [line.split("  ", 1)[1] for line in lines.lines(event, state)]
    return made


def a_result(gpus: int | None = None) -> ev.PointResult:
    return ev.PointResult(
        **dict.fromkeys(
            (
                *("request_throughput", "input_throughput", "output_throughput"),
                *("total_token_throughput", "tokens_per_s_per_gpu", "window_s"),
            ),
            1.0,
        ),
        run="1",
        point="conc4",
        attempt=1,
        completed=60,
        errors=0,
        ttft_ms={"p50": 637.0, "p99": 667.0},
        tpot_ms={},
        itl_ms={},
        e2el_ms={},
        gpus=gpus,
    )


def test_what_a_point_has_none_of_is_a_dash() -> None:
    assert result_text(a_result()).endswith("TTFT p50 637 p99 667 ms, TPOT p50 - ms")


def test_a_failed_worker_shows_its_last_lines() -> None:
    made = lines_of(
        ev.ProcessState(
            run="1",
            process="P1",
            node="a",
            slots=(0, 1),
            status="failed",
            message="out of memory",
            last_log="one\ntwo\x1b[0m",
        )
    )
    assert made == ["  P1 on a:0,1 failed: out of memory", "    | one", "    | two\\x1b[0m"]


def test_ticks_are_throttled_by_the_recording_not_by_the_wall() -> None:
    tick = ev.PointTick(
        run="1",
        point="conc4",
        node_t=0,
        dt_s=1,
        phase="window",
        in_flight=4,
        sent=1,
        finished=1,
        errors=0,
        input_tokens=1,
        output_tokens=1,
    )
    assert len(lines_of(*[tick] * 12)) == 3


def test_only_checks_that_matter_are_lines() -> None:
    checks = [
        ev.CheckResult(node="a", check="disk", verdict=verdict, value="v", advice="do this")
        for verdict in ("ok", "warn", "fail", "unknown")
    ]
    assert lines_of(*checks) == [
        "check disk on a: warn, v; do this",
        "check disk on a: fail, v; do this",
    ]


@pytest.mark.parametrize(
    ("kind", "gpus", "unit"),
    [
        ("gpu", 2, "GPU"),
        ("gpu", None, "GPU"),
        ("gpu-share", 1, "GPU"),
        ("gpu-share", None, "slot"),  # as older recordings have it
        ("cpu", 2, "slot"),
    ],
)
def test_numbers_are_per_gpu_and_one_that_is_shared_counts_once(
    kind: str, gpus: int | None, unit: str
) -> None:
    run = ev.PlannedRun(
        run="1", layout="2xtp1", strategy="pack", network="shm", workload="w", input_len=64,
        output_len=8, mode="mixed", gpus=1, points=("conc4",), result_dir="r",
    )  # fmt: skip
    opened = ev.SessionOpened(
        session="s", experiment="e", cluster="c", model="m", simulated=False, runs=(run,),
        slot_kind=kind,
    )  # fmt: skip
    started = reduce(State(), opened)
    assert unit_of(started) == ("slot" if kind == "cpu" else "GPU")
    assert unit_of(reduce(started, a_result(gpus))) == unit
