"""Each rule of the audit against a clean run and against one that has its fault."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pdconsole.model.audit_evidence import (
    DirectoryEvidence,
    Finding,
    Label,
    PointEvidence,
    Spread,
)
from pdconsole.model.audit_rules import audit
from pdconsole.model.layout import parse_layout

LOADS = (4, 8, 16, 32, 48, 64)
REQUESTS = 1280  # at every point
DAY = 86_400.0


def clean(
    path: str = "a", layout: str = "p1xtp4-d1xtp4", *, slower: float = 1.0, started: float = 0.0
) -> DirectoryEvidence:
    """A run that nothing speaks against: long points without tails, prompts of random lengths
    that are others at every point."""
    points, at = [], started
    for load in LOADS:
        ttft, tpot = 200.0 + 5 * load, slower * (5.0 + load / 10)
        duration = REQUESTS / load * (ttft + tpot * 249) / 1000
        prompts, outputs = REQUESTS * 5000 + 37 * load, REQUESTS * 250
        points.append(
            PointEvidence(
                file=f"{path}/conc{load}.json",
                source="vllm bench serve",
                load=float(load),
                started=at,
                duration=duration,
                completed=REQUESTS,
                failed=0,
                asked=REQUESTS,
                cap=load,
                input_tokens=prompts,
                output_tokens=outputs,
                request_rate=REQUESTS / duration,
                token_rate=(prompts + outputs) / duration,
                ttft=Spread(ttft, 30.0, ttft, ttft + 300),
                tpot=Spread(tpot, 0.1, tpot, tpot + 1),
                itl=Spread(tpot, 0.1, tpot, tpot + 5),
                input_len=5000,
                output_len=250,
                mode="mixed",
            )
        )
        at += duration + 20
    label = Label(
        model="m", layout=parse_layout(layout), input_len=5000, output_len=250, mode="mixed"
    )
    return DirectoryEvidence(path=path, label=label, points=tuple(points))


def changed(directory: DirectoryEvidence, at: int, **fields: object) -> DirectoryEvidence:
    points = list(directory.points)
    points[at] = msgspec.structs.replace(points[at], **fields)
    return msgspec.structs.replace(directory, points=tuple(points))


def findings(*directories: DirectoryEvidence) -> list[Finding]:
    return audit(directories)[0]


def rules(*directories: DirectoryEvidence) -> set[str]:
    return {finding.rule for finding in findings(*directories)}


def test_clean_runs_raise_nothing():
    other = clean("b", "p1xtp4-d2xtp4", slower=0.8, started=DAY)
    assert rules(clean()) == set()
    assert rules(clean(), other, clean("c", slower=1.02, started=2 * DAY)) == set()


def test_nothing_is_known_of_nothing():
    assert findings() == []
    bare = PointEvidence(
        file="a/x.json", source="aiperf", duration=1.0, completed=200, request_rate=200.0,
        token_rate=0.0,
    )  # fmt: skip
    assert rules(DirectoryEvidence(path="a", label=Label(), points=(bare,))) == set()


@pytest.mark.parametrize(
    ("at", "fields", "rule"),
    [
        (1, {"failed": 3}, "errors"),
        (1, {"failed": None, "asked": 1300}, "errors"),
        (0, {"ttft": Spread(600.0, 900.0, 220.0, 3300.0)}, "first-contact"),
        (3, {"itl": Spread(8.2, 20.0, 8.2, 120.0)}, "decode-stalls"),
        (3, {"output_tokens": REQUESTS * 180}, "other-lengths"),
        (2, {"request_rate": 99.0}, "inconsistent"),
        (2, {"ttft": Spread(280.0, 30.0, 280.0, 200.0)}, "inconsistent"),
        (2, {"load": 6.0}, "inconsistent"),
        (2, {"itl": Spread(20.0, 1.0, 20.0, 25.0)}, "chunked-stream"),
        (2, {"load": 8.0}, "mixed-directory"),
    ],
)
def test_each_fault_of_a_point_is_found(at: int, fields: dict[str, object], rule: str):
    assert rule in rules(changed(clean(), at, **fields))


def test_stalls_of_collocated_replicas_are_prefill_not_a_fault():
    stalls = {"itl": Spread(8.2, 20.0, 8.2, 120.0)}
    assert "decode-stalls" not in rules(changed(clean(layout="2xtp4"), 3, **stalls))


def test_throughput_that_falls_with_load():
    tired = clean()
    point = tired.points[3]
    slow = msgspec.structs.replace(
        point, duration=point.duration * 3, request_rate=point.request_rate / 3,
        token_rate=point.token_rate / 3, tpot=Spread(*(3.2 * x for x in (8.2, 0.1, 8.2, 9.2))),
    )  # fmt: skip
    assert "saturation" in rules(msgspec.structs.replace(tired, points=(*tired.points[:3], slow)))


def test_short_runs_count_their_ends():
    short = msgspec.structs.replace(clean().points[0], completed=20, asked=20, duration=8.0)
    found = rules(msgspec.structs.replace(clean(), points=(short,)))
    assert {"short-window", "few-requests"} <= found


def nested(ttft_at_64: float = 520.0) -> DirectoryEvidence:
    """Points of equal lengths and growing counts: by one seed, each begins with the last one."""
    run = clean()
    points = []
    for p in run.points:
        count = int(20 * (p.load or 0))
        duration = p.duration * count / REQUESTS
        points.append(
            msgspec.structs.replace(
                p,
                completed=count,
                asked=count,
                duration=duration,
                input_tokens=count * 5000,
                output_tokens=count * 250,
                token_rate=count * 5250 / duration,
            )
        )
    points[5] = msgspec.structs.replace(points[5], ttft=Spread(520.0, 90.0, ttft_at_64, 900.0))
    return msgspec.structs.replace(run, points=tuple(points))


def test_repeated_prompts_are_possible_by_counts_and_suspected_by_latency():
    (possible,) = (f for f in findings(nested()) if f.rule == "repeated-prompts")
    assert possible.weight == "info"
    assert "75% of the prompts of c=64" in possible.evidence
    (suspected,) = (f for f in findings(nested(210.0)) if f.rule == "repeated-prompts")
    assert suspected.weight == "warn"
    assert suspected.subjects == tuple(f"a/conc{load}.json" for load in LOADS[1:])


def test_equal_totals_of_random_lengths_are_the_same_prompts():
    same = REQUESTS * 5000 + 123
    points = tuple(msgspec.structs.replace(p, input_tokens=same) for p in clean().points)
    (finding,) = findings(msgspec.structs.replace(clean(), points=points))
    assert (finding.rule, finding.weight) == ("repeated-prompts", "warn")
    assert "to the token" in finding.evidence


@pytest.mark.parametrize("why", ["fresh", "other generator", "short prompts", "no times"])
def test_prompts_that_cannot_be_told_apart_are_not_suspected(why: str):
    change = {
        "fresh": {"fresh_prompts": True},
        "other generator": {"source": "aiperf"},
        "short prompts": {"input_tokens": 4000},
        "no times": {"started": None},
    }[why]
    run = nested(210.0)
    points = tuple(msgspec.structs.replace(p, **change) for p in run.points)
    assert "repeated-prompts" not in rules(msgspec.structs.replace(run, points=points))


def test_a_copy_under_another_name_is_found_and_a_repeat_is_not():
    copy = msgspec.structs.replace(clean(), path="b")
    (finding,) = findings(clean(), copy)
    assert (finding.rule, finding.weight) == ("identical-files", "warn")
    other_name = msgspec.structs.replace(
        copy, label=msgspec.structs.replace(copy.label, layout=parse_layout("2xtp4"))
    )
    (finding,) = findings(clean(), other_name)
    assert finding.weight == "bad"
    assert "layout: p1xtp4-d1xtp4, 2xtp4" in finding.evidence


def test_the_same_times_under_two_names():
    assert "same-time" in rules(clean(), clean("b", "p1xtp4-d2xtp4", slower=1.001))


def test_two_runs_of_one_name_that_disagree_or_drift():
    one = clean()
    assert rules(one, clean("b", slower=1.6, started=DAY)) == {"repeats-disagree"}
    assert rules(one, clean("b", slower=1.1, started=DAY)) == {"repeats-drift"}
    assert rules(one, clean("b", slower=1.03, started=DAY)) == set()


def test_a_run_that_decodes_like_another_layout():
    honest = [
        clean("1:1", "p1xtp2-d1xtp2"),
        clean("3:1", "p3xtp2-d1xtp2", slower=1.01, started=DAY),
        clean("1:2", "p1xtp2-d2xtp2", slower=0.75, started=2 * DAY),
    ]
    wrong = clean("2:1", "p2xtp2-d1xtp2", slower=0.76, started=3 * DAY)
    found = [f for f in findings(*honest, wrong) if f.rule == "label-suspected"]
    assert [f.subjects for f in found] == [("2:1",)]
    assert "decodes like p1xtp2-d2xtp2" in found[0].evidence
    assert "label-suspected" not in rules(*honest)


def test_kv_that_comes_slowly():
    run = clean()
    slow = msgspec.structs.replace(
        run.points[0], input_len=5000, ttft=Spread(15_000.0, 900.0, 16_000.0, 17_000.0),
        duration=5120.0, request_rate=0.25, token_rate=0.25 * 5250,
    )  # fmt: skip
    found = rules(msgspec.structs.replace(run, points=(slow, *run.points[1:])))
    assert "slow-kv-transfer" in found
    collocated = msgspec.structs.replace(
        run, label=clean(layout="2xtp4").label, points=(slow, *run.points[1:])
    )
    assert "slow-kv-transfer" not in rules(collocated)


@given(st.lists(st.sampled_from(["p1xtp2-d1xtp2", "2xtp4", "p2xtp2-d1xtp4"]), max_size=4))
def test_order_of_directories_does_not_matter(layouts: list[str]):
    runs = [clean(f"{i}", layout, started=i * DAY) for i, layout in enumerate(layouts)]
    there = {(f.rule, frozenset(f.subjects)) for f in findings(*runs)}
    back = {(f.rule, frozenset(f.subjects)) for f in findings(*reversed(runs))}
    assert there == back


# --- what must not be said of clean data ---


def with_points(run: DirectoryEvidence, **fields: object) -> DirectoryEvidence:
    points = tuple(msgspec.structs.replace(p, **fields) for p in run.points)
    return msgspec.structs.replace(run, points=points)


def test_two_wrongs_of_one_point_are_one_point():
    wrong = changed(clean(), 2, request_rate=99.0, ttft=Spread(280.0, 30.0, 280.0, 200.0))
    (finding,) = (f for f in findings(wrong) if f.rule == "inconsistent" and "99" in f.evidence)
    assert len(finding.subjects) == 1
    assert "points in all" not in finding.evidence


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"ttft": Spread(-1.0, 0.0, 5.0, 9.0)}, "TTFT of -1.0 ms"),
        ({"e2el": Spread(90.0, 1.0, 90.0, 99.0)}, "a first token after 280.0 ms"),
        ({"asked": REQUESTS - 1}, "1280 requests finished of 1279"),
    ],
)
def test_more_that_cannot_be(fields: dict[str, object], said: str):
    found = [f for f in findings(changed(clean(), 2, **fields)) if f.rule == "inconsistent"]
    assert any(said in finding.evidence for finding in found)


def test_rounded_percentiles_are_no_contradiction():
    rounded = changed(clean(), 2, ttft=Spread(280.0, 0.0, 280.04, 280.0))
    assert "inconsistent" not in rules(rounded)


def test_answers_of_many_lengths_make_no_lifetime_to_the_percent():
    # Short answers have the longer steps, so that mean TPOT times mean length is too long.
    many = changed(clean(), 2, output_tokens=REQUESTS * 300 + 7, output_len=None,
                   token_rate=clean().points[2].token_rate * 5300 / 5250)  # fmt: skip
    assert rules(many) == set()


def test_a_short_run_is_short_and_not_without_load():
    point = clean().points[4]
    life = point.request_s
    assert life is not None
    run = msgspec.structs.replace(
        point, completed=60, asked=60, duration=2 * life, request_rate=30 / life,
        input_tokens=300_000, output_tokens=15_000, token_rate=157_500 / life,
    )  # fmt: skip
    found = rules(msgspec.structs.replace(clean(), points=(run,)))
    assert "short-window" in found
    assert "concurrency-not-held" not in found


def test_one_load_twice_is_no_saturation():
    again = changed(clean(), 1, load=4.0)
    points = list(again.points)
    points[1] = msgspec.structs.replace(
        points[0], file="a/again.json", started=9 * DAY, duration=points[0].duration * 1.2,
        request_rate=points[0].request_rate / 1.2, token_rate=points[0].token_rate / 1.2,
    )  # fmt: skip
    assert rules(msgspec.structs.replace(again, points=tuple(points))) == {"mixed-directory"}


def test_prompts_that_queue_are_no_slow_transport():
    busy = clean().points[5]
    queue = msgspec.structs.replace(
        busy, load=256.0, cap=256, ttft=Spread(25_000.0, 900.0, 26_000.0, 30_000.0),
        duration=130.0, request_rate=REQUESTS / 130, token_rate=(REQUESTS * 5250 + 2368) / 130,
    )  # fmt: skip
    assert "slow-kv-transfer" not in rules(msgspec.structs.replace(clean(), points=(queue,)))


def test_a_weak_engine_is_no_slow_transport():
    point = clean().points[0]
    cpu = msgspec.structs.replace(
        point, ttft=Spread(35_000.0, 900.0, 35_000.0, 39_000.0), tpot=Spread(90.0, 9.0, 90.0, 99.0),
        itl=Spread(90.0, 9.0, 90.0, 99.0), duration=17_900.0, request_rate=REQUESTS / 17_900,
        token_rate=(REQUESTS * 5250 + 148) / 17_900,
    )  # fmt: skip
    assert rules(msgspec.structs.replace(clean(), points=(cpu,))) == set()


def test_runs_side_by_side_share_a_second_by_chance():
    one = clean()
    other = clean("b", "p1xtp4-d2xtp4", slower=0.8)
    ends = [p.started + p.duration for p in one.points if p.started is not None]
    points = [
        msgspec.structs.replace(p, started=ends[i] - p.duration if i in (1, 4) else p.started)
        for i, p in enumerate(other.points)
    ]
    side = msgspec.structs.replace(other, points=tuple(points))
    assert {(f.rule, f.weight) for f in findings(one, side)} == {("same-time", "info")}
    elsewhere = with_points(other, source="guidellm")  # which tells the time of another zone
    assert "same-time" not in rules(one, elsewhere)


def test_bursts_are_no_repeat_of_steady_arrivals():
    steady = with_points(clean(), load_kind="request_rate", cap=None, burstiness=1.0)
    burst = with_points(
        clean("b", slower=1.6, started=DAY), load_kind="request_rate", cap=None, burstiness=0.2
    )
    assert "repeats-disagree" not in rules(steady, burst)


def test_points_without_a_request_are_no_copies():
    dead = {
        "completed": 0, "request_rate": 0.0, "token_rate": 0.0, "ttft": Spread(), "tpot": Spread(),
        "itl": Spread(), "input_tokens": 0, "output_tokens": 0, "duration": 1.0, "failed": 9,
    }  # fmt: skip
    one, other = with_points(clean(), **dead), with_points(clean("b", started=DAY), **dead)
    assert "identical-files" not in rules(one, other)


def test_copies_in_one_directory_are_told_as_such():
    run = clean()
    copy = msgspec.structs.replace(run.points[5], file="a/conc64 (1).json")
    points = (*run.points, copy)
    (finding,) = (
        f for f in findings(msgspec.structs.replace(run, points=points)) if "identical" in f.rule
    )
    assert finding.evidence == "1 point is the same measurement in a, 2 files each"


def open_loop(**fields: object) -> DirectoryEvidence:
    rate = clean().points[3].request_rate
    return changed(clean(), 3, load_kind="request_rate", load=rate, cap=64, **fields)


def test_a_busy_second_counts_those_that_follow_one_another():
    assert "capped-open-loop" not in rules(open_loop(peak=66, peak_counts_seconds=True))
    assert "capped-open-loop" in rules(open_loop(peak=90, peak_counts_seconds=True))
    assert "capped-open-loop" in rules(open_loop(peak=64))  # counted one by one


def test_a_slower_network_is_no_measure_of_what_a_layout_can():
    closed = nested()
    slow = with_points(
        clean("b", started=DAY), load_kind="request_rate", load=16.0, request_rate=1.0, cap=None
    )

    def on(network: str) -> bool:
        label = msgspec.structs.replace(slow.label, network=network)
        one = msgspec.structs.replace(
            closed, label=msgspec.structs.replace(closed.label, network="srd")
        )
        found = findings(one, msgspec.structs.replace(slow, label=label))
        return any(f.rule == "repeated-prompts" and f.weight == "warn" for f in found)

    assert on("srd")
    assert not on("tcp")
