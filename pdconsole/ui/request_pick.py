"""Which request is looked at: the last one, or one that was chosen and stays; pure."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from pdconsole.model.events import RequestFinished


class RequestPick(msgspec.Struct, frozen=True):
    """Without a `chosen` one it is the last, also when others come."""

    chosen: RequestFinished | None = None

    def at(self, t: float, requests: Sequence[RequestFinished]) -> RequestFinished | None:
        """Of `requests`, the latest first. At second `t` nothing is chosen that comes later."""
        if self.chosen is not None and self.chosen.t <= t:
            return self.chosen
        return requests[0] if requests else None

    def how(self, t: float, requests: Sequence[RequestFinished]) -> str:
        """In words; `chosen` where it is no longer among the last ones."""
        request = self.at(t, requests)
        back = _index(request, requests)
        if back is None:
            return "chosen"
        return "last" if back == 0 else f"{back} before the last"

    def moved(self, by: int, t: float, requests: Sequence[RequestFinished]) -> RequestPick:
        """So many requests earlier; the last one is not held, for it is to go on."""
        back = _index(self.at(t, requests), requests)
        if not requests or (back is None and by < 0):
            return RequestPick()
        to = len(requests) - 1 if back is None else back + by
        to = min(max(to, 0), len(requests) - 1)
        return RequestPick(requests[to]) if to > 0 else RequestPick()


def _index(request: RequestFinished | None, requests: Sequence[RequestFinished]) -> int | None:
    if request is None:
        return None
    return next((i for i, r in enumerate(requests) if r.seq == request.seq), None)
