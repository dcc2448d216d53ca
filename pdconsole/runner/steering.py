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
        self.skip_layout = False
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

    def skip_point(self) -> None:
        self.skip_requested.set()

    def skip_this_layout(self) -> None:
        self.skip_layout = True
        self.skip_requested.set()

    def point_begins(self) -> None:
        """A skip is for the point it was asked in, not for the next one."""
        if not self.skip_layout:
            self.skip_requested.clear()

    def layout_begins(self) -> None:
        self.skip_layout = False
        self.skip_requested.clear()

    async def while_paused(self) -> None:
        await self._go_on.wait()
