"""A session made up event by event, for tests of the console: two layouts, three points."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

from fake_clock import FakeClock

from pdconsole.journal import JournalWriter, SessionDir
from pdconsole.model import events as ev
from pdconsole.model.statistics import histogram

NODE_AHEAD_S = 500.0  # the node's monotonic time at session second 0


def plan(run: str, layout: str, points: tuple[str, ...]) -> ev.PlannedRun:
    return ev.PlannedRun(
        run=run, layout=layout, strategy="pack", network="cuda-ipc", workload="w", input_len=5000,
        output_len=250, mode="mixed", gpus=8, points=points, result_dir=f"dir{run}",
    )  # fmt: skip


OPENED = ev.SessionOpened(
    session="s", experiment="pd-ratio-sweep", question="which ratio?", cluster="embedded",
    model="gpt-oss-120b", simulated=True,
    runs=(plan("1", "p1xtp2-d2xtp2", ("conc4", "conc8")), plan("2", "4xtp2", ("conc4",))),
)  # fmt: skip


class Recording:
    """Writes a session as a runner would; `clock` is moved on as it goes."""

    def __init__(self, workspace: Path, clock: FakeClock | None = None) -> None:
        self.clock = clock or FakeClock()
        self.directory = SessionDir.create(workspace, "pd-ratio-sweep", self.clock)
        self.journal = JournalWriter(self.directory.events_path, clock=self.clock)
        self._start = self.clock.monotonic()
        self._tokens: dict[str, float] = {}
        self._index = 0

    @property
    def t(self) -> float:
        return self.clock.monotonic() - self._start

    @property
    def node_t(self) -> float:
        return self.t + NODE_AHEAD_S

    def add(self, *events: ev.Event) -> None:
        for event in events:
            self.journal.append(event)

    def whole(self) -> Recording:
        """From start to end: P/D with two points, then collocated with one; about 75 s."""
        self.open()
        self.launch("1", ("P1", "D1", "D2"))
        self.point("1", "conc4")
        self.point("1", "conc8", flags=("few-requests: 8 requests",))
        self.end_run("1")
        self.launch("2", ("C1", "C2", "C3", "C4"))
        self.point("2", "conc4")
        self.end_run("2")
        self.add(ev.SessionState(status="finished"))
        self.journal.close()
        return self

    def open(self) -> None:
        self.add(
            OPENED,
            ev.EpochOpened(epoch=1, pid=1),
            ev.SessionState(status="running"),
            ev.NodeLink(node="node1", status="up"),
            ev.NodeClock(node="node1", offset_s=NODE_AHEAD_S, bound_s=0.001),
        )

    def launch(self, run: str, replicas: tuple[str, ...]) -> None:
        self.add(ev.RunState(run=run, status="launching"))
        self.clock.tick(2.0)
        roles = {"P": "prefill", "D": "decode", "C": "collocated"}
        for i, name in enumerate(replicas):
            self.add(
                ev.ProcessState(
                    run=run,
                    process=name,
                    node="node1",
                    status="ready",
                    role=roles[name[0]],
                    tp=2,
                    slots=(2 * i, 2 * i + 1),
                )
            )
        for name in ("router", "driver"):
            self.add(
                ev.ProcessState(run=run, process=name, node="node1", status="ready", role=name)
            )
        self.replicas = replicas
        self.add(ev.RunState(run=run, status="measuring"))

    def point(
        self, run: str, point: str, *, flags: tuple[str, ...] = (), window_s: int = 15
    ) -> None:
        self.begin_point(run, point)
        for _ in range(4):
            self.second(run, point, "warmup")
        self.add(ev.PointState(run=run, point=point, status="window", target_s=float(window_s)))
        for _ in range(window_s):
            self.second(run, point, "window")
        pairs = {"P1>D1": 9, "P1>D2": 7} if run == "1" else {}
        latency = {"mean": 300.0, "p50": 290.0, "p90": 400.0, "p99": 510.0}
        self.add(
            ev.PointState(run=run, point=point, status="drain"),
            ev.PointResult(
                run=run, point=point, attempt=1, window_s=float(window_s), completed=16, errors=0,
                request_throughput=1.0, input_throughput=5000.0, output_throughput=250.0,
                total_token_throughput=5250.0, tokens_per_s_per_gpu=656.0, ttft_ms=latency,
                tpot_ms=latency, itl_ms=latency, e2el_ms=latency, flags=flags, pairs=pairs,
            ),
            ev.PointState(run=run, point=point, status="done"),
        )  # fmt: skip

    def begin_point(self, run: str, point: str) -> None:
        self.add(ev.PointState(run=run, point=point, status="warmup", target_requests=8))

    def second(self, run: str, point: str, phase: str) -> None:
        """A second under load: a tick, a request, and what the workers say."""
        self.clock.tick(1.0)
        ttft = 300.0 + 40 * math.sin(self.t)
        self.add(*self._samples(run))
        self._index += 1
        decode = f"D{1 + self._index % 2}" if run == "1" else ""
        self.add(
            ev.PointTick(
                run=run, point=point, node_t=self.node_t, dt_s=1.0, phase=phase, in_flight=4,
                sent=1, finished=1, errors=0, input_tokens=5000, output_tokens=250,
                ttft=histogram([ttft]), tpot=histogram([6.0]), itl=histogram([6.0] * 50),
            ),
            ev.RequestFinished(
                run=run, point=point, index=self._index, phase=phase, sent_node_t=self.node_t - 2,
                ttft_ms=ttft, tpot_ms=6.0, e2el_ms=ttft + 1500, input_tokens=5000,
                output_tokens=250, prefill="P1" if decode else "", decode=decode,
            ),
        )  # fmt: skip

    def _samples(self, run: str) -> Iterator[ev.Event]:
        for name in self.replicas:
            yield ev.WorkerSampled(
                run=run, process=name, node_t=self.node_t, running=2.0, waiting=1.0, kv_usage=0.25,
                preemptions=0.0,
            )  # fmt: skip
            if name.startswith("D"):
                moved = self._tokens[run + name] = self._tokens.get(run + name, 0.0) + 1e9
                yield ev.NixlSampled(
                    run=run, process=name, node_t=self.node_t, bytes=moved, transfers=moved / 1e9,
                    xfer_s=moved / 4e9, failed_transfers=0.0, expired=0.0,
                )  # fmt: skip

    def end_run(self, run: str) -> None:
        self.add(ev.RunState(run=run, status="stopping"))
        self.clock.tick(1.0)
        self.add(ev.RunState(run=run, status="done"))
