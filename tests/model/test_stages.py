"""Where a TTFT goes: what is told stays apart from what is not, and nothing is lost or made up."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pdconsole.model import events as ev
from pdconsole.model.stages import (
    CLIENT,
    D_QUEUE,
    FIRST_STEP,
    P_QUEUE,
    POST,
    PREFILL,
    QUEUE,
    ROUTER,
    STAGES,
    TOLD,
    TRANSFER,
    Part,
    Path,
    StageMeans,
    parts_of,
    parts_of_means,
    path_of,
    window_means,
)
from pdconsole.model.state import State, fold
from pdconsole.model.statistics import histogram

PATHS: tuple[Path, ...] = ("pd", "routed", "direct")
TIMES = st.floats(0, 1e5)


def request(ttft_ms: float | None, **stages_ms: float) -> ev.RequestFinished:
    return ev.RequestFinished(
        run="1", point="conc4", index=1, phase="window", sent_node_t=0.0, ttft_ms=ttft_ms,
        stages_ms=stages_ms,
    )  # fmt: skip


@given(st.sampled_from(PATHS), st.dictionaries(st.sampled_from(TOLD), TIMES), TIMES)
def test_parts_have_every_stage_once_and_add_up_to_the_ttft(
    path: Path, told: dict[str, float], left: float
) -> None:
    ttft = sum(told.values()) + left
    parts = parts_of(request(ttft, **told), path)
    stages = [stage for part in parts for stage in part.stages]
    assert sorted(stages) == sorted(STAGES[path])
    assert sum(part.ms for part in parts) == pytest.approx(ttft)
    assert all(part.ms >= 0 for part in parts)
    assert sum(part.source != "told" for part in parts) <= 1


@given(
    st.sampled_from(PATHS).flatmap(
        lambda path: st.tuples(st.just(path), st.dictionaries(st.sampled_from(STAGES[path]), TIMES))
    ),
    TIMES,
)
def test_so_have_means(path_and_means: tuple[Path, dict[str, float]], ttft: float) -> None:
    path, means = path_and_means
    parts = parts_of_means(StageMeans("window", means, ttft), path)
    assert sorted(stage for part in parts for stage in part.stages) == sorted(STAGES[path])
    assert sum(part.ms for part in parts) >= ttft - 1e-6
    assert all(part.ms == means[part.stages[0]] for part in parts if part.source == "told")


def test_through_prefill_and_decode_only_what_d_says_is_told() -> None:
    parts = parts_of(request(300.0, client=0.5, queue=40.0, first_token=9.5), "pd")
    assert parts == (
        Part((CLIENT,), 0.5, "told"),
        Part((ROUTER, P_QUEUE, PREFILL), 250.0, "rest"),
        Part((POST, TRANSFER, D_QUEUE), 40.0, "told"),
        Part((FIRST_STEP,), 9.5, "told"),
    )


def test_a_replica_alone_tells_its_queue_and_its_prefill() -> None:
    parts = parts_of(request(300.0, queue=40.0, first_token=250.0), "direct")
    assert parts == (
        Part((CLIENT,), 10.0, "rest"),
        Part((QUEUE,), 40.0, "told"),
        Part((PREFILL,), 250.0, "told"),
    )


def test_without_the_servers_word_nothing_is_guessed() -> None:
    (part,) = parts_of(request(300.0), "pd")
    assert part == Part(STAGES["pd"], 300.0, "unknown")
    client, rest = parts_of(request(300.0, client=1.0, queue=5.0), "pd")
    assert (client.source, rest.source, rest.ms) == ("told", "unknown", 299.0)
    assert parts_of(request(None, queue=5.0), "pd") == ()


PLAN = ev.PlannedRun(
    run="1", layout="p1xtp2-d1xtp2", strategy="pack", network="cuda-ipc", workload="w",
    input_len=5000, output_len=250, mode="mixed", gpus=4, points=("conc4",), result_dir="d",
)  # fmt: skip


@pytest.mark.parametrize(
    ("layout", "mode", "path"),
    [
        ("p1xtp2-d1xtp2", "mixed", "pd"),
        ("p1xtp2-d1xtp2", "prefill-only", "direct"),
        ("p1xtp2-d1xtp2", "decode-only", "direct"),
        ("4xtp2", "mixed", "routed"),
        ("4xtp2", "prefill-only", "routed"),
        ("4xtp2", "decode-only", "direct"),
    ],
)
def test_the_way_of_the_requests(layout: str, mode: str, path: Path) -> None:
    assert path_of(msgspec.structs.replace(PLAN, layout=layout, mode=mode)) == path


def worker(name: str, finished: float, queue_s: float, prefill_s: float) -> ev.WorkerSampled:
    return ev.WorkerSampled(
        run="1", process=name, node_t=0.0, finished=finished, queue_s=queue_s, prefill_s=prefill_s
    )


def nixl(transfers: float, xfer_s: float, post_s: float | None) -> ev.NixlSampled:
    return ev.NixlSampled(
        run="1", process="D1", node_t=0.0, bytes=0.0, transfers=transfers, xfer_s=xfer_s,
        post_s=post_s,
    )  # fmt: skip


def tick(phase: str, ttft_ms: float, count: int) -> ev.PointTick:
    return ev.PointTick(
        run="1", point="conc4", node_t=0.0, dt_s=1.0, phase=phase, in_flight=4, sent=0,
        finished=count, errors=0, input_tokens=0, output_tokens=0,
        ttft=histogram([ttft_ms] * count),
    )  # fmt: skip


def recorded() -> list[ev.Event]:
    """A warm-up whose requests are slow, then a window."""

    def at(status: ev.PointStatus) -> ev.PointState:
        return ev.PointState(run="1", point="conc4", status=status)

    def started(name: str, role: str) -> ev.ProcessState:
        return ev.ProcessState(run="1", process=name, node="n", status="ready", role=role)

    return [
        ev.SessionOpened(
            session="s", experiment="e", cluster="c", model="m", simulated=True, runs=(PLAN,)
        ),
        ev.RunState(run="1", status="launching"),
        started("P1", "prefill"),
        started("D1", "decode"),
        at("warmup"),
        worker("P1", 10, 9.0, 9.0),
        worker("D1", 10, 9.0, 9.0),
        nixl(20, 9.0, 9.0),
        tick("warmup", 5000.0, 10),
        at("window"),
        worker("P1", 30, 9.2, 13.0),
        worker("D1", 30, 9.8, 9.2),
        nixl(60, 10.2, 9.04),
        tick("window", 300.0, 20),
        at("drain"),
        # What finishes after the window is not of it.
        worker("P1", 90, 99.0, 99.0),
        worker("D1", 90, 99.0, 99.0),
        nixl(90, 99.0, 99.0),
        tick("drain", 9000.0, 3),
    ]


def means_after(count: int) -> StageMeans:
    state: State = fold(recorded()[:count])
    return window_means(state, "1", "conc4", "pd")


def test_means_of_the_window_divide_the_whole_ttft() -> None:
    means = means_after(99)
    assert means.phase == "window"
    assert means.ms == pytest.approx(
        {P_QUEUE: 10.0, PREFILL: 200.0, POST: 1.0, TRANSFER: 29.0, D_QUEUE: 10.0, FIRST_STEP: 10.0}
    )
    parts = parts_of_means(means, "pd")
    (rest,) = (part for part in parts if part.source != "told")
    assert rest.stages == (CLIENT, ROUTER)
    assert rest.ms == pytest.approx(300.0 - 260.0, rel=0.05)


def test_in_the_warm_up_they_are_the_warm_ups() -> None:
    means = means_after(9)
    assert means.phase == "warm-up"
    assert means.ttft_ms == pytest.approx(5000.0, rel=0.01)
    assert means.ms == {}  # one sample of each: nothing has grown yet


@pytest.mark.parametrize("counted", [{"finished": None}, {}])  # Ray's exporter has the count
def test_a_version_that_does_not_tell_leaves_stages_out(counted: dict[str, None]) -> None:
    events = [
        msgspec.structs.replace(e, queue_s=None, prefill_s=None, **counted)
        if isinstance(e, ev.WorkerSampled)
        else msgspec.structs.replace(e, post_s=None)
        if isinstance(e, ev.NixlSampled)
        else e
        for e in recorded()
    ]
    assert set(window_means(fold(events), "1", "conc4", "pd").ms) == {TRANSFER}
