"""The reducer: what a stream of events makes of the state, also across a resume."""

from __future__ import annotations

import msgspec
import pytest

from pdconsole.model import events as ev
from pdconsole.model.state import LIVE_WINDOW_S, State, fold, reduce
from pdconsole.model.statistics import histogram

RUN = ev.PlannedRun(
    run="1",
    layout="p1xtp2-d1xtp2",
    strategy="pack",
    network="cuda-ipc",
    workload="w",
    input_len=5000,
    output_len=250,
    mode="mixed",
    gpus=4,
    points=("conc4", "conc8"),
    result_dir="d",
)


def stamped(events: list[ev.Event]) -> list[ev.Event]:
    return [
        msgspec.structs.replace(e, seq=i, t=float(i), wall=1000.0 + i)
        for i, e in enumerate(events, 1)
    ]


def opening() -> list[ev.Event]:
    return [
        ev.Header(schema=1, session="s", pdconsole="0"),
        ev.SessionOpened(
            session="s", experiment="e", cluster="c", model="m", simulated=True, runs=(RUN,)
        ),
        ev.EpochOpened(epoch=1, pid=1),
        ev.SessionState(status="running"),
        ev.RunState(run="1", status="measuring"),
    ]


def point(status: ev.PointStatus, attempt: int = 1, point_id: str = "conc4") -> ev.PointState:
    return ev.PointState(
        run="1", point=point_id, status=status, attempt=attempt, target_requests=20
    )


def tick(node_t: float, finished: int, phase: str = "window") -> ev.PointTick:
    return ev.PointTick(
        run="1",
        point="conc4",
        node_t=node_t,
        dt_s=1.0,
        phase=phase,
        in_flight=4,
        sent=finished,
        finished=finished,
        errors=0,
        input_tokens=5000 * finished,
        output_tokens=250 * finished,
        ttft=histogram([100.0] * finished),
    )


def test_a_point_counts_its_window_and_ends() -> None:
    state = fold(
        stamped(
            [
                *opening(),
                point("warmup"),
                tick(1, 3, "warmup"),
                point("window"),
                tick(2, 2),
                point("drain"),
                point("done"),
            ]
        )
    )
    view = state.runs[0].points[0]
    assert (view.status, view.finished, view.window_finished) == ("done", 5, 2)
    assert view.started_t is not None
    assert view.ended_t is not None
    assert view.ended_t > view.started_t
    assert state.current_point == ""
    assert (state.points_ended, state.points_total) == (1, 2)


def test_live_numbers_are_of_the_last_seconds_only() -> None:
    events = [*opening(), point("warmup"), point("window")]
    events += [tick(float(i), 1) for i in range(1, 41)]
    state = fold(stamped(events))
    assert state.live.window_s == pytest.approx(LIVE_WINDOW_S)
    assert state.live.requests_per_s == pytest.approx(1.0)
    assert state.live.ttft_p50 == pytest.approx(100.0, rel=0.01)
    assert state.runs[0].points[0].window_finished == 40


def test_a_new_attempt_starts_counting_anew() -> None:
    events = [*opening(), point("warmup"), point("window"), tick(1, 7), point("failed")]
    events += [point("warmup", attempt=2)]
    view = fold(stamped(events)).runs[0].points[0]
    assert (view.attempt, view.window_finished, view.status) == (2, 0, "warmup")


def test_a_resume_reopens_what_was_not_done_and_forgets_processes() -> None:
    events = [
        *opening(),
        ev.ProcessState(run="1", process="P1", node="n", status="ready"),
        point("warmup"),
        point("done"),
        point("warmup", point_id="conc8"),
        ev.EpochOpened(epoch=2, pid=2),
    ]
    state = fold(stamped(events))
    assert [p.status for p in state.runs[0].points] == ["done", "pending"]
    assert state.runs[0].status == "pending"
    assert state.processes == {}
    assert (state.current_run, state.current_point) == ("", "")


def test_reduce_changes_nothing_in_the_old_state() -> None:
    before = fold(stamped(opening()))
    copy = msgspec.json.encode(msgspec.to_builtins(before, str_keys=True))
    reduce(before, stamped([point("warmup")])[0])
    assert msgspec.json.encode(msgspec.to_builtins(before, str_keys=True)) == copy


def test_events_of_unknown_runs_are_harmless() -> None:
    state = fold(stamped(opening()))
    assert reduce(state, ev.RunState(run="9", status="done")).runs == state.runs
    assert isinstance(reduce(state, tick(1, 1)), State)


def test_every_event_type_survives_its_line_and_unknown_types_are_passed_over() -> None:
    for event in stamped([*opening(), point("warmup"), tick(3, 2)]):
        assert ev.decode(ev.encode(event)) == event
    assert ev.decode(b'{"type":"of.tomorrow","seq":3}') is None
    with pytest.raises(msgspec.DecodeError):
        ev.decode(b'{"type":"run.state","run":1}')
