from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from pdconsole.model import events as ev
from pdconsole.model.eta import Outlook, outlook
from pdconsole.model.state import State, fold
from pdconsole.model.workload import MeasurePolicy

POINTS = ("conc4", "conc16")


def planned(run: str, points: tuple[str, ...] = POINTS, mode: str = "mixed") -> ev.PlannedRun:
    return ev.PlannedRun(
        run=run, layout="4xtp2", strategy="pack", network="cuda-ipc", workload="w", input_len=5000,
        output_len=250, mode=mode, gpus=8, points=points, result_dir=f"dir{run}",
    )  # fmt: skip


def opened(*runs: ev.PlannedRun) -> list[ev.Event]:
    return [
        ev.SessionOpened(
            session="s", experiment="e", cluster="c", model="m", simulated=True, runs=runs
        ),
        ev.EpochOpened(epoch=1, pid=1),
        ev.SessionState(status="running"),
    ]


def state_of(run: str, status: ev.RunStatus, t: float) -> ev.Event:
    return ev.RunState(run=run, status=status, t=t)


def point_of(run: str, point: str, status: ev.PointStatus, t: float, **more: object) -> ev.Event:
    return msgspec.convert(
        {"type": "point.state", "run": run, "point": point, "status": status, "t": t, **more},
        ev.PointState,
    )


def measured(run: str, *spans: tuple[str, float, float], launch_t: float = 0.0) -> list[ev.Event]:
    events = [state_of(run, "launching", launch_t), state_of(run, "measuring", spans[0][1])]
    for point, began, ended in spans:
        events += [
            point_of(run, point, "warmup", began),
            point_of(run, point, "window", began + 1),
            point_of(run, point, "done", ended),
        ]
    return events


def seen(state: State, t: float, policy: MeasurePolicy | None = None) -> Outlook:
    return outlook(state, t, policy)


def test_before_anything_was_measured_nothing_is_known() -> None:
    found = seen(fold(opened(planned("1"))), 0.0)
    assert found.session.left_s is None
    assert "launched" in found.session.how or "measured" in found.session.how
    assert found.points["1", "conc4"].left_s is None


def test_points_take_as_long_as_their_load_took_and_layouts_a_launch_and_an_end_more() -> None:
    events = [
        *opened(planned("1"), planned("2")),
        *measured("1", ("conc4", 10.0, 40.0), ("conc16", 40.0, 100.0)),
        state_of("1", "stopping", 100.0),
        state_of("1", "done", 103.0),
    ]
    found = seen(fold(events), 103.0)
    assert found.points["2", "conc4"].left_s == 30.0
    assert found.points["2", "conc16"].until_s == 10 + 30 + 60
    assert found.runs["2"].left_s == found.session.left_s == 10 + 30 + 60 + 3
    assert found.session.how == "by 2 points of known load, 1 launch"


def test_a_load_never_measured_takes_as_the_nearest_and_says_so() -> None:
    events = [
        *opened(planned("1", ("conc4", "conc8", "conc32"))),
        *measured("1", ("conc4", 10.0, 40.0), ("conc8", 40.0, 90.0)),
    ]
    found = seen(fold(events), 90.0).points["1", "conc32"]
    assert (found.left_s, found.how) == (50.0, "as the nearest load measured took")


def test_another_workload_tells_nothing_of_this_one() -> None:
    events = [
        *opened(planned("1"), planned("2", mode="prefill-only")),
        *measured("1", ("conc4", 10.0, 40.0), ("conc16", 40.0, 90.0)),
        state_of("1", "done", 91.0),
    ]
    assert seen(fold(events), 91.0).points["2", "conc4"].left_s is None


def test_an_open_loop_goes_by_the_clock_and_so_is_known_before() -> None:
    state = fold(opened(planned("1", ("rr4",))))
    policy = MeasurePolicy(warmup_s=5, min_window_s=20, min_requests=200)
    assert seen(state, 0.0, policy).points["1", "rr4"].left_s == 5 + 200 / 4
    until = msgspec.structs.replace(policy, until_relative_ci=0.05)
    assert seen(state, 0.0, until).points["1", "rr4"].left_s is None


def test_a_window_under_way_goes_on_at_its_pace() -> None:
    events = [
        *opened(planned("1", ("conc4",))),
        state_of("1", "launching", 0.0),
        state_of("1", "measuring", 10.0),
        point_of("1", "conc4", "warmup", 10.0),
        point_of("1", "conc4", "window", 20.0, target_s=20.0),
    ]
    found = seen(fold(events), 25.0)
    assert found.session.left_s == 15.0
    assert found.session.how == "by the window's pace"
    # Past its target, waiting for requests to come: none of it is known to be left.
    assert seen(fold(events), 45.0).session.left_s == 0.0


def test_a_warm_up_longer_than_others_still_has_its_window_to_come() -> None:
    events = [
        *opened(planned("1", ("conc4",)), planned("2", ("conc4",))),
        *measured("1", ("conc4", 10.0, 40.0)),
        state_of("1", "done", 40.0),
        state_of("2", "launching", 40.0),
        point_of("2", "conc4", "warmup", 50.0),
    ]
    policy = MeasurePolicy(min_window_s=20.0)
    assert seen(fold(events), 55.0, policy).points["2", "conc4"].left_s == 25.0
    assert seen(fold(events), 150.0, policy).points["2", "conc4"].left_s == 20.0


def test_what_was_skipped_or_failed_or_of_an_earlier_launch_is_no_measure() -> None:
    events = [
        *opened(planned("1"), planned("2")),
        *measured("1", ("conc4", 10.0, 40.0)),
        point_of("1", "conc16", "skipped", 41.0),
        ev.EpochOpened(epoch=2, pid=2, t=500.0),
        ev.SessionState(status="running", t=500.0),
        state_of("1", "skipped", 500.0),
        state_of("2", "launching", 500.0),
    ]
    found = seen(fold(events), 505.0)
    assert "1" not in found.runs
    # The launch of run 1 took 10 s, of which 5 s have passed.
    assert found.points["2", "conc4"].until_s == 5 + 30
    assert found.points["2", "conc16"].how == "as the nearest load measured took"


def test_a_session_that_is_over_has_nothing_left() -> None:
    state = fold([*opened(planned("1")), ev.SessionState(status="stopped")])
    assert seen(state, 0.0) == Outlook(seen(state, 0.0).session)
    assert seen(state, 0.0).session.left_s is None


loads = st.lists(st.sampled_from(["conc4", "conc16", "conc64", "rr2", "rr0.5"]), unique=True)


@given(loads.filter(len), st.integers(1, 3), st.integers(0, 4), st.floats(0.0, 400.0))
def test_parts_add_up_and_are_never_below_zero(
    points: list[str], runs: int, done: int, later: float
) -> None:
    names = [str(i) for i in range(runs)]
    events = opened(*(planned(name, tuple(points)) for name in names))
    t = 5.0
    events += [state_of("0", "launching", 0.0), state_of("0", "measuring", 5.0)]
    for point in points[:done]:
        events += [point_of("0", point, "warmup", t), point_of("0", point, "done", t + 20)]
        t += 20
    found = seen(fold(events), t + later, MeasurePolicy())
    every = [found.session, *found.runs.values(), *found.points.values()]
    assert all(e.left_s is None or e.left_s >= 0 for e in every)
    assert all(e.how for e in every)
    if found.session.left_s is not None:
        total = sum(run.left_s or 0 for run in found.runs.values())
        assert abs(found.session.left_s - total) < 1e-6
        ends = [found.runs[n].until_s or 0.0 for n in names if n in found.runs]
        assert ends == sorted(ends)
