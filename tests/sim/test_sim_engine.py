from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pdconsole.sim.constants import EngineConstants, LinkConstants
from pdconsole.sim.engine import EngineError, Event, Replica, ReplicaSettings, Step
from pdconsole.sim.fetching import Fetched
from pdconsole.sim.held import Expired
from pdconsole.sim.sequence import RemoteKv, Sequence


def request(name: str, prompt: int, tokens: int, at: float = 0.0, **more: object) -> Sequence:
    return Sequence(name, prompt=prompt, max_tokens=tokens, arrived=at, **more)  # type: ignore[arg-type]


def run(replica: Replica, until: float = 1e6) -> list[Event]:
    events: list[Event] = []
    while (when := replica.next_event()) <= until:
        events += replica.advance(when)
    return events


def steps(events: list[Event]) -> list[Step]:
    return [event for event in events if isinstance(event, Step)]


def test_step_time_is_the_profiles_formula(engine: EngineConstants) -> None:
    """One prompt of 5,000 tokens at TP2, and then its second token, in an empty replica."""
    replica = Replica(engine, None, ReplicaSettings(tp=2))
    replica.submit(request("r", 5000, 2))
    prefill, decode = steps(run(replica))
    saturated = 5.05 + 11.8 * (1 - math.exp(-5000 / 31.5))
    squares = 5000 * 2500
    expected_ms = saturated + 5.8 + 23.1e-3 * 5000 + 315e-9 * squares
    assert prefill.busy_s * 1e3 == pytest.approx(expected_ms)
    loading = 1 - math.exp(-1 / 31.5)
    expected_ms = 5.05 + 11.8 * loading + 27e-3 + 4.6e-6 * 5001
    assert decode.busy_s * 1e3 == pytest.approx(expected_ms)
    assert decode.starts == prefill.ends


def test_decoders_go_first_and_prefill_fills_the_budget(engine: EngineConstants) -> None:
    replica = Replica(engine, None, ReplicaSettings(tp=2, token_budget=1000))
    replica.submit(request("a", 10, 50))
    first = replica.advance(0.0) + replica.advance(replica.next_event())
    assert steps(first)[0].tokens
    replica.submit(request("b", 2500, 1, at=0.001))
    replica.submit(request("c", 300, 1, at=0.002))
    seen = steps(run(replica))
    mixed = [{s.id: n for s, n in step.chunks} for step in seen if step.prompt_tokens]
    assert mixed == [
        {"a": 1, "b": 999},
        {"a": 1, "b": 999},
        {"a": 1, "b": 502, "c": 300},
    ]


@given(
    st.lists(
        st.tuples(st.floats(0, 2), st.integers(1, 600), st.integers(1, 40)),
        min_size=1,
        max_size=25,
    ),
    st.booleans(),
    st.lists(st.floats(0.001, 0.5), min_size=1, max_size=10),
)
@settings(deadline=None)
def test_every_request_gets_its_tokens_however_time_is_sliced(
    engine: EngineConstants,
    jobs: list[tuple[float, int, int]],
    caching: bool,
    slices: list[float],
) -> None:
    """A pool so small that sequences are preempted; nothing is lost, and nothing depends on when
    the replica is asked."""

    def outcome(pace: list[float] | None) -> list[tuple[str, int, float]]:
        replica = Replica(
            engine,
            None,
            ReplicaSettings(tp=1, kv_tokens=1280, max_seqs=8, prefix_caching=caching),
        )
        for number, (at, prompt, tokens) in enumerate(jobs):
            hashes = [(prompt % 3) * 1000 + i for i in range(prompt // 16)] if caching else ()
            replica.submit(request(f"{number}", prompt, tokens, at, hashes=hashes))
        events: list[Event] = []
        if pace is None:
            events = run(replica)
        else:
            now, turn = 0.0, 0
            while replica.next_event() < math.inf:
                now += pace[turn % len(pace)]
                turn += 1
                events += replica.advance(now)
        assert replica.pool.available == replica.pool.blocks
        assert replica.running == replica.waiting == 0
        return [(s.id, s.generated, step.ends) for step in steps(events) for s in step.tokens]

    whole = outcome(None)
    counts = {name: sum(1 for n, _, _ in whole if n == name) for name, _, _ in whole}
    assert counts == {str(number): tokens for number, (_, _, tokens) in enumerate(jobs)}
    assert outcome(slices) == whole


def test_the_youngest_is_preempted_and_recomputed(engine: EngineConstants) -> None:
    replica = Replica(engine, None, ReplicaSettings(tp=1, kv_tokens=64))
    old, young = request("old", 16, 40), request("young", 16, 20)
    replica.submit(old)
    replica.submit(young)
    events = run(replica)
    assert replica.counters.preemptions == 1
    assert (old.preempted, young.preempted) == (0, 1)
    assert young.last_token > old.last_token
    recomputed = [n for step in steps(events) for s, n in step.chunks if s is young and n > 1]
    assert recomputed[0] == 16
    assert recomputed[1] > 16, "with the tokens that it had made"


def test_a_repeated_prompt_hits_whole_blocks_but_its_last_token(engine: EngineConstants) -> None:
    replica = Replica(engine, None, ReplicaSettings(tp=2, prefix_caching=True))
    hashes = list(range(1000, 1010))
    for number in range(2):
        replica.submit(request(f"{number}", 160, 1, hashes=hashes, at=number * 1.0))
    last = steps(run(replica))[-1]
    assert replica.counters.prefix_queries == 320
    assert replica.counters.prefix_hits == 144
    assert [n for _, n in last.chunks] == [16]


def test_a_request_that_never_fits_is_refused(engine: EngineConstants) -> None:
    replica = Replica(engine, None, ReplicaSettings(tp=1, kv_tokens=160))
    with pytest.raises(EngineError, match="170 KV tokens, the replica holds 160"):
        replica.submit(request("big", 160, 10))


def test_kv_is_held_until_it_is_fetched_or_its_lease_runs_out(
    engine: EngineConstants, link: LinkConstants
) -> None:
    replica = Replica(engine, link, ReplicaSettings(tp=2, connector=True, lease_s=10.0))
    for name in ("fetched", "forgotten", "renewed"):
        replica.submit(request(name, 160, 1, held=True))
    run(replica, until=1.0)
    assert replica.pool.usage > 0
    assert replica.release_held("fetched", 1.0)
    assert replica.held.renew("renewed", 8.0)
    expired = [event for event in run(replica, until=15.0) if isinstance(event, Expired)]
    assert [event.request_id for event in expired] == ["forgotten"]
    assert not replica.release_held("forgotten", 16.0)
    assert replica.counters.late_releases == 1
    assert replica.release_held("renewed", 16.0)
    assert replica.pool.usage == 0.0


def test_blocks_that_are_freed_let_a_waiting_request_in(
    engine: EngineConstants, link: LinkConstants
) -> None:
    settings_ = ReplicaSettings(tp=2, connector=True, kv_tokens=320, lease_s=1e3)
    replica = Replica(engine, link, settings_)
    replica.submit(request("first", 300, 1, held=True))
    second = request("second", 300, 1, held=True)
    replica.submit(second)
    run(replica, until=5.0)
    assert (replica.waiting, second.generated) == (1, 0)
    replica.release_held("first", 6.0)
    run(replica, until=7.0)
    assert second.scheduled == 6.0
    assert second.finished


def remote(engine_id: str, tokens: int, tp: int = 2) -> RemoteKv:
    return RemoteKv(engine_id, f"of-{engine_id}", tp, tuple(range(-(-tokens // 16))))


def decode_replica(engine: EngineConstants, link: LinkConstants, **more: object) -> Replica:
    return Replica(engine, link, ReplicaSettings(tp=2, connector=True, **more))  # type: ignore[arg-type]


def test_decode_fetches_after_one_handshake_with_each_peer(
    engine: EngineConstants, link: LinkConstants
) -> None:
    replica = decode_replica(engine, link)
    for at, peer in ((0.0, "p1"), (0.1, "p1"), (10.0, "p1"), (20.0, "p2")):
        replica.submit(request(f"{at}", 5000, 2, at, remote=remote(peer, 5000)))
    events = run(replica)
    fetched = [event for event in events if isinstance(event, Fetched)]
    assert replica.fetcher is not None
    assert replica.fetcher.handshakes == 2
    assert [event.posted for event in fetched] == pytest.approx([2.3, 2.3, 10.0, 22.3])
    alone_s = 0.039 + 5000 * 73_728 / 2 / 20e9
    assert fetched[2].at - fetched[2].posted == pytest.approx(alone_s)
    assert sum(event.bytes for event in fetched) == 4 * 5000 * 73_728
    assert all(step.prompt_tokens == 0 for step in steps(events)), "nothing is prefilled"


def test_a_handshake_stops_the_replica(engine: EngineConstants, link: LinkConstants) -> None:
    replica = decode_replica(engine, link)
    replica.submit(request("local", 32, 400))
    replica.submit(request("far", 5000, 1, 0.5, remote=remote("p1", 5000)))
    ends = [step.ends for step in steps(run(replica))]
    gaps = [b - a for a, b in itertools.pairwise(ends)]
    assert max(gaps) == pytest.approx(0.8 * 2.3, abs=0.02)


def test_what_the_own_cache_has_is_not_fetched(
    engine: EngineConstants, link: LinkConstants
) -> None:
    replica = decode_replica(engine, link, prefix_caching=True)
    hashes = list(range(5000 // 16))
    for at in (0.0, 10.0):
        replica.submit(request(f"{at}", 5000, 2, at, hashes=hashes, remote=remote("p1", 5000)))
    fetched = [event for event in run(replica) if isinstance(event, Fetched)]
    assert [event.bytes > 0 for event in fetched] == [True, False]
    assert replica.counters.external_hits == 5000


def test_an_aborted_fetch_frees_its_blocks_when_it_ends(
    engine: EngineConstants, link: LinkConstants
) -> None:
    replica = decode_replica(engine, link)
    sequence = request("gone", 5000, 5, remote=remote("p1", 5000))
    replica.submit(sequence)
    run(replica, until=1.0)
    replica.abort(sequence, 1.0)
    assert replica.pool.usage > 0
    events = run(replica)
    assert not steps(events)
    assert replica.pool.usage == 0.0
