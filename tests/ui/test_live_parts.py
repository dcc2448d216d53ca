"""The pure parts of the live screen and the replay bar."""

from __future__ import annotations

import random
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from recorded_session import OPENED, plan

from pdconsole.journal.marks import Mark
from pdconsole.journal.series_index import SeriesIndex, SeriesView
from pdconsole.model import events as ev
from pdconsole.model.series import SeriesRow
from pdconsole.model.stages import STAGES, parts_of
from pdconsole.model.state import State, fold
from pdconsole.ui.app import ConsoleApp
from pdconsole.ui.live_charts import CHARTS, ChartPlan, Source, plan_charts
from pdconsole.ui.live_layout import arrange, page_of, pages
from pdconsole.ui.live_lines import LineReader, current_values, failure_marks, named
from pdconsole.ui.replay_track import (
    marks_line,
    parse_position,
    speed_text,
    time_text,
    track_cell,
    track_time,
)
from pdconsole.ui.request_pick import RequestPick
from pdconsole.ui.screens.live import LiveScreen
from pdconsole.ui.time_view import TimeView
from pdconsole.ui.widgets.chart_data import Line, Samples
from pdconsole.ui.widgets.pair_matrix import Pairs, matrix, pairs_of
from pdconsole.ui.widgets.point_strip import strip
from pdconsole.ui.widgets.ttft_waterfall import LOOKS, percentile_bars, waterfall
from pdconsole.ui.widgets.worker_table import worker_rows


def text_of(lines: object) -> str:
    return "\n".join("".join(p.text for p in line) for line in lines)  # type: ignore[attr-defined]


# --- time ---


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("zoom"), st.sampled_from([0.5, 2.0])),
            st.tuples(st.just("pan"), st.floats(-2, 2)),
            st.tuples(st.just("show"), st.floats(-50, 400)),
        ),
        max_size=20,
    ),
    st.floats(0, 300),
)
def test_a_view_never_shows_what_was_before_the_session_nor_beyond_now(
    uses: list[tuple[str, float]], t: float
) -> None:
    view = TimeView()
    for what, value in uses:
        if what == "zoom":
            view = view.zoomed(t, value, 300.0)
        elif what == "pan":
            view = view.panned(t, value)
        else:
            view = view.showing(value, value + 30, t)
        t0, t1 = view.window(t)
        assert t0 >= -1e-9
        assert t1 - t0 <= view.span_s + 1e-9
        assert t1 <= max(t, view.span_s) + 1e-9
        assert view.end is not None or t1 >= t


def test_a_view_that_is_panned_stays_and_one_that_reaches_now_moves_on() -> None:
    held = TimeView(60.0).panned(300.0, -0.5)
    assert held.window(300.0) == held.window(310.0) == (210.0, 270.0)
    assert held.panned(300.0, 1.0).window(310.0) == (250.0, 310.0)


def test_a_young_session_is_shown_whole_with_room_to_grow() -> None:
    view = TimeView(120.0)
    assert [view.window(t) for t in (0, 14, 16, 59, 61, 130)] == [
        *((0, 15), (0, 15), (0, 30), (0, 60), (0, 120), (10, 130)),
    ]
    assert view.zoomed(16.0, 0.5, 600.0).window(16.0) == (1, 16)


# --- layout ---


@pytest.mark.parametrize(
    ("size", "page", "under"),
    [
        ((80, 24), 2, ("workers",)),
        ((120, 40), 6, ("workers", "pairs")),
        ((200, 60), 9, ("workers", "pairs", "waterfall")),
    ],
)
def test_sizes_of_terminals(size: tuple[int, int], page: int, under: tuple[str, ...]) -> None:
    found = arrange(*size, beside=0)
    assert found.page == page
    assert found.under == under


@given(st.integers(1, 9), st.integers(1, 9))
def test_pages_show_every_chart_and_are_full(count: int, size: int) -> None:
    ids = tuple(str(i) for i in range(count))
    shown = [page_of(ids, page, size) for page in range(pages(count, size))]
    assert {i for page in shown for i in page} == set(ids)
    assert all(len(page) == min(size, count) for page in shown)


# --- which series ---


def launched(*runs: str) -> State:
    events: list[ev.Event] = [OPENED]
    for i, run in enumerate(runs):
        events.append(ev.RunState(run=run, status="launching", t=100.0 * i))
        events.append(ev.RunState(run=run, status="done", t=100.0 * i + 90))
    return fold(events)


def test_every_chart_to_choose_is_planned() -> None:
    assert set(plan_charts(State(), (), 0, 1)) == {entry.id for entry in CHARTS}


def test_replicas_are_those_of_the_runs_in_view() -> None:
    recorded = [f"worker/{run}/{r}/kv_usage" for run, r in (("1", "D1"), ("1", "P1"), ("2", "C1"))]
    state = launched("1", "2")
    assert list(plan_charts(state, recorded, 0, 50)["kv"].sources) == ["P1", "D1"]
    assert list(plan_charts(state, recorded, 95, 150)["kv"].sources) == ["C1"]
    assert list(plan_charts(state, recorded, 0, 150)["kv"].sources) == ["P1", "D1", "C1"]


def test_many_replicas_share_a_line_from_the_least_to_the_greatest() -> None:
    recorded = [f"nixl/1/D{i}/live_wire_bytes_per_s" for i in (10, 9, 2, 1)]
    plan_of_nixl = plan_charts(launched("1"), recorded, 0, 50)["nixl"]
    (source,) = plan_of_nixl.sources.values()
    assert [style.label for style in plan_of_nixl.styles] == ["D1–D10 wire"]
    assert source.keys[0] == "nixl/1/D1/live_wire_bytes_per_s"
    assert source.keys[-1] == "nixl/1/D10/live_wire_bytes_per_s"


def test_a_line_is_of_the_runs_in_view_alone() -> None:
    recorded = [f"worker/{run}/P1/kv_usage" for run in "12"]

    def keys(t0: float, t1: float) -> tuple[str, ...]:
        (source,) = plan_charts(launched("1", "2"), recorded, t0, t1)["kv"].sources.values()
        return source.keys

    assert keys(0, 50) == ("worker/1/P1/kv_usage",)
    assert keys(0, 150) == ("worker/1/P1/kv_usage", "worker/2/P1/kv_usage")


class Recorded:
    """A history of 150 nodes, of which some samples come late."""

    def __init__(self, path: Path) -> None:
        self.index = SeriesIndex(path)
        self.seq = 0
        self.asked = 0

    def add(self, t: float, node: int) -> None:
        self.seq += 1
        values = {"tx": float(node * 7 % 13 + self.seq % 5)}
        self.index.add(SeriesRow(("nics", str(node)), self.seq, t, values))

    def latest(self) -> State:
        return State(seq=self.seq)

    def series(self, keys: Sequence[str], t0: float, t1: float, columns: int) -> SeriesView:
        self.asked += 1
        return self.index.view(keys, t0, t1, columns)


NODES = tuple(f"nics/{node}/tx" for node in range(150))
MANY = ChartPlan("nic", "", "", (), {"all": Source(NODES, 2.0)})


def read(reader: LineReader, t0: float, t1: float, columns: int) -> Line:
    reading = reader.lines(MANY, t0, t1, columns)
    while True:
        try:
            next(reading)
        except StopIteration as done:
            line: Line = done.value["all"]
            return line


@given(
    st.lists(
        st.tuples(st.floats(0.01, 25.0), st.floats(5.0, 60.0), st.integers(2, 90)),
        min_size=1,
        max_size=12,
    )
)
def test_a_line_of_many_series_that_moves_on_is_that_which_is_read_whole(
    views: list[tuple[float, float, int]],
) -> None:
    with tempfile.TemporaryDirectory() as directory:
        history = Recorded(Path(directory) / "series")
        reader = LineReader(history)  # type: ignore[arg-type]
        now, rng = 0.0, random.Random(1)
        for passed, span, columns in [(1.0, 30.0, 60), *views, (1.0, 30.0, 60), (1.0, 30.0, 60)]:
            for _ in range(20):
                late = rng.choice((0.0, 0.0, 5.0))
                history.add(max(now + rng.random() * passed - late, 0.0), rng.randrange(150))
            now += passed
            line = read(reader, max(now - span, 0.0), now, columns)
            whole = history.index.view(NODES, max(now - span, 0.0), now, columns)
            assert np.allclose(line.t, whole.t)
            assert np.array_equal(line.low, whole.low * 2, equal_nan=True)
            assert np.array_equal(line.high, whole.high * 2, equal_nan=True)


def test_a_line_of_many_series_to_which_nothing_came_is_not_read_again(tmp_path: Path) -> None:
    history = Recorded(tmp_path / "series")
    reader = LineReader(history)  # type: ignore[arg-type]
    history.add(7.0, 1)
    before = read(reader, 0.0, 20.0, 40)
    assert history.asked == 3
    assert np.array_equal(read(reader, 0.0, 20.0, 40).high, before.high, equal_nan=True)
    assert history.asked == 3
    history.add(19.0, 2)
    assert np.nanmax(read(reader, 0.0, 20.0, 40).high[30:]) > 0
    assert history.asked == 6


def test_marks_are_named_as_on_screens_and_odd_ones_left_alone() -> None:
    marks = [
        Mark(1, "point", "conc8, attempt 2"),
        Mark(2, "run", "p1xtp2-d2xtp2 failed: no GPU"),
        Mark(3, "run", "run 7"),
        Mark(4, "note", "conc8 is slow"),
    ]
    assert [mark.text for mark in named(marks)] == [
        *("c=8, attempt 2", "1P-TP2 + 2D-TP2 failed: no GPU", "run 7", "conc8 is slow"),
    ]


def test_transfers_that_begin_to_fail_are_marked_once() -> None:
    class OneSeries:
        def series(self, key: str, t0: float, t1: float, columns: int) -> Samples:
            high = np.array([np.nan, 0.0, 2.0, 3.0, 0.0, 1.0])
            return Samples(np.arange(6.0), high, high)

    marks = failure_marks(OneSeries(), 0.0, 6.0, 6)  # type: ignore[arg-type]
    assert [(mark.t, mark.kind) for mark in marks] == [(2.0, "flag"), (5.0, "flag")]


def test_a_line_that_ended_a_while_ago_has_no_value_now() -> None:
    line = Samples(np.arange(4.0), np.zeros(4), np.array([1.0, 2.0, 3.0, np.nan]))
    assert current_values({"a": line}, 4.0) == {"a": 3.0}
    assert current_values({"a": line}, 9.0) == {}


# --- actions ---


def test_every_action_has_a_method_and_keys_that_mean_one_thing() -> None:
    keys: dict[str, str] = {}
    for action in (*LiveScreen.ACTIONS, *ConsoleApp.ACTIONS):
        owner = ConsoleApp if action in ConsoleApp.ACTIONS else LiveScreen
        assert hasattr(owner, f"action_{action.method.partition('(')[0]}")
        for key in action.keys:
            assert keys.setdefault(key, action.id) == action.id


# --- replay bar ---


@pytest.mark.parametrize(
    ("text", "to"),
    [
        ("90", 90.0),
        ("90s", 90.0),
        ("1.5m", 90.0),
        ("1:30", 90.0),
        ("0:01:30", 90.0),
        ("+30", 70.0),
        ("-0:10", 30.0),
        ("-1h", 0.0),
        ("50%", 60.0),
        ("end", 120.0),
        ("9:00:00", 120.0),
        ("", None),
        ("soon", None),
        ("1:2:3:4", None),
        ("--5", None),
        ("%", None),
        ("nan", None),
    ],
)
def test_positions_that_people_type(text: str, to: float | None) -> None:
    assert parse_position(text, 40.0, 120.0) == to


@given(st.text(max_size=8), st.floats(0, 120))
def test_whatever_is_typed_leads_into_the_recording_or_nowhere(text: str, t: float) -> None:
    to = parse_position(text, t, 120.0)
    assert to is None or 0 <= to <= 120


@given(st.integers(8, 200), st.floats(0.1, 1e6), st.floats(0, 1))
def test_a_click_on_the_track_leads_to_where_its_knob_then_stands(
    width: int, end: float, share: float
) -> None:
    cell = track_cell(share * end, end, width)
    assert 0 <= cell < width
    assert track_cell(track_time(cell, end, width), end, width) == cell


def test_a_track_without_marks_is_empty() -> None:
    assert marks_line([], 100.0, 100) == []


def test_a_flag_does_not_hide_the_point_that_begins_with_it() -> None:
    marks = [Mark(10, "point", "c=4"), Mark(50, "flag", "x"), Mark(50.001, "point", "c=8")]
    signs = [text for _, text, _ in marks_line(marks, 100.0, 100)]
    assert signs == ["▲ c=4", "⚑", "▲ c=8"]


def test_times_keep_their_width_and_speeds_are_read_as_people_write_them() -> None:
    assert time_text(3725.9) == "1:02:05"
    assert len(time_text(0)) == len(time_text(35999))
    assert [speed_text(s) for s in (0.25, 0.5, 1, 64)] == ["1/4×", "1/2×", "1×", "64×"]


# --- workers ---


def worker(name: str, role: str, t: float = 0.0, **more: object) -> list[ev.Event]:
    return [
        ev.ProcessState(
            run="1", process=name, node="n1", status="ready", role=role, t=t,
        ),
        ev.WorkerSampled(run="1", process=name, node_t=t, t=t, running=3.0, kv_usage=0.5),
    ]  # fmt: skip


def test_rows_keep_their_order_and_count_like_people() -> None:
    names = [("D10", "decode"), ("router", "router"), ("D2", "decode"), ("P1", "prefill")]
    events = [e for name, role in names for e in worker(name, role)]
    assert [row.key for row in worker_rows(fold(events), 1.0)] == ["P1", "D2", "D10", "router"]


def test_silent_is_not_down_and_neither_is_well() -> None:
    events = worker("P1", "prefill", t=10.0)
    state = fold(events)
    assert worker_rows(state, 12.0)[0].cells[1].text == "ready"
    assert worker_rows(state, 30.0)[0].cells[1].text == "stale 20 s"
    lost = ev.NodeLink(node="n1", status="lost")
    assert worker_rows(fold([lost], state), 30.0)[0].cells[1].text == "no link n1"


def test_what_was_not_sampled_is_a_dash_and_not_a_zero() -> None:
    (row,) = worker_rows(fold(worker("D1", "decode")), 1.0)
    texts = {cell.text for cell in row.cells}
    assert "3" in texts
    assert "50.0" in texts
    waiting, preemptions = row.cells[5], row.cells[7]
    assert waiting.text == preemptions.text == "-"


def test_a_failed_worker_says_why() -> None:
    failed = ev.ProcessState(
        run="1", process="P1", node="n1", status="failed", role="prefill", last_log="a\nout of mem"
    )
    (row,) = worker_rows(fold([failed]), 1.0)
    assert row.cells[-1].text == "out of mem"


# --- pairs ---


def request(index: int, prefill: str, decode: str, point: str = "conc4") -> ev.RequestFinished:
    return ev.RequestFinished(
        run="1", point=point, index=index, phase="window", sent_node_t=0.0, ttft_ms=400.0,
        e2el_ms=2000.0, prefill=prefill, decode=decode,
    )  # fmt: skip


def at_point(*more: ev.Event) -> State:
    begin = ev.PointState(run="1", point="conc4", status="warmup")
    return fold([OPENED, ev.RunState(run="1", status="launching"), begin, *more])


def test_pairs_are_of_this_point_only() -> None:
    requests = [request(1, "P1", "D1"), request(2, "P1", "D2", "conc8"), request(3, "P1", "D1")]
    found = pairs_of(at_point(), requests)
    assert found.counts == {("P1", "D1"): 2}
    assert "last 2 requests" in found.of


def test_a_matrix_that_does_not_fit_says_so() -> None:
    counts = {(f"P{p}", f"D{d}"): p * d for p in range(1, 9) for d in range(1, 9)}
    lines = matrix(Pairs(counts, "c=4, window"), 30, 6)
    assert all(len(text_of([line])) <= 30 for line in lines)
    assert len(lines) <= 6
    assert "…" in text_of(lines)


def test_a_pair_that_never_was_is_shown() -> None:
    lines = matrix(Pairs({("P1", "D1"): 5, ("P2", "D2"): 5}, "c=4"), 30, 6)
    assert text_of(lines).count("·") == 2


# --- where a TTFT went ---


def told(index: int, **stages_ms: float) -> ev.RequestFinished:
    return msgspec.structs.replace(request(index, "P1", "D2"), stages_ms=stages_ms)


def test_stages_that_nobody_told_are_unknown() -> None:
    text = text_of(waterfall(at_point(), request(7, "P1", "D2"), "last", [], 60, 16))
    assert "#7" in text
    assert "P1 → D2" in text
    assert "400 ms" in text
    assert "1,600 ms to the last token" in text
    for stage in STAGES["pd"]:
        assert LOOKS[stage].name in text
    assert "? 400" in text
    assert "━" not in text


def test_what_is_told_is_drawn_and_the_rest_has_a_question_mark() -> None:
    mine = told(7, client=20.0, queue=100.0, first_token=30.0)
    lines = text_of(waterfall(at_point(), mine, "last", [], 78, 16)).splitlines()
    bar = lines[1].split(" ms ")[1]
    assert re.fullmatch(r"c━+\?rqp░+otd━+f━+", bar)
    # As long as their times: the remainder is 250 of 400 ms.
    assert bar.count("░") + 4 == pytest.approx(len(bar) * 250 / 400, abs=2)
    numbers = {
        line.split()[0]: line for line in lines if line[1:2] == " " and line[0] in "crqpotdf"
    }
    assert "20" in numbers["c"]
    assert "? 250 │" in numbers["q"]
    assert "100 │" in numbers["t"]
    assert "30" in numbers["f"]


@pytest.mark.parametrize(("width", "height"), [(76, 6), (44, 10), (53, 14), (40, 4), (30, 1)])
def test_a_waterfall_keeps_to_its_room(width: int, height: int) -> None:
    requests = [told(i, client=0.1, queue=i, first_token=9.0) for i in range(9)]
    for mine in (*requests, request(9, "P1", "D2")):
        lines = waterfall(at_point(), mine, "chosen", requests, width, height)
        assert len(lines) <= height
        assert all(len(text_of([line])) <= max(width, 44) for line in lines)


def test_percentiles_are_drawn_as_the_request_next_to_them() -> None:
    latency = {"p50": 405.0, "p99": 900.0}
    result = ev.PointResult(
        run="1", point="conc4", attempt=1, window_s=1.0, completed=1, errors=0,
        request_throughput=1.0, input_throughput=1.0, output_throughput=1.0,
        total_token_throughput=1.0, tokens_per_s_per_gpu=1.0, ttft_ms=latency, tpot_ms={},
        itl_ms={}, e2el_ms={},
    )  # fmt: skip
    known = [told(5, queue=100.0, first_token=30.0)]
    p50, p99 = percentile_bars(at_point(result), known)
    assert (p50.ttft_ms, p50.like) == (405.0, "#5")
    assert p50.parts == parts_of(known[0], "pd")
    assert (p99.ttft_ms, p99.parts, p99.like) == (900.0, (), "")  # nobody is near


# --- which request ---


@given(st.lists(st.integers(-3, 3), max_size=12), st.integers(1, 6))
def test_walking_through_requests_ends_at_the_ends(steps: list[int], count: int) -> None:
    requests = [
        msgspec.structs.replace(request(i, "P1", "D1"), seq=i, t=float(i))
        for i in range(count, 0, -1)
    ]
    pick, at = RequestPick(), 0
    for step in steps:
        pick = pick.moved(step, 99.0, requests)
        at = min(max(at + step, 0), count - 1)
        assert pick.at(99.0, requests) is requests[at]
    assert pick.how(99.0, requests).startswith("last" if at == 0 else str(at))


def test_a_chosen_request_stays_until_time_goes_back_before_it() -> None:
    first, second, third = (
        msgspec.structs.replace(request(i, "P1", "D1"), seq=i, t=float(i)) for i in (1, 2, 3)
    )
    pick = RequestPick().moved(1, 2.0, [second, first])
    assert pick.at(3.0, [third, second, first]) is first
    assert pick.how(3.0, [third, second, first]) == "2 before the last"
    assert pick.how(9.0, [third]) == "chosen"
    assert pick.at(0.5, []) is None


# --- points ---


@given(st.integers(0, 29), st.integers(30, 120))
def test_the_point_under_way_is_always_in_sight(at: int, width: int) -> None:
    points = tuple(f"conc{i}" for i in range(1, 31))
    opened = ev.SessionOpened(
        session="s", experiment="e", cluster="c", model="m", simulated=True,
        runs=(plan("1", "8xtp1", points),),
    )  # fmt: skip
    state = fold(
        [
            opened,
            ev.RunState(run="1", status="launching"),
            ev.PointState(run="1", point=points[at], status="warmup"),
        ]
    )
    text = text_of([strip(state, width)])
    assert f"c={at + 1}" in text.split()
    assert len(text) <= width
