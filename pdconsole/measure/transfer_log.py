"""KV transfers as vLLM 0.11.0 counts them: in its log, since its /metrics do not know NIXL.

With NIXL_TELEMETRY_ENABLE=1 a decode replica logs, every ten seconds in which it read KV,
`KV Transfer metrics: num_successful_transfers=12`: how many transfers of its ranks ended well since
the line before. Nothing more is in it: neither bytes nor times, and no failures. Newer versions log
averages under other names, and count everything in /metrics.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable

from pdconsole.model.events import NixlSampled
from pdconsole.remote.values import ClockSeen, LogChunk, News

_SAID = re.compile(rb"KV Transfer metrics: num_successful_transfers=(\d+)\b")
_LONGEST_LINE = 4096


class TransferLogs:
    """Follows the logs of all processes of a session."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._offsets: dict[str, float] = {}  # node -> its clock minus ours
        self._counts: dict[tuple[str, str], int] = {}  # (node, token) -> transfers so far
        self._rest: dict[tuple[str, str], bytes] = {}  # an unfinished line

    def take(self, news: News) -> NixlSampled | None:
        """What a piece of a log adds, cumulative, at the time it came; None for all else."""
        if isinstance(news, ClockSeen):
            self._offsets[news.node] = news.offset_s
        if not isinstance(news, LogChunk):
            return None
        who = (news.node, news.token)
        if news.offset == 0:  # a new log
            self._counts.pop(who, None)
            self._rest.pop(who, None)
        text, _, rest = (self._rest.get(who, b"") + news.data).rpartition(b"\n")
        self._rest[who] = rest[-_LONGEST_LINE:]
        said = [int(count) for count in _SAID.findall(text)]
        if not said:
            return None
        self._counts[who] = self._counts.get(who, 0) + sum(said)
        _, run, process = news.token.split("/")
        return NixlSampled(
            run=run,
            process=process,
            node_t=self._clock() + self._offsets.get(news.node, 0.0),
            transfers=float(self._counts[who]),
            source="log",
        )
