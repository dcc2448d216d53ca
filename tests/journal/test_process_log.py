from __future__ import annotations

import random
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pdconsole.journal.process_log import ProcessLog


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=50
)
@given(st.binary(min_size=1, max_size=400), st.integers())
def test_reconnects_and_crashes_neither_lose_nor_repeat(
    tmp_path: Path, source: bytes, seed: int
) -> None:
    rng = random.Random(seed)
    path = Path(tempfile.mkdtemp(dir=tmp_path)) / "P1.log"
    log = ProcessLog(path)
    while log.next_offset < len(source):
        # The node sends from what we have, from earlier (a chunk was on its way when the
        # connection broke), or goes on as if what was lost had arrived.
        start = max(0, log.next_offset + rng.randint(-30, 20))
        chunk = source[start : start + rng.randint(1, 50)]
        before = log.next_offset
        after = log.append(start, chunk)
        assert after == (before if start > before else max(before, start + len(chunk)))
        if rng.random() < 0.2:
            log.close()
            log = ProcessLog(path)
    log.close()
    assert path.read_bytes() == source


def test_a_process_started_anew_gets_a_file_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "n1" / "P1.log"
    with ProcessLog(path) as log:
        log.append(0, b"INFO hello 10:00\n")
        # The first chunk of the second start is a piece of the first one's log.
        log.append(0, b"INFO hello ")
        log.append(11, b"11:30\nmore\n")
        assert log.next_offset == 22
    assert path.read_bytes() == b"INFO hello 10:00\n"
    assert path.with_name("P1.2.log").read_bytes() == b"INFO hello 11:30\nmore\n"
    with ProcessLog(path) as log:
        assert log.next_offset == 22
        log.append(0, b"third")
    assert path.with_name("P1.3.log").read_bytes() == b"third"


def test_many_logs_do_not_use_up_the_files_a_process_may_open(tmp_path: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    logs = [ProcessLog(tmp_path / f"{number}-P1.log") for number in range(50)]
    for log in logs:
        log.append(0, b"INFO loading weights\n")
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    assert [log.next_offset for log in logs] == [21] * 50
