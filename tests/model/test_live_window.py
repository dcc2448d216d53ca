from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pdconsole.model import events as ev
from pdconsole.model.series import SeriesFold
from pdconsole.model.state import State, reduce
from pdconsole.model.statistics import histogram

PLAN = ev.PlannedRun(
    run="1", layout="8xtp1", strategy="pack", network="srd", workload="w", input_len=10,
    output_len=5, mode="mixed", gpus=8, points=("conc4", "conc8"), result_dir="d",
)  # fmt: skip
OPENED = ev.SessionOpened(
    seq=1, session="s", experiment="e", cluster="c", model="m", simulated=True, runs=(PLAN,)
)
RUNNING = ev.RunState(run="1", status="measuring")

latencies = st.lists(st.floats(0.1, 5000), max_size=6).map(histogram)


@st.composite
def point_events(draw: st.DrawFn) -> list[ev.Event]:
    events: list[ev.Event] = []
    node_t = 100.0
    for _ in range(draw(st.integers(1, 3))):
        point = draw(st.sampled_from(PLAN.points))
        events.append(ev.PointState(run="1", point=point, status="warmup"))
        for _ in range(draw(st.integers(0, 20))):
            dt = draw(st.sampled_from([0.5, 1.0, 3.0, 11.0]))
            node_t += dt
            events.append(
                ev.PointTick(
                    run="1",
                    point=point,
                    node_t=node_t,
                    dt_s=dt,
                    phase="window",
                    in_flight=4,
                    sent=1,
                    finished=draw(st.integers(0, 9)),
                    errors=0,
                    input_tokens=draw(st.integers(0, 9)),
                    output_tokens=draw(st.integers(0, 9)),
                    ttft=draw(latencies),
                    tpot=draw(latencies),
                    itl=draw(latencies),
                )
            )
    return events


@given(point_events())
def test_the_recorded_window_says_what_the_state_says(events: list[ev.Event]) -> None:
    state, fold = reduce(reduce(State(), OPENED), RUNNING), SeriesFold()
    for event in events:
        state = reduce(state, event)
        row = fold.row(event)
        if row is None:
            continue
        live = state.live
        for name in ("ttft", "tpot", "itl"):
            for q in (50, 90, 99):
                assert row.values.get(f"live_{name}_p{q}") == getattr(live, f"{name}_p{q}")
        for name in ("requests", "input_tokens", "output_tokens"):
            rate = getattr(live, f"{name}_per_s")
            assert row.values[f"live_{name}_per_s"] == pytest.approx(rate)


def nixl(node_t: float, size: float, xfer_s: float, failed: float = 0.0) -> ev.NixlSampled:
    return ev.NixlSampled(
        run="1", process="D1", node_t=node_t, bytes=size, transfers=1, xfer_s=xfer_s,
        failed_transfers=failed,
    )  # fmt: skip


def rates(fold: SeriesFold, event: ev.Event) -> dict[str, float]:
    row = fold.row(event)
    assert row is not None
    return {name: value for name, value in row.values.items() if name.startswith("live_")}


def test_both_bandwidths_are_of_the_window() -> None:
    fold = SeriesFold()
    assert rates(fold, nixl(100.0, 5e9, 1.0)) == {}
    found = rates(fold, nixl(104.0, 9e9, 1.5, failed=2.0))
    assert found == {
        "live_wire_bytes_per_s": 1e9,
        "live_transfer_bytes_per_s": 8e9,
        "live_failures": 2.0,
    }
    # Nothing was transferred in the last 10 s: the wire carried 0, a transfer's speed is unknown.
    rates(fold, nixl(109.0, 9e9, 1.5, failed=2.0))
    found = rates(fold, nixl(115.0, 9e9, 1.5, failed=2.0))
    assert found == {"live_wire_bytes_per_s": 0.0, "live_failures": 0.0}


def test_the_first_kv_that_expires_on_a_prefill_replica_is_seen() -> None:
    """Nothing is sampled of it before."""
    fold = SeriesFold()
    expired = [
        ev.NixlSampled(
            run="1", process="P1", node_t=t, bytes=0.0, transfers=0, xfer_s=0.0, expired=3.0
        )
        for t in (100.0, 101.0, 109.0, 112.0)
    ]
    assert [rates(fold, event)["live_failures"] for event in expired] == [3.0, 3.0, 3.0, 0.0]


def test_a_counter_begun_anew_has_no_rate_yet() -> None:
    fold = SeriesFold()
    rates(fold, nixl(100.0, 5e9, 1.0))
    assert rates(fold, nixl(101.0, 1e9, 0.2)) == {}
    assert rates(fold, nixl(102.0, 2e9, 0.4))["live_wire_bytes_per_s"] == 1e9


def test_a_nodes_nics_are_added_up_and_what_they_lack_is_absent() -> None:
    fold = SeriesFold()
    for node_t, count in ((10.0, 0), (12.0, 100)):
        counters = {f"efa{i}": {"tx_bytes": count * (i + 1), "retrans": 5} for i in range(3)}
        found = rates(fold, ev.NicsSampled(node="n1", node_t=node_t, counters=counters))
    assert found == {"live_tx_bytes_per_s": 300.0}


def test_load_of_workers_is_that_of_this_launch() -> None:
    fold = SeriesFold()
    tick = ev.PointTick(
        run="1", point="conc4", node_t=1.0, dt_s=1.0, phase="window", in_flight=4, sent=1,
        finished=1, errors=0, input_tokens=1, output_tokens=1,
    )  # fmt: skip
    for process, waiting in (("P1", 3.0), ("D1", 1.0), ("D2", None)):
        sample = ev.WorkerSampled(run="1", process=process, node_t=1.0, waiting=waiting)
        fold.row(sample)
    row = fold.row(tick)
    assert row is not None
    assert row.values["waiting"] == 4
    assert "running" not in row.values
    fold.row(ev.RunState(run="1", status="launching"))
    row = fold.row(tick)
    assert row is not None
    assert "waiting" not in row.values
