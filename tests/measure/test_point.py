"""A whole point against fake nodes whose driver plays a script."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import fake_measuring as fake
import pytest

from pdconsole.measure.errors import MeasureError
from pdconsole.measure.point import measure_point
from pdconsole.model import events as ev
from pdconsole.model.plan import planned_run
from pdconsole.remote.errors import RemoteError
from pdconsole.remote.feed import NewsFeed
from pdconsole.remote.values import LinkChanged, ProcessInfo

DRIVER = f"{fake.SESSION}/1/driver-conc2-1"
IDLE = 'vllm:num_requests_running{engine="0"} 0\nvllm:kv_cache_usage_perc{engine="0"} 0\n'


class Bench:
    """One point on a PD layout over two nodes; `script` is what its driver does."""

    def __init__(self, script: fake.Script = fake.whole_point, **workload: Any) -> None:
        self.run = fake.run_plan(on=("a", "b"), **workload)
        self.deployment = fake.deployment_of(self.run)
        self.metrics = {w.metrics_url: IDLE for w in self.deployment.workers}
        self.feed = NewsFeed()
        self.nodes = {n: fake.FakeNode(n, self.feed, script, self.metrics) for n in ("a", "b")}
        self.control = fake.Control()
        self.events: list[ev.Event] = []

    async def measure(self):
        return await measure_point(
            run=self.run,
            point=fake.POINT,
            attempt=1,
            deployment=self.deployment,
            nodes=self.nodes,
            policy=fake.POLICY,
            model=fake.MODEL,
            cluster=fake.CLUSTER,
            session=fake.SESSION,
            seed="s",
            emit=self.events.append,
            feed=self.feed,
            control=self.control,
        )

    async def fail(self) -> str:
        with pytest.raises(MeasureError) as caught:
            await self.measure()
        return str(caught.value)

    @property
    def statuses(self) -> list[str]:
        return [e.status for e in self.events if isinstance(e, ev.PointState)]

    @property
    def driver_statuses(self) -> list[str]:
        return [e.status for e in self.events if isinstance(e, ev.ProcessState)]


async def test_a_point_becomes_events_rows_and_a_result():
    bench = Bench()
    measured = await bench.measure()
    result = measured.result
    assert (result.completed, result.errors) == (4, 0)
    assert result.request_throughput == 8.0
    assert result.ttft_ms == {"mean": 30.0, "p50": 30.0, "p90": 30.0, "p99": 30.0}
    assert result.itl_ms["p50"] == 10.0
    assert result.pairs == {"P1>D1": 2, "P1>D2": 2}
    assert result.tokens_per_s_per_gpu == (256 + 12) / 0.5 / 3
    assert [row.index for row in measured.requests if row.in_window] == [2, 3, 4, 5]
    assert measured.requests[0].gaps_ms == (10.0, 10.0)
    assert measured.drained is True
    assert [flag.name for flag in measured.flags] == ["few-requests"]
    assert bench.statuses == ["warmup", "window", "drain"]
    begun = next(e for e in bench.events if isinstance(e, ev.PointState))
    assert (begun.target_requests, begun.target_s) == (4, fake.POLICY.min_window_s)
    assert bench.driver_statuses == ["starting", "ready", "stopped"]
    ticks = [e for e in bench.events if isinstance(e, ev.PointTick)]
    assert [(t.run, t.point, t.finished, t.ttft) for t in ticks] == [("1", "conc2", 2, ((341, 2),))]
    assert sum(isinstance(e, ev.RequestFinished) for e in bench.events) == 8
    assert bench.nodes["a"].stopped == [DRIVER]


@pytest.mark.parametrize(
    ("kind", "mode", "gpus"),
    [
        ("gpu", "mixed", 3),
        ("gpu", "decode-only", 2),
        ("gpu-share", "mixed", 2),  # of both nodes
        ("gpu-share", "decode-only", 1),
        ("cpu", "mixed", 3),
    ],
)
async def test_a_gpu_that_replicas_share_counts_once(
    monkeypatch: pytest.MonkeyPatch, kind: str, mode: str, gpus: int
):
    nodes = [node.model_copy(update={"kind": kind}) for node in fake.CLUSTER.nodes]
    monkeypatch.setattr(fake, "CLUSTER", fake.CLUSTER.model_copy(update={"nodes": nodes}))
    result = (await Bench(mode=mode).measure()).result
    assert result.gpus == gpus
    assert result.tokens_per_s_per_gpu == result.total_token_throughput / gpus
    planned = planned_run(fake.run_plan(on=("a", "b"), mode=mode), kind)
    assert planned.gpus == (2 if kind == "gpu-share" else 3)


async def test_the_driver_is_told_whom_to_load_and_warm():
    bench = Bench()
    await bench.measure()
    (spec,) = bench.nodes["a"].started
    told = json.loads(spec.files["spec.json"])
    assert spec.token == DRIVER
    assert spec.records
    assert told["url"] == "http://10.0.0.1:8000/v1/completions"
    assert told["warm_pairs"]["prefill"] == {"P1": "http://10.0.0.1:8100"}
    assert set(told["warm_pairs"]["decode"]) == {"D1", "D2"}
    assert told["seed"] == "s/conc2/1"


async def test_a_dead_worker_is_named_with_its_last_lines():
    def script(node: fake.FakeNode, token: str):
        yield fake.line("phase", phase="window", node_t=100.0)
        yield ProcessInfo(
            token=f"{fake.SESSION}/1/D1",
            pid=7,
            state="exited",
            exit_code=-9,
            last_log="loading\n\nCUDA error: out of memory\n",
        )

    bench = Bench(script)
    message = await bench.fail()
    assert message == (
        "Point conc2: D1 on b was killed by signal 9 in the middle of it: GPU memory ran out. Next:"
        " take a larger TP, lower gpu-memory-utilization or max_model_len in the model profile, and"
        " see that nobody else uses the GPU (nvidia-smi);"
        " its last lines: loading / CUDA error: out of memory"
    )
    assert bench.nodes["a"].stopped == [DRIVER]
    assert bench.driver_statuses[-1] == "failed"


async def test_when_the_driver_gives_up_because_the_router_is_gone_the_router_is_named():
    def script(node: fake.FakeNode, token: str):
        node.infos = [
            ProcessInfo(token=f"{fake.SESSION}/1/router", pid=9, state="exited", exit_code=101)
        ]
        yield fake.line("error", message="20 requests in a row failed")
        yield 1

    message = await Bench(script).fail()
    assert message == "Point conc2: the router on a ended with exit code 101 in the middle of it"


@pytest.mark.parametrize(
    ("records", "exit_code", "expected"),
    [
        ([fake.line("error", message="cannot connect to X")], 1, "gave up: cannot connect to X"),
        ([], -11, "was killed by signal 11"),
        ([fake.summary_line(stopped=True)], 0, "was ended from outside"),
        ([fake.line("phase", phase="warmup", node_t=1.0)], 0, "ended with exit code 0"),
        ([b"Traceback (most recent call last):"], 1, "wrote a line that cannot be read"),
        ([fake.tick_line(1.0, "window", in_flight="two")], 1, "wrote a line that cannot be read"),
    ],
)
async def test_a_driver_that_fails_says_why(records, exit_code, expected):
    def script(node: fake.FakeNode, token: str):
        yield from records
        yield exit_code

    bench = Bench(script)
    message = await bench.fail()
    assert "load driver" in message
    assert "conc2" in message
    assert expected in message
    assert bench.nodes["a"].stopped == [DRIVER]


async def test_a_broken_gaps_file_fails_the_point():
    def script(node: fake.FakeNode, token: str):
        yield from list(fake.whole_point(node, token))[:-1]
        node.gaps = node.gaps[:-2]
        yield 0

    assert "breaks off" in await Bench(script).fail()


@pytest.mark.parametrize(
    ("wish", "status"), [("skip_requested", "skipped"), ("stop_requested", "pending")]
)
async def test_an_operator_ends_the_point(wish, status):
    bench = Bench()

    def script(node: fake.FakeNode, token: str):
        yield fake.line("phase", phase="window", node_t=100.0)
        getattr(bench.control, wish).set()
        yield fake.tick_line(101.0, "window")

    for node in bench.nodes.values():
        node.script = script
    assert await bench.measure() is None
    assert bench.statuses[-1] == status
    assert bench.driver_statuses[-1] == "stopped"
    assert bench.nodes["a"].stopped == [DRIVER]


async def test_being_cancelled_still_ends_the_driver():
    running = asyncio.Event()

    def script(node: fake.FakeNode, token: str):
        running.set()
        yield fake.line("phase", phase="warmup", node_t=99.0)

    bench = Bench(script)
    task = asyncio.create_task(bench.measure())
    await running.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert bench.nodes["a"].stopped == [DRIVER]


async def test_a_point_is_not_begun_on_servers_that_do_not_answer():
    bench = Bench()
    del bench.metrics[bench.deployment.workers[1].metrics_url]
    message = await bench.fail()
    assert message.startswith("Point conc2 was not begun: D1 on b does not give its metrics")
    assert bench.nodes["a"].started == []


async def test_kv_that_is_not_released_flags_the_point():
    bench = Bench()

    def script(node: fake.FakeNode, token: str):
        url = bench.deployment.workers[0].metrics_url
        bench.metrics[url] = IDLE.replace('perc{engine="0"} 0', 'perc{engine="0"} 0.25')
        yield from fake.whole_point(node, token)

    bench.nodes["a"].script = script
    measured = await bench.measure()
    assert measured.drained is False
    flag = next(f for f in measured.flags if f.name == "not-drained")
    assert "P1 still holds 25.0 % of its KV cache" in flag.evidence


async def test_a_node_that_stays_away_longer_than_its_lease_ends_the_point(monkeypatch):
    def script(node: fake.FakeNode, token: str):
        yield fake.line("phase", phase="window", node_t=100.0)
        yield LinkChanged("b", "lost", "no answer")

    bench = Bench(script)
    lease = fake.CLUSTER.model_copy(update={"lease_s": 0.05})
    monkeypatch.setattr(fake, "CLUSTER", lease)
    assert "b could not be reached" in await bench.fail()


async def test_a_lost_connection_that_comes_back_does_no_harm():
    def script(node: fake.FakeNode, token: str):
        yield LinkChanged("a", "lost", "no answer")
        yield LinkChanged("a", "up", "")
        yield from fake.whole_point(node, token)

    assert (await Bench(script).measure()).result.completed == 4


async def test_a_driver_that_cannot_be_ended_is_told_but_hides_nothing(monkeypatch):
    async def stop(*args: object) -> list[ProcessInfo]:
        raise RemoteError("a", "unreachable", "no route to host")

    bench = Bench()
    monkeypatch.setattr(bench.nodes["a"], "stop", stop)
    assert (await bench.measure()).result.completed == 4
    (note,) = [e for e in bench.events if isinstance(e, ev.Note)]
    assert "could not be ended" in note.message
