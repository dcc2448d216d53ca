"""A timer for an event loop that fires within tens of microseconds.

Event loops round their own timers to a millisecond, which is a tenth of a decode step.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import math
import os
import time
from collections.abc import Callable

_CLOCK_MONOTONIC = 1
_TFD_NONBLOCK = 0o4000
_TFD_CLOEXEC = 0o2000000
_TFD_TIMER_ABSTIME = 1


class _Spec(ctypes.Structure):
    _fields_ = (
        ("interval_s", ctypes.c_long),
        ("interval_ns", ctypes.c_long),
        ("value_s", ctypes.c_long),
        ("value_ns", ctypes.c_long),
    )


class PreciseTimer:
    """Calls back once at a time of `time.monotonic()`. Linux only (timerfd)."""

    def __init__(self, loop: asyncio.AbstractEventLoop, callback: Callable[[], None]) -> None:
        self._loop = loop
        self._callback = callback
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._fd = self._libc.timerfd_create(_CLOCK_MONOTONIC, _TFD_NONBLOCK | _TFD_CLOEXEC)
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create failed")
        self._spec = _Spec(0, 0, 0, 0)
        self._armed_for = math.inf
        loop.add_reader(self._fd, self._fire)

    def arm(self, when: float) -> None:
        """Replaces an earlier time; inf: do not call back; a time in the past: at once."""
        if when == self._armed_for:
            return
        self._armed_for = when
        if when == math.inf:
            self._spec.value_s = self._spec.value_ns = 0
        else:
            whole = max(int(when * 1e9), 1)
            self._spec.value_s, self._spec.value_ns = divmod(whole, 1_000_000_000)
        failed = self._libc.timerfd_settime(
            self._fd, _TFD_TIMER_ABSTIME, ctypes.byref(self._spec), None
        )
        if failed:
            raise OSError(ctypes.get_errno(), "timerfd_settime failed")

    def close(self) -> None:
        self._loop.remove_reader(self._fd)
        os.close(self._fd)

    def _fire(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._fd, 8)
        if time.monotonic() < self._armed_for:
            return  # armed anew since it expired
        self._armed_for = math.inf
        self._callback()
