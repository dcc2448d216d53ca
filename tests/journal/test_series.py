from __future__ import annotations

import hashlib
import random
from pathlib import Path

import msgspec
import numpy as np
import pytest
from fake_clock import FakeClock

from pdconsole.journal.errors import JournalError
from pdconsole.journal.series import ORIGIN, Series, SeriesWriter, read_series, series_keys
from pdconsole.journal.writer import JournalWriter
from pdconsole.model import events as ev
from pdconsole.model.series import FOLD_VERSION, SeriesFold, SeriesKey
from pdconsole.model.statistics import histogram


def an_event(rng: random.Random, clock: FakeClock) -> ev.Event:
    node_t = clock.mono + 500
    match rng.randrange(5):
        case 0:
            gpus = tuple(
                ev.GpuSample(index=i, util_pct=rng.choice([None, 50.0]), power_w=rng.random())
                for i in range(rng.randint(1, 3))
            )
            return ev.GpusSampled(node="n1", node_t=node_t, gpus=gpus)
        case 1:
            # More than float32 can hold, and a device that comes later.
            counters = {f"efa{i}": {"tx_bytes": 2**52 + rng.randrange(9)} for i in range(2)}
            return ev.NicsSampled(node="n1", node_t=node_t, counters=counters)
        case 2:
            return ev.WorkerSampled(
                run="1", process=f"P{rng.randint(1, 2)}", node_t=node_t, running=rng.random()
            )
        case 3:
            itl = histogram(rng.expovariate(0.1) for _ in range(20))
            return ev.PointTick(
                run="1", point="conc4", node_t=node_t, dt_s=1.0, phase="window", in_flight=4,
                sent=1, finished=1, errors=0, input_tokens=5000, output_tokens=40, itl=itl,
            )  # fmt: skip
        case _:
            return ev.Note(level="info", message="no numbers")


def record(directory: Path, events: int, *, epochs: int = 1, crash: bool = False) -> None:
    """A session whose sidecar is written live; with `crash` each epoch loses its last rows."""
    rng, clock = random.Random(7), FakeClock()
    for _ in range(epochs):
        with JournalWriter(directory / "events.jsonl", clock=clock) as journal:
            series = SeriesWriter(directory / "series.bin", directory / "events.jsonl")
            for i in range(events):
                clock.tick(0.3)
                series.add(journal.append(an_event(rng, clock)))
                if i == events // 2:
                    series.flush()
            if crash:
                series._file.close()
            else:
                series.close()
        clock.reboot(away_s=30)


def assert_equal(one: dict[SeriesKey, Series], other: dict[SeriesKey, Series]) -> None:
    assert one.keys() == other.keys()
    for key, series in one.items():
        np.testing.assert_array_equal(series.seq, other[key].seq)
        np.testing.assert_array_equal(series.t, other[key].t)
        assert series.columns.keys() == other[key].columns.keys()
        for name, column in series.columns.items():
            np.testing.assert_array_equal(column, other[key].columns[name])


@pytest.mark.parametrize("crash", [False, True])
def test_what_is_rebuilt_equals_what_was_written_live(tmp_path: Path, crash: bool) -> None:
    record(tmp_path, 1500, epochs=2, crash=crash)
    live = tmp_path / "series.bin"
    rebuilt = tmp_path / "rebuilt.bin"
    SeriesWriter(live, tmp_path / "events.jsonl").close()  # a crash leaves rows to make good
    SeriesWriter(rebuilt, tmp_path / "events.jsonl").close()
    assert_equal(read_series(live), read_series(rebuilt))
    assert len(read_series(live)["worker", "1", "P1"]) > 100
    tx = read_series(live)["nics", "n1"].columns["efa1.tx_bytes"]
    assert {int(x) - 2**52 for x in tx} == set(range(9))


@pytest.mark.parametrize("lost", [1, 50, 700])
def test_a_torn_block_is_left_out_and_made_good(tmp_path: Path, lost: int) -> None:
    record(tmp_path, 600)
    path = tmp_path / "series.bin"
    whole = read_series(path)
    path.write_bytes(path.read_bytes()[:-lost])
    assert sum(map(len, read_series(path).values())) < sum(map(len, whole.values()))
    SeriesWriter(path, tmp_path / "events.jsonl").close()
    assert_equal(read_series(path), whole)


def test_some_keys_only(tmp_path: Path) -> None:
    record(tmp_path, 200)
    path = tmp_path / "series.bin"
    key = ("point", "1", "conc4")
    assert key in series_keys(path)
    assert_equal(read_series(path, [key]), {key: read_series(path)[key]})


def test_what_never_was_takes_no_room(tmp_path: Path) -> None:
    record(tmp_path, 200)
    tables = read_series(tmp_path / "series.bin")
    assert "late_ms" not in tables["worker", "1", "P1"].columns
    assert "itl_p99" in tables["point", "1", "conc4"].columns
    assert "ttft_p50" not in tables["point", "1", "conc4"].columns


def test_a_damaged_sidecar_says_that_it_can_be_deleted(tmp_path: Path) -> None:
    path = tmp_path / "series.bin"
    path.write_bytes(ORIGIN + b"nonsense\n")
    with pytest.raises(JournalError, match="delete it"):
        read_series(path)


def test_a_sidecar_of_another_version_is_made_anew(tmp_path: Path) -> None:
    record(tmp_path, 200)
    path = tmp_path / "series.bin"
    whole = read_series(path)
    for old in (b"", b'{"fold":0}\n'):  # the first version had no such line
        path.write_bytes(old + path.read_bytes().removeprefix(ORIGIN).removeprefix(b'{"fold":0}\n'))
        assert read_series(path) == {}
        assert series_keys(path) == []
    SeriesWriter(path, tmp_path / "events.jsonl").close()
    assert_equal(read_series(path), whole)


def test_another_fold_has_another_version() -> None:
    """If this fails, rows have changed: raise FOLD_VERSION, and write the new pair here."""
    rng, clock, fold = random.Random(11), FakeClock(), SeriesFold()
    digest = hashlib.sha256()
    for seq in range(1, 2000):
        clock.tick(0.3)
        event = msgspec.structs.replace(an_event(rng, clock), seq=seq, t=clock.mono)
        row = fold.row(event)
        if row is not None:
            values = {name: f"{value:.9g}" for name, value in sorted(row.values.items())}
            digest.update(repr((row.key, f"{row.t:.6f}", values)).encode())
    assert (FOLD_VERSION, digest.hexdigest()[:16]) == (3, "bfe22a2ceab42d7c")


def test_a_late_sample_is_put_where_it_was_taken() -> None:
    fold = SeriesFold()
    fold.row(ev.NodeClock(node="n1", offset_s=100.0, bound_s=0.001))
    fold.row(ev.ProcessState(run="1", process="driver", node="n1", status="ready"))
    late = ev.GpusSampled(t=90.0, node="n1", node_t=140.0, gpus=())
    row = fold.row(late)
    assert row is not None
    assert row.t == pytest.approx(40.0)
    early = ev.WorkerSampled(t=50.0, run="1", process="driver", node_t=150.5)
    row = fold.row(early)  # half a second of clock error does not put it in the future
    assert row is not None
    assert row.t == 50.0
