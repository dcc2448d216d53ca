"""The load driver's own process: what it writes is what measuring reads."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import fake_measuring as fake
import msgspec
import pytest

from pdconsole.measure.conclusion import Circumstances, conclude
from pdconsole.measure.driver_log import DriverLog
from pdconsole.measure.driver_spec import driver_spec, target_of
from pdconsole.measure.rows import parse_gaps
from pdconsole.model import events as ev
from pdconsole.model.quality import Limits
from pdconsole.model.workload import MeasurePolicy, Point

ID = "cmpl-___prefill_addr_10.0.0.1:8100___decode_addr_10.0.0.1:8101_0123abcd"


class Server(BaseHTTPRequestHandler):
    """Streams as many tokens as asked for, 4 ms apart, with usage at the end."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for _ in range(asked["max_tokens"]):
            time.sleep(0.004)
            self.event({"id": ID, "choices": [{"index": 0, "text": "a"}]})
        prompt, output = len(asked["prompt"]), asked["max_tokens"]
        usage = {"prompt_tokens": prompt, "completion_tokens": output}
        self.event({"id": ID, "choices": [], "usage": usage})
        self.chunk(b"data: [DONE]\n\n")
        self.wfile.write(b"0\r\n\r\n")

    def event(self, content: dict[str, object]) -> None:
        self.chunk(b"data: %s\n\n" % json.dumps(content).encode())

    def chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Server) as httpd:
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{httpd.server_address[1]}"
        httpd.shutdown()


@pytest.mark.parametrize("point", [Point("concurrency", 4), Point("request_rate", 60)])
def test_a_point_of_a_real_driver(tmp_path: Path, server: str, point: Point):
    run = fake.run_plan("2xTP1")
    deployment = fake.deployment_of(run)
    policy = MeasurePolicy(warmup_rounds=1, warmup_s=0.1, min_requests=12, min_window_s=0.2)
    target = target_of(run.workload, deployment.workers, server)
    spec = driver_spec(
        target=target,
        workers=deployment.workers,
        workload=run.workload,
        point=point,
        policy=policy,
        served_name="m",
        vocab=(1000, 30000),
        seed="s",
    )
    (tmp_path / "spec.json").write_bytes(msgspec.json.encode(spec))
    done = subprocess.run(
        [sys.executable, "-m", "pdconsole.agent", "drive", str(tmp_path / "spec.json")],
        capture_output=True,
        timeout=60,
        check=True,
    )
    log = DriverLog("1", point.id, 1)
    events = [event for line in done.stdout.splitlines() for event in log.take(line)]
    assert log.summary is not None
    measured = conclude(
        log,
        parse_gaps((tmp_path / "gaps.bin").read_bytes()),
        Circumstances(
            run=run,
            point=point,
            attempt=1,
            policy=policy,
            target=target,
            workers=deployment.workers,
            limits=Limits(),
            seed="s",
            driver_node="a",
            started_wall=0.0,
            opened=None,
            closed=None,
            router_cores=None,
            still_busy=None,
        ),
    )
    result = measured.result
    assert result.completed == log.summary.completed >= 12
    assert result.errors == log.summary.errors == 0
    assert measured.output_tokens == log.summary.output_tokens == 3 * result.completed
    assert measured.input_tokens == 64 * result.completed
    assert result.window_s == pytest.approx(measured.t1_node_t - measured.t0_node_t, abs=1e-5)
    assert result.pairs == {"C1>C2": result.completed}  # by the addresses in the request ids
    assert all(len(row.gaps_ms) == 2 for row in measured.requests if not row.error)
    for row in measured.requests:
        assert sum(row.gaps_ms) == pytest.approx(row.e2el_ms - row.ttft_ms, abs=0.01)
    states = [e.status for e in events if isinstance(e, ev.PointState)]
    assert states == ["window", "drain"]
    ticks = [e for e in events if isinstance(e, ev.PointTick)]
    assert sum(t.finished for t in ticks) == len(measured.requests)
