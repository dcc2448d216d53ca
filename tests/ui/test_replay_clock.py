from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from pdconsole.ui.replay_clock import SPEEDS, ReplayClock


class Monotonic:
    def __init__(self) -> None:
        self.now = 500.0

    def __call__(self) -> float:
        return self.now


def test_a_whole_recording_plays_from_its_start_and_holds_at_its_end() -> None:
    mono = Monotonic()
    clock = ReplayClock(mono, 60.0, speed=16.0)
    mono.now += 2
    assert clock.t == 32
    assert clock.playing
    mono.now += 100
    assert clock.t == 60
    assert clock.following
    assert not clock.playing
    clock.toggle()
    assert clock.t == 0
    assert clock.playing


def test_attaching_to_a_growing_one_starts_at_its_edge_and_stays_there() -> None:
    mono = Monotonic()
    clock = ReplayClock(mono, 60.0, growing=True)
    assert clock.t == 60
    clock.extend(61.5, growing=True)
    assert clock.t == 61.5
    assert clock.following


def test_a_look_back_from_the_end_of_a_whole_recording_stands_still() -> None:
    clock = ReplayClock(Monotonic(), 60.0)
    clock.follow()
    clock.seek(20.0)
    assert clock.paused
    assert clock.t == 20


def test_a_pause_at_the_live_edge_freezes_and_going_on_is_live_again() -> None:
    mono = Monotonic()
    clock = ReplayClock(mono, 60.0, growing=True)
    clock.toggle()
    clock.extend(70.0, growing=True)
    mono.now += 10
    assert clock.t == 60
    clock.toggle()
    assert clock.t == 70
    assert clock.following


def test_scrolling_back_from_the_live_edge_plays_later_than_live_until_it_catches_up() -> None:
    mono = Monotonic()
    clock = ReplayClock(mono, 60.0, growing=True)
    clock.seek(30.0)
    mono.now += 10
    clock.extend(70.0, growing=True)
    assert clock.t == 40
    clock.set_speed(4.0)
    mono.now += 8
    clock.extend(78.0, growing=True)
    assert clock.t == 72
    mono.now += 2
    assert clock.t == 78
    assert clock.following
    assert clock.speed == 1


def test_a_step_pauses_and_a_pause_elsewhere_than_at_the_edge_goes_on_from_there() -> None:
    mono = Monotonic()
    clock = ReplayClock(mono, 60.0, growing=True)
    clock.step(-1.0)
    assert clock.paused
    mono.now += 5
    assert clock.t == 59
    clock.play()
    mono.now += 0.5
    assert clock.t == 59.5
    assert not clock.following


def test_a_loop_wraps_until_a_seek_leaves_it() -> None:
    mono = Monotonic()
    clock = ReplayClock(mono, 60.0)
    clock.repeat(10.0, 20.0)
    assert clock.t == 10
    mono.now += 25
    assert clock.t == 15
    clock.seek(18.0)
    assert clock.loop == (10.0, 20.0)
    clock.seek(30.0)
    assert clock.loop is None


def test_a_loop_that_ends_with_the_recording_still_wraps() -> None:
    mono = Monotonic()
    clock = ReplayClock(mono, 60.0)
    clock.repeat(50.0, 99.0)
    mono.now += 12
    assert clock.t == 52


def test_speeds_go_through_the_list_and_no_further() -> None:
    clock = ReplayClock(Monotonic(), 60.0, speed=3.0)
    clock.faster()
    assert clock.speed == 4
    clock.slower()
    clock.slower()
    assert clock.speed == 1
    for _ in range(20):
        clock.faster()
    assert clock.speed == 64
    for _ in range(20):
        clock.slower()
    assert clock.speed == 0.25


@given(
    st.lists(st.floats(0, 5), min_size=1, max_size=30),
    st.sampled_from(SPEEDS),
    st.floats(1, 1000),
)
def test_how_often_it_is_looked_at_does_not_matter(
    waits: list[float], speed: float, end: float
) -> None:
    mono = Monotonic()
    often, once = (ReplayClock(mono, end, speed=speed) for _ in range(2))
    for wait in waits:
        mono.now += wait
        assert often.t <= end
    assert often.t == pytest.approx(once.t)
    assert once.t == pytest.approx(min(sum(waits) * speed, end))


class AnyUse(RuleBasedStateMachine):
    @initialize(end=st.floats(0, 100), growing=st.booleans())
    def open(self, end: float, growing: bool) -> None:
        self.mono = Monotonic()
        self.clock = ReplayClock(self.mono, end, growing=growing)

    @rule(seconds=st.floats(0, 50))
    def time_passes(self, seconds: float) -> None:
        before, moving, loop = self.clock.t, self.clock.playing, self.clock.loop
        self.mono.now += seconds
        after = self.clock.t
        if not moving:
            assert after == before
        elif loop is None:
            assert before <= after
            assert after == pytest.approx(
                min(before + seconds * self.clock.speed, self.clock.end_t)
            ) or (self.clock.following and after == self.clock.end_t)

    @rule(more=st.floats(0, 20), growing=st.booleans())
    def the_recording_grows(self, more: float, growing: bool) -> None:
        before = self.clock.t
        following = self.clock.following
        self.clock.extend(self.clock.end_t + more, growing)
        assert self.clock.t == (self.clock.end_t if following else before)

    @rule(t=st.floats(-10, 150))
    def seek(self, t: float) -> None:
        self.clock.seek(t)
        assert self.clock.t == min(max(t, 0.0), self.clock.end_t)

    @rule(seconds=st.floats(-20, 20))
    def step(self, seconds: float) -> None:
        before = self.clock.t
        self.clock.step(seconds)
        assert self.clock.paused
        assert self.clock.t == min(max(before + seconds, 0.0), self.clock.end_t)

    @rule(name=st.sampled_from(("play", "pause", "toggle", "faster", "slower", "repeat_nothing")))
    def press(self, name: str) -> None:
        getattr(self.clock, name)()

    @rule()
    def follow(self) -> None:
        self.clock.follow()
        assert self.clock.t == self.clock.end_t
        assert self.clock.following

    @rule(t0=st.floats(-5, 120), length=st.floats(-5, 40))
    def repeat(self, t0: float, length: float) -> None:
        self.clock.repeat(t0, t0 + length)

    @invariant()
    def it_stands_within_the_recording(self) -> None:
        clock = self.clock
        assert 0 <= clock.t <= clock.end_t
        assert [clock.playing, clock.paused, clock.following].count(True) == 1
        assert SPEEDS[0] <= clock.speed <= SPEEDS[-1]
        if clock.loop is not None:
            t0, t1 = clock.loop
            assert t0 <= clock.t <= t1 <= clock.end_t
        if clock.following and clock.growing:
            assert clock.speed == 1


AnyUseTest = AnyUse.TestCase
