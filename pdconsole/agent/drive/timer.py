"""A point in time as a file descriptor, so that epoll can wait for it without a timeout.

A timeout is set up and torn down with every wait, which on a virtual machine costs as much as
reading does; a timer is set when the time changes, and is exact to microseconds where epoll's
timeout counts in milliseconds.
"""

from __future__ import annotations

import ctypes
import os

_CLOCK_MONOTONIC = 1  # time.monotonic()'s
_NONBLOCK_CLOEXEC = os.O_NONBLOCK | os.O_CLOEXEC
_ABSOLUTE = 1


class _TimerSpec(ctypes.Structure):
    """struct itimerspec: the interval of repetition, then the time of the first expiry."""

    _fields_ = (
        ("interval_s", ctypes.c_long),
        ("interval_ns", ctypes.c_long),
        ("value_s", ctypes.c_long),
        ("value_ns", ctypes.c_long),
    )


class Timer:
    """Readable from the time it is set to, until it is set anew. Raises OSError."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self.fd = int(self._libc.timerfd_create(_CLOCK_MONOTONIC, _NONBLOCK_CLOEXEC))
        self._check(self.fd)
        self._time = 0.0

    def set(self, time: float) -> None:
        """`time` is one of time.monotonic(); one that is past makes it readable at once."""
        if time == self._time:
            return
        self._time = time
        seconds, fraction = divmod(max(time, 1e-6), 1.0)
        spec = _TimerSpec(0, 0, int(seconds), int(fraction * 1e9))
        self._check(self._libc.timerfd_settime(self.fd, _ABSOLUTE, ctypes.byref(spec), None))

    def close(self) -> None:
        os.close(self.fd)

    def _check(self, result: int) -> None:
        if result < 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))
