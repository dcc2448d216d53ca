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
