"""What comes from a node unasked: nothing is lost or repeated over reconnects."""

from __future__ import annotations

import base64
from typing import Any

import msgspec

from pdconsole.model.events import GpuSample
from pdconsole.remote.values import (
    GpusSeen,
    LogChunk,
    MetricsSeen,
    News,
    NicsSeen,
    ProcessChanged,
    ProcessInfo,
    Records,
)

LOG, RECORDS = "log", "records"


class Follow:
    """One file of one process: the next byte wanted, and the beginning of an unfinished line."""

    def __init__(self, node: str, token: str, name: str, offset: int) -> None:
        self._node = node
        self._token = token
        self._name = name
        self.offset = offset
        self._rest = b""

    def take(self, offset: int, data: bytes) -> News | None:
        """The news in bytes that came from `offset` on; None if they hold nothing new."""
        data = data[max(0, self.offset - offset) :]
        if not data or offset > self.offset:
            return None
        at = self.offset
        self.offset += len(data)
        if self._name == LOG:
            return LogChunk(self._node, self._token, at, data)
        at -= len(self._rest)
        *lines, self._rest = (self._rest + data).split(b"\n")
        return Records(self._node, self._token, at, lines) if lines else None


class Streams:
    """All that comes unasked from one node, made into news."""

    def __init__(self, node: str) -> None:
        self._node = node
        self._files: dict[tuple[str, str], Follow] = {}
        self._metrics: dict[str, dict[str, float]] = {}

    def add(self, token: str, offsets: dict[str, int]) -> None:
        for name, offset in offsets.items():
            self._files[token, name] = Follow(self._node, token, name, offset)

    def drop(self, token: str) -> None:
        for key in [key for key in self._files if key[0] == token]:
            del self._files[key]

    def positions(self) -> list[tuple[str, str, int]]:
        """What to ask of a new connection: token, file, offset."""
        return [(token, name, f.offset) for (token, name), f in self._files.items()]

    def forget_metrics(self) -> None:
        """A new connection begins with whole samples."""
        self._metrics.clear()

    def read(self, message: dict[str, Any]) -> News | None:
        """The news in what the agent sent; None if there is nothing new in it."""
        match message["news"]:
            case "bytes":
                follow = self._files.get((message["token"], message["name"]))
                data = base64.b64decode(message["data"])
                return None if follow is None else follow.take(message["offset"], data)
            case "process":
                info = msgspec.convert(message["info"], ProcessInfo)
                self.drop(info.token)
                return ProcessChanged(self._node, info)
            case "metrics":
                return self._read_metrics(message)
            case "gpus":
                gpus = tuple(_gpu_sample(row) for row in message["gpus"])
                return GpusSeen(self._node, message["t"], gpus)
            case "nics":
                return NicsSeen(self._node, message["t"], message["counters"])
            case _:
                return None  # of a newer agent

    def _read_metrics(self, message: dict[str, Any]) -> MetricsSeen:
        """The agent sends what changed; readers get every sample."""
        name = message["name"]
        before = {} if message["whole"] else self._metrics.get(name, {})
        values = {**before, **message["values"]}
        self._metrics[name] = values
        return MetricsSeen(self._node, name, message["t"], values)


def _gpu_sample(row: list[Any]) -> GpuSample:
    index, util_pct, memory_used_mib, temperature_c, power_w = row
    return GpuSample(
        index=index,
        util_pct=util_pct,
        memory_used_mib=memory_used_mib,
        temperature_c=temperature_c,
        power_w=power_w,
    )
