"""The log line by which vLLM 0.11.0 counts KV transfers."""

from __future__ import annotations

from pdconsole.measure.transfer_log import TransferLogs
from pdconsole.model.events import NixlSampled
from pdconsole.remote.values import ClockSeen, LogChunk

PREFIX = b"(APIServer pid=9) INFO 10-05 12:00:10 [metrics.py:96] "
OLD = PREFIX + b"KV Transfer metrics: num_successful_transfers=%d\n"
NEWER = PREFIX + b"KV Transfer metrics: Num successful transfers=1, Avg xfer time (ms)=1.945\n"


def test_counts_add_up_over_lines_that_are_cut_anywhere() -> None:
    log = b"INFO ready\n" + OLD % 12 + b"INFO other\n" + OLD % 30
    for cut in range(len(log)):
        logs = TransferLogs(clock=lambda: 50.0)
        logs.take(ClockSeen("n1", offset_s=1000.0, bound_s=0.001))
        parts = ((0, log[:cut]), (cut, log[cut:]))
        found = [logs.take(LogChunk("n1", "s/1/D1", offset, part)) for offset, part in parts]
        last = [sample for sample in found if sample is not None][-1]
        assert last == NixlSampled(
            run="1", process="D1", node_t=1050.0, transfers=42.0, source="log"
        )
        assert last.bytes is None  # not in the line, so not made up


def test_a_process_that_was_started_anew_counts_anew() -> None:
    logs = TransferLogs()
    logs.take(LogChunk("n1", "s/1/D1", 0, OLD % 5))
    again = logs.take(LogChunk("n1", "s/1/D1", 0, OLD % 2))
    assert again is not None
    assert again.transfers == 2.0
    other = logs.take(LogChunk("n2", "s/1/D1", 0, OLD % 7))
    assert other is not None
    assert other.transfers == 7.0


def test_lines_of_newer_versions_say_nothing_that_metrics_do_not() -> None:
    assert TransferLogs().take(LogChunk("n1", "s/1/D1", 0, NEWER)) is None
