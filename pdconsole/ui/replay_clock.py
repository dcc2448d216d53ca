"""Where in a session the console is: playing, paused, or holding on to its end. Pure but for the
monotonic time that is given to it.

One clock serves live, watch and replay. Holding on to the end of a recording that grows is live;
of one that does not grow, it is where a replay stops.
"""

from __future__ import annotations

from collections.abc import Callable

SPEEDS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)


class ReplayClock:
    """`t` is the session second shown, from 0 to `end_t`; `speed` is session seconds a second.

    Tell it how far the recording reaches with `extend`. Catching up with the end, at any speed,
    means to hold on to it from then on.
    """

    def __init__(
        self,
        monotonic: Callable[[], float],
        end_t: float = 0.0,
        *,
        growing: bool = False,
        at: float | None = None,
        speed: float = 1.0,
    ) -> None:
        """Without `at` a growing recording is shown at its end, a whole one plays from 0."""
        self._monotonic = monotonic
        self.end_t = max(end_t, 0.0)
        self.growing = growing
        self.loop: tuple[float, float] | None = None
        self._following = growing and at is None
        self._speed = 1.0 if self._following else _allowed(speed)
        self._playing = not self._following
        self._left_edge = False  # paused there, and not moved since
        self._from_t = min(max(at or 0.0, 0.0), self.end_t)
        self._from_mono = monotonic()

    @property
    def t(self) -> float:
        self._settle()
        return self._from_t

    @property
    def following(self) -> bool:
        """Whether it holds on to the end."""
        self._settle()
        return self._following

    @property
    def playing(self) -> bool:
        """Whether it moves by itself through what is recorded."""
        self._settle()
        return self._playing

    @property
    def paused(self) -> bool:
        return not self.playing and not self._following

    @property
    def speed(self) -> float:
        self._settle()
        return self._speed

    def extend(self, end_t: float, growing: bool) -> None:
        """The recording reaches to `end_t` now; it never gets shorter."""
        self.end_t = max(end_t, self.end_t)
        self.growing = growing
        self._settle()
        if self._following and growing:
            self._speed = 1.0

    def play(self) -> None:
        """Go on. From the end of a whole recording: again from its start; from a pause at the live
        edge: at the live edge."""
        self._settle()
        if self._following and self.growing:
            return
        if self._left_edge and self.growing:
            self.follow()
            return
        if self._from_t >= self.end_t and not self.growing:
            self._move(self.loop[0] if self.loop else 0.0)
        self._following = self._left_edge = False
        self._playing = True

    def pause(self) -> None:
        self._settle()
        self._left_edge = self._left_edge or (self._following and self.growing)
        self._playing = self._following = False

    def toggle(self) -> None:
        """Play or pause; at the end of a whole recording, play it again."""
        at_end = self.following and not self.growing
        if at_end or self.paused:
            self.play()
        else:
            self.pause()

    def follow(self) -> None:
        """Go to the end, and hold on to it."""
        self._settle()
        self.loop = None
        self._catch_up()

    def seek(self, t: float) -> None:
        """Go to `t`; what played plays on from there, and so does what was live. Back from the end
        of a whole recording it stands still."""
        self._settle()
        if t >= self.end_t and (self.growing or self._playing or self._following):
            self.follow()
            return
        if self._following:
            self._following, self._playing = False, self.growing
        self._move(t)
        if self.loop and not self.loop[0] <= self._from_t <= self.loop[1]:
            self.loop = None

    def step(self, seconds: float) -> None:
        """Pause, and go on or back by that much."""
        self.pause()
        self._move(self._from_t + seconds)
        if self.loop and not self.loop[0] <= self._from_t <= self.loop[1]:
            self.loop = None

    def set_speed(self, speed: float) -> None:
        """Session seconds a second, between 1/4 and 64; at the live edge it stays 1."""
        self._settle()
        if not (self._following and self.growing):
            self._speed = _allowed(speed)

    def faster(self) -> None:
        self.set_speed(next((s for s in SPEEDS if s > self.speed), SPEEDS[-1]))

    def slower(self) -> None:
        self.set_speed(next((s for s in reversed(SPEEDS) if s < self.speed), SPEEDS[0]))

    def repeat(self, t0: float, t1: float) -> None:
        """Play from `t0` to `t1` again and again, until a seek leaves it or `repeat_nothing`."""
        self._settle()
        t0, t1 = max(t0, 0.0), min(t1, self.end_t)
        if t1 <= t0:
            return
        self.loop = (t0, t1)
        self._following, self._playing, self._left_edge = False, True, False
        if not t0 <= self._from_t < t1:
            self._move(t0)

    def repeat_nothing(self) -> None:
        self._settle()
        self.loop = None

    def _settle(self) -> None:
        """Bring `_from_t` up to now, so that what changes next changes from here on."""
        now = self._monotonic()
        passed = max(now - self._from_mono, 0.0)
        self._from_mono = now
        if self._following:
            self._from_t = self.end_t
        elif self._playing:
            t = self._from_t + passed * self._speed
            if self.loop and t >= self.loop[1]:
                t0, t1 = self.loop
                t = t0 + (t - t0) % (t1 - t0)
            if t >= self.end_t and not self.loop:
                self._catch_up()
            else:
                self._from_t = t

    def _catch_up(self) -> None:
        self._following, self._playing, self._left_edge = True, False, False
        self._from_t = self.end_t
        if self.growing:
            self._speed = 1.0

    def _move(self, t: float) -> None:
        self._from_t = min(max(t, 0.0), self.end_t)
        self._left_edge = False


def _allowed(speed: float) -> float:
    return min(max(speed, SPEEDS[0]), SPEEDS[-1])
