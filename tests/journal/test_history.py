from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from fake_clock import FakeClock
from hypothesis import given, settings
from hypothesis import strategies as st

from pdconsole.journal.history import History, SeriesView
from pdconsole.journal.keyframes import KeyframeWriter
from pdconsole.journal.reader import read_events
from pdconsole.journal.series import ORIGIN, Numbers, SeriesWriter, read_series
from pdconsole.journal.session import SessionDir
from pdconsole.journal.writer import JournalWriter
from pdconsole.model import events as ev
from pdconsole.model.state import State, fold
from pdconsole.model.statistics import histogram

EVERY = 2000  # bytes: some ten events between two keyframes
RUNS = tuple(
    ev.PlannedRun(
        run=run, layout=f"p{run}xtp1-d1xtp1", strategy="pack", network="srd", workload="w",
        input_len=100, output_len=10, mode="mixed", gpus=2, points=("conc4", "conc8"),
        result_dir="r",
    )
    for run in ("1", "2")
)  # fmt: skip
OPENED = ev.SessionOpened(
    session="s", experiment="e", cluster="c", model="m", simulated=True, runs=RUNS
)


def an_event(rng: random.Random, clock: FakeClock) -> ev.Event:
    """Anything that changes the state, and some that only some readers care for."""
    run, point = rng.choice("12"), rng.choice(("conc4", "conc8"))
    process, node, node_t = rng.choice(("P1", "D1")), rng.choice(("n1", "n2")), clock.mono + 500
    match rng.randrange(13):
        case 0:
            status = rng.choice(("launching", "ready", "measuring", "done", "failed"))
            return ev.RunState(run=run, status=status)
        case 1:
            status = rng.choice(("warmup", "window", "drain", "done", "failed"))
            return ev.PointState(run=run, point=point, status=status, attempt=rng.randint(1, 2))
        case 2 | 3:
            ttft = histogram(rng.expovariate(0.01) for _ in range(3))
            return ev.PointTick(
                run=run, point=point, node_t=node_t, dt_s=1.0, phase="window", in_flight=4, sent=2,
                finished=2, errors=0, input_tokens=200, output_tokens=20, ttft=ttft,
            )  # fmt: skip
        case 4:
            status = rng.choice(("starting", "ready", "failed"))
            return ev.ProcessState(run=run, process=process, node=node, status=status, slots=(1,))
        case 5:
            # JSON has no NaN: whoever reads it back finds nothing there.
            usage = rng.choice((0.5, float("nan"), None))
            return ev.WorkerSampled(run=run, process=process, node_t=node_t, kv_usage=usage)
        case 6:
            return ev.NixlSampled(
                run=run, process=process, node_t=node_t, bytes=1e9 * clock.mono, transfers=3.0,
                xfer_s=clock.mono / 7,
            )  # fmt: skip
        case 7:
            return ev.NodeClock(node=node, offset_s=500.0 + rng.random(), bound_s=0.001)
        case 8:
            # Perhaps from before a lost connection.
            taken = node_t - rng.choice((0, 0, 40))
            gpus = (ev.GpuSample(index=0, util_pct=float(rng.randrange(100))),)
            return ev.GpusSampled(node=node, node_t=taken, gpus=gpus)
        case 9:
            return ev.CheckResult(node=node, check="disk", verdict="ok", value=str(rng.random()))
        case 10:
            return ev.Note(level="info", message='a "request.finished" in a note')
        case 11:
            status = rng.choice(("up", "lost"))
            return ev.NodeLink(node=node, status=status)
        case _:
            return ev.RequestFinished(
                run=run, point=point, index=rng.randrange(999), phase="window", sent_node_t=node_t
            )


class Recorder:
    """Records a session as the runner does, with what can befall a runner."""

    def __init__(self, session: SessionDir, seed: int, *, keyframes: bool = True) -> None:
        self.session = session
        self.epoch = 0
        self._rng = random.Random(seed)
        self._clock = FakeClock()
        self._with_keyframes = keyframes
        self._keyframes: KeyframeWriter | None = None
        self._open()

    def _open(self) -> None:
        self.epoch += 1
        self._journal = JournalWriter(self.session.events_path, clock=self._clock)
        self._series = SeriesWriter(self.session.series_path)
        if self._with_keyframes:
            self._keyframes = KeyframeWriter(
                self.session.keyframes_path, self.session.events_path, every=EVERY
            )
        self._append(OPENED)
        self._append(ev.EpochOpened(epoch=self.epoch, pid=1))

    def _append(self, event: ev.Event) -> None:
        self._series.add(self._journal.append(event))

    def record(self, count: int) -> None:
        for _ in range(count):
            self._clock.tick(self._rng.choice((0.0, 0.01, 0.4)))
            self._append(an_event(self._rng, self._clock))

    def flush(self) -> None:
        self._journal.flush()
        self._series.flush()
        if self._keyframes is not None:
            self._keyframes.catch_up()

    def crash(self, torn: bytes) -> None:
        """The runner is killed: what it had not written is lost, perhaps amid a line."""
        self._journal._file.close()
        self._series._file.close()
        if self._keyframes is not None:
            self._keyframes.close()
        with self.session.events_path.open("ab") as file:
            file.write(torn)

    def resume(self) -> None:
        self._clock.reboot(away_s=30)
        self._open()

    def skip_a_line(self) -> None:
        """A line that is missing, and one of a later version's type."""
        self._journal.flush()
        self._journal.seq += 2
        line = b'{"type":"not.yet","seq":%d,"t":%.6f}\n' % (self._journal.seq, self._journal.t)
        self._journal._file.append(line)

    def close(self) -> None:
        self.flush()
        self._journal.close()
        self._series.close()
        if self._keyframes is not None:
            self._keyframes.close()


@contextmanager
def a_session() -> Iterator[SessionDir]:
    with TemporaryDirectory() as directory:
        yield SessionDir.create(Path(directory), "e", FakeClock())


steps = st.lists(
    st.one_of(
        st.tuples(st.just("record"), st.integers(1, 60)),
        st.tuples(st.just("flush"), st.just(0)),
        st.tuples(st.just("crash"), st.integers(0, 40)),
        st.tuples(st.just("skip"), st.just(0)),
    ),
    min_size=1,
    max_size=12,
)


def carry_out(recorder: Recorder, step: tuple[str, int]) -> None:
    match step:
        case "record", count:
            recorder.record(count)
        case "flush", _:
            recorder.flush()
        case "crash", torn:
            recorder.crash(b'{"type":"note","seq":9,"t":1.0,"message":"half of a line'[:torn])
            recorder.resume()
        case _:
            recorder.skip_a_line()


def expected(events: list[ev.AnyEvent], t: float) -> State:
    return fold(event for event in events if event.t <= t)


@settings(max_examples=25, deadline=None)
@given(steps, st.integers(0, 2**32), st.data())
def test_live_replayed_and_from_any_keyframe_are_one(
    plan: list[tuple[str, int]], seed: int, data: st.DataObject
) -> None:
    with a_session() as session:
        recorder = Recorder(session, seed)
        watching = History(session, every=EVERY)
        for step in plan:
            carry_out(recorder, step)
            watching.poll()
            assert watching.latest() == fold(read_events(session.events_path))
        recorder.close()
        watching.poll()
        replayed = History(session, every=EVERY)
        session.keyframes_path.unlink()
        rebuilt = History(session, every=EVERY)

        events = list(read_events(session.events_path))
        moments = sorted({event.t for event in events})
        for _ in range(12):
            t = data.draw(st.sampled_from(moments)) + data.draw(st.sampled_from((0, -1e-6, 1e-3)))
            requests = [e for e in events if isinstance(e, ev.RequestFinished) and e.t <= t][::-1]
            for history in (watching, replayed, rebuilt):
                assert history.state_at(t) == expected(events, t)
                assert list(history.requests(t, 7)) == requests[:7]
        for history in (watching, replayed, rebuilt):
            assert history.end_t == moments[-1]
            assert history.latest() == fold(events)
            assert history.marks(0, 1e9) == rebuilt.marks(0, 1e9)
            for i in range(len(history._keyframes)):
                begin = history._keyframes[i]
                before = [e for e in events if e.seq <= begin.seq]
                tail = events[len(before) :]
                assert history._keyframes.state(i) == fold(before)
                assert fold(tail, history._keyframes.state(i)) == history.latest()
                assert begin.t <= min((e.t for e in events if e.seq > begin.seq), default=1e9)
            history.close()


@settings(max_examples=20, deadline=None)
@given(steps, st.integers(0, 2**32), st.sampled_from(("kept", "lost", "crashed")))
def test_series_hold_each_sample_wherever_it_is_kept(
    plan: list[tuple[str, int]], seed: int, sidecar: str
) -> None:
    with a_session() as session:
        recorder = Recorder(session, seed)
        for step in plan:
            if not (sidecar == "crashed" and step[0] == "crash"):  # a resume makes the sidecar good
                carry_out(recorder, step)
        if sidecar == "crashed":
            recorder.crash(b"")
        else:
            recorder.close()
        whole = session.path / "whole.bin"
        SeriesWriter(whole, session.events_path).close()
        tables = read_series(whole)
        if sidecar == "lost":
            session.series_path.unlink()
        with History(session, every=EVERY) as history:
            names = {
                "/".join((*key, name)) for key, table in tables.items() for name in table.columns
            }
            if sidecar != "crashed":
                assert set(history.keys()) >= names
            for key, table in tables.items():
                for name, values in table.columns.items():
                    if sidecar == "crashed" and name.startswith(("live_", "running", "waiting")):
                        continue  # these speak of samples that may be before what is read
                    key_name = "/".join((*key, name))
                    view = history.series(key_name, -100.0, history.end_t, 50)
                    there = ~np.isnan(values)
                    assert_within(view, table.t[there], values[there])


def assert_within(view: SeriesView, t: Numbers, values: Numbers) -> None:
    """Nothing is lost, and nothing is further off than the next column."""
    width = view.t[1] - view.t[0]
    for low, high, centre in zip(view.low, view.high, view.t, strict=True):
        inside = values[np.abs(t - centre) < width * 0.499]
        near = values[np.abs(t - centre) < width * 1.501]
        if len(inside):
            assert low <= inside.min()
            assert high >= inside.max()
        if np.isnan(low):
            assert np.isnan(high)
        else:
            assert low in near
            assert high in near


def test_a_spike_is_seen_from_far_away(tmp_path: Path) -> None:
    session = SessionDir.create(tmp_path, "e", FakeClock())
    clock = FakeClock()
    with (
        JournalWriter(session.events_path, clock=clock) as journal,
        SeriesWriter(session.series_path) as series,
    ):
        for i in range(10_000):
            clock.tick(1.0)
            gpus = (ev.GpuSample(index=0, util_pct=100.0 if i == 7000 else 1.0),)
            series.add(journal.append(ev.GpusSampled(node="n1", node_t=0.0, gpus=gpus)))
    with History.open(session) as history:
        far = history.series("gpus/n1/0.util_pct", 0.0, 10_000.0, 10)
        assert np.nanmax(far.high) == 100.0
        assert abs(far.t[np.nanargmax(far.high)] - 7001.0) <= 1000.0
        near = history.series("gpus/n1/0.util_pct", 6990.0, 7010.0, 20)
        assert near.t[np.nanargmax(near.high)] == pytest.approx(7001.5)
        assert np.nanmax(history.series("gpus/*/0.util_pct", 0, 1e4, 10).high) == 100.0
        assert np.isnan(history.series("gpus/n2/0.util_pct", 0, 1e4, 10).high).all()


def test_keyframes_of_other_code_another_recording_or_lost_lines_are_not_believed(
    tmp_path: Path,
) -> None:
    sessions = []
    for seed in (1, 2):
        session = SessionDir.create(tmp_path, f"e{seed}", FakeClock())
        recorder = Recorder(session, seed)
        recorder.record(800)
        recorder.close()
        sessions.append(session)
    one, other = sessions
    good = one.keyframes_path.read_bytes()
    kept = History(one)
    assert len(kept._keyframes) > 10

    def begins_with(data: bytes) -> int:
        one.keyframes_path.write_bytes(data)
        with History(one) as history:
            assert history.latest() == kept.latest()
            assert history.state_at(kept.end_t / 2) == kept.state_at(kept.end_t / 2)
            return len(history._keyframes)

    assert begins_with(good) == len(kept._keyframes)
    assert begins_with(good[:-1]) == len(kept._keyframes) - 1
    assert begins_with(good.replace(b'"code":"', b'"code":"0', 1)) == 1
    assert begins_with(other.keyframes_path.read_bytes()) == 1
    assert begins_with(b"nonsense") == 1

    # Power failed: the recording lost its end, the keyframes did not; then it went on otherwise.
    one.keyframes_path.write_bytes(good)
    lines = one.events_path.read_bytes().splitlines(keepends=True)
    one.events_path.write_bytes(b"".join(lines[: len(lines) // 2]))
    with JournalWriter(one.events_path) as journal:
        for _ in range(400):
            journal.append(ev.Note(level="info", message="another end"))
    with KeyframeWriter(one.keyframes_path, one.events_path, every=EVERY) as writer:
        writer.catch_up()
    with History(one) as history:
        assert len(history._keyframes) > 10
        events = list(read_events(one.events_path))
        for i, keyframe in enumerate(history._keyframes):
            before = (event for event in events if event.seq <= keyframe.seq)
            assert history._keyframes.state(i) == fold(before)


def test_lost_keyframes_are_written_anew_once_the_session_is_over(tmp_path: Path) -> None:
    session = SessionDir.create(tmp_path, "e", FakeClock())
    recorder = Recorder(session, 1, keyframes=False)
    recorder.record(1200)
    recorder.close()
    shares: list[float] = []
    with session.hold(), History(session, every=EVERY, progress=shares.append) as history:
        assert history.is_live
        assert not session.keyframes_path.exists()
    assert shares[-1] == 1.0
    History(session, every=EVERY).close()
    with History(session) as history:
        assert not history.is_live
        assert history._keyframes.added() == 0
        assert len(history._keyframes) > 10


def test_series_of_another_version_are_written_anew_once_the_session_is_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = SessionDir.create(tmp_path, "e", FakeClock())
    recorder = Recorder(session, 3)
    recorder.record(1500)
    recorder.close()
    whole = read_series(session.series_path)
    session.series_path.write_bytes(session.series_path.read_bytes().removeprefix(ORIGIN))
    with session.hold():
        History(session, every=EVERY).close()
    assert read_series(session.series_path) == {}  # it is the runner's to write
    History(session, every=EVERY).close()
    assert read_series(session.series_path) == {}  # and there is little of it
    monkeypatch.setattr("pdconsole.journal.history.MANY_ROWS", 1)
    with History(session, every=EVERY) as history:
        keys = history.keys()
        shown = {key: history.series(key, 0.0, history.end_t, 50) for key in keys}
    written = read_series(session.series_path)
    assert written.keys() == whole.keys()
    for key, table in whole.items():
        assert np.array_equal(written[key].seq, table.seq)
        for name, column in table.columns.items():
            assert np.array_equal(written[key].columns[name], column, equal_nan=True)
    with History(session, every=EVERY) as history:
        assert history._series.held() == 0
        for key, view in shown.items():
            again = history.series(key, 0.0, history.end_t, 50)
            assert np.array_equal(again.high, view.high, equal_nan=True)


def test_marks_and_jumps(tmp_path: Path) -> None:
    session = SessionDir.create(tmp_path, "e", FakeClock())
    clock = FakeClock()
    result = ev.PointResult(
        run="1", point="conc4", attempt=1, window_s=1, completed=1, errors=0, request_throughput=1,
        input_throughput=1, output_throughput=1, total_token_throughput=1, tokens_per_s_per_gpu=1,
        ttft_ms={}, tpot_ms={}, itl_ms={}, e2el_ms={}, flags=("handshakes: 2", "few-requests: 3"),
    )  # fmt: skip
    with JournalWriter(session.events_path, clock=clock) as journal:
        for event in (
            OPENED,
            ev.RunState(run="1", status="launching"),
            ev.PointState(run="1", point="conc4", status="warmup"),
            ev.PointState(run="1", point="conc4", status="window"),
            result,
            ev.PointState(run="1", point="conc4", status="warmup", attempt=2),
            ev.ProcessState(run="1", process="D1", node="n1", status="failed", message="OOM"),
            ev.CommandReceived(command="skip"),
            ev.EpochOpened(epoch=2, pid=1),
        ):
            clock.tick(1.0)
            journal.append(event)
    with History.open(session) as history:
        found = [(round(m.t), m.kind, m.text) for m in history.marks(0, 1e9)]
        assert found == [
            (2, "run", "p1xtp1-d1xtp1"),
            (3, "point", "conc4"),
            (5, "flag", "conc4: handshakes: 2"),
            (5, "flag", "conc4: few-requests: 3"),
            (6, "point", "conc4, attempt 2"),
            (7, "note", "D1 failed: OOM"),
            (8, "command", "skip"),
            (9, "session", "session resumed, epoch 2"),
        ]
        assert history.start_wall == pytest.approx(1_800_000_000.0)
        first = history.next_mark(0, ("point",))
        assert first is not None
        again = history.next_mark(first.t, ("point", "note"))
        assert again is not None
        assert again.text == "conc4, attempt 2"
        assert (
            history.next_mark(again.t, ("point", "flag"), back=True) == history.marks(4.5, 5.5)[-1]
        )
        assert history.next_mark(again.t, ("point",)) is None


def test_a_recording_that_has_hardly_begun(tmp_path: Path) -> None:
    session = SessionDir.create(tmp_path, "e", FakeClock())
    session.events_path.write_bytes(b'{"type":"hea')
    history = History.open(session)
    assert history.latest() == State()
    assert (history.keys(), history.marks(0, 1), history.requests(1)) == ((), (), ())
    assert not history.poll()
    clock = FakeClock()
    with JournalWriter(session.events_path, clock=clock) as journal:
        clock.tick(2.0)
        journal.append(ev.SessionState(status="running"))
    assert history.poll()
    assert (history.latest().status, history.end_t) == ("running", 2.0)
    assert history.start_wall == pytest.approx(1_800_000_000.0)
