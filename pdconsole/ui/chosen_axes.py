"""What the Compare screen looks at: a latency, a throughput, its divisor, a promise. Pure.

They are texts as `compare` takes them, so that settings can hold them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar, get_args

import msgspec

from pdconsole.model.latency_axis import AxisError, parse_latency
from pdconsole.model.plan import Per, What
from pdconsole.model.slo import parse_slo
from pdconsole.results.axes import Axes, ThroughputAxis

LATENCIES = ("tpot", "ttft", "itl", "e2el", "chunk:16", "interactivity")
STATISTICS = ("", ":p99", ":mean")  # "": the median
THROUGHPUTS: tuple[What, ...] = get_args(What)
PERS: tuple[Per, ...] = get_args(Per)

T = TypeVar("T")


class ChosenAxes(msgspec.Struct, frozen=True, kw_only=True):
    latency: str = "tpot"
    throughput: What = "total"
    per: Per = "gpu"
    slo: str = ""

    def axes(self) -> Axes:
        """Raises AxisError, a sentence, where a text is none."""
        return Axes(
            latency=parse_latency(self.latency),
            throughput=ThroughputAxis(what=self.throughput, per=self.per),
            slo=parse_slo(self.slo) if self.slo else None,
        )

    def with_next_latency(self) -> ChosenAxes:
        """The next of the usual ones, in the statistic of now; after any other the first."""
        name, statistic = self._parts()
        return msgspec.structs.replace(self, latency=_after(LATENCIES, name) + statistic)

    def with_next_statistic(self) -> ChosenAxes:
        name, statistic = self._parts()
        return msgspec.structs.replace(self, latency=name + _after(STATISTICS, statistic))

    def with_next_throughput(self) -> ChosenAxes:
        return msgspec.structs.replace(self, throughput=_after(THROUGHPUTS, self.throughput))

    def with_next_per(self) -> ChosenAxes:
        return msgspec.structs.replace(self, per=_after(PERS, self.per))

    def _parts(self) -> tuple[str, str]:
        """`chunk:16` and `:p99` of `chunk:16:p99`."""
        axis = parse_latency(self.latency)
        return axis.name, "" if axis.statistic == "p50" else f":{axis.statistic}"


def remembered(kept: Mapping[str, str]) -> ChosenAxes:
    """What the settings hold, without what is none."""
    found = ChosenAxes()
    for name, value in kept.items():
        try:
            one = msgspec.convert({name: value}, ChosenAxes)
            one.axes()
        except (msgspec.ValidationError, AxisError):
            continue
        if name in found.__struct_fields__:
            found = msgspec.structs.replace(found, **{name: value})
    return found


def kept(chosen: ChosenAxes) -> dict[str, str]:
    """For the settings: what differs from the defaults."""
    usual = ChosenAxes()
    return {
        name: str(getattr(chosen, name))
        for name in chosen.__struct_fields__
        if getattr(chosen, name) != getattr(usual, name)
    }


def latency_problem(text: str) -> str:
    """Why the text is no latency; "" if it is one."""
    return _problem(ChosenAxes(latency=text))


def slo_problem(text: str) -> str:
    """Why the text is no promise; "" if it is one, or nothing."""
    return _problem(ChosenAxes(slo=text.strip()))


def _problem(chosen: ChosenAxes) -> str:
    try:
        chosen.axes()
    except AxisError as e:
        return str(e)
    return ""


def _after(values: Sequence[T], now: T) -> T:
    return values[(values.index(now) + 1) % len(values)] if now in values else values[0]
