"""What people ask of a running session: pause, skip, stop. The session looks here between steps."""

from __future__ import annotations

import asyncio


class Steering:
    """Wishes of the operators; set by the control socket, read by the session.

    `stop_requested` and `skip_requested` also end the point that is being measured.
    """

    def __init__(self) -> None:
        self.stop_requested = asyncio.Event()
        self.skip_requested = asyncio.Event()
        self.layout_skipped = asyncio.Event()
        self.measuring = False  # a point, now
        self.in_layout = False  # one is carried out, or made ready for
        self._go_on = asyncio.Event()
        self._go_on.set()

    @property
    def paused(self) -> bool:
        return not self._go_on.is_set()

    def stop(self) -> None:
        self.stop_requested.set()
        self._go_on.set()

    def pause(self) -> None:
        if not self.stop_requested.is_set():
            self._go_on.clear()

    def unpause(self) -> None:
        self._go_on.set()

    @property
    def layout_unwanted(self) -> bool:
        return self.stop_requested.is_set() or self.layout_skipped.is_set()

    def skip_point(self) -> None:
        self.skip_requested.set()

    def skip_this_layout(self) -> None:
        self.layout_skipped.set()
        self.skip_requested.set()

    def point_begins(self) -> None:
        """A skip is for the point it was asked in, not for the next one."""
        self.measuring = True
        if not self.layout_skipped.is_set():
            self.skip_requested.clear()

    def point_ends(self) -> None:
        self.measuring = False

    async def until_layout_is_unwanted(self) -> None:
        """Returns when someone asks for a stop, or for the rest of this layout to be skipped."""
        await _first_of(self.stop_requested, self.layout_skipped)

    def layout_begins(self) -> None:
        self.in_layout = True
        self.layout_skipped.clear()
        self.skip_requested.clear()

    def layout_ends(self) -> None:
        self.in_layout = False

    async def while_paused(self) -> None:
        """In a layout, until it is skipped at the longest: its workers are to end then."""
        if self.in_layout:
            await _first_of(self._go_on, self.layout_skipped)
        else:
            await self._go_on.wait()


async def _first_of(*events: asyncio.Event) -> None:
    waiting = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waiting:
            wait.cancel()
