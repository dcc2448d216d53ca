"""What a profile file may say about an experiment: a question, its runs and its points."""

from __future__ import annotations

from typing import Annotated, Literal, TypeVar

import msgspec
from pydantic import AfterValidator, Field, model_validator

from pdconsole.model.latency_axis import AxisError, parse_latency
from pdconsole.model.layout import LAYOUT_FORMS, LayoutError, parse_layout
from pdconsole.model.plan import AnswerTable, Per, What
from pdconsole.model.regimes import Axis
from pdconsole.model.workload import MeasurePolicy, Mode, Point
from pdconsole.profiles.problem import one_of
from pdconsole.profiles.section import (
    Bool,
    Count,
    FieldError,
    Name,
    NotNegative,
    Positive,
    Section,
)

Level = TypeVar("Level", int, float)
Strategy = Literal["pack", "spread", "manual"]


def _known_layout(text: str) -> str:
    try:
        parse_layout(text)
    except LayoutError as error:
        message, _, forms = str(error).partition(" Accepted: ")
        raise FieldError(
            message.rstrip("."),
            f"write it in one of these forms: {(forms or LAYOUT_FORMS).rstrip('.')}",
        ) from error
    return text


def _known_latency(text: str) -> str:
    try:
        parse_latency(text)
    except AxisError as error:
        message, _, advice = str(error).partition("; ")
        raise FieldError(message, advice.rstrip(".") or "write tpot") from error
    return text


def _distinct(values: list[Level]) -> list[Level]:
    twice = next((value for value in values if values.count(value) > 1), None)
    if twice is not None:
        raise FieldError(
            f"{twice:g} stands twice, and a point's file is named after it", "write it once"
        )
    return values


Concurrencies = Annotated[list[Count], AfterValidator(_distinct)]
RequestRates = Annotated[list[Positive], AfterValidator(_distinct)]
LayoutText = Annotated[str, AfterValidator(_known_layout)]
LatencyText = Annotated[str, AfterValidator(_known_latency)]


class PolicyProfile(Section):
    """How points are measured: model.workload.MeasurePolicy, each field with a default."""

    window: Literal["steady", "whole"] | None = None
    warmup_rounds: NotNegative | None = None
    warmup_s: NotNegative | None = None
    window_rounds: Positive | None = None
    min_requests: Count | None = None
    min_window_s: NotNegative | None = None
    max_window_s: Positive | None = None
    drain_timeout_s: Positive | None = None
    until_relative_ci: Positive | None = None

    def over(self, base: MeasurePolicy) -> MeasurePolicy:
        """`base` with the fields given here replaced."""
        return msgspec.structs.replace(base, **self.model_dump(exclude_none=True))

    @model_validator(mode="after")
    def _ordered(self) -> PolicyProfile:
        policy = self.over(MeasurePolicy())
        if policy.min_window_s > policy.max_window_s:
            raise FieldError(
                f"{policy.min_window_s:g} s is longer than max_window_s, {policy.max_window_s:g} s",
                "write a shorter min_window_s or a longer max_window_s",
                "min_window_s",
            )
        return self


class ExperimentRun(Section):
    layout: LayoutText = Field(examples=["3P-TP2+1D-TP2"])
    placement: Strategy = "pack"
    manual: str = ""  # with placement manual: "P1=node1:0,1 D1=node2:0-3"
    network: str | None = None  # default: the experiment's
    optional: Bool = False  # carried out only when asked for
    baseline: Bool = False  # the others are set against this one

    @model_validator(mode="after")
    def _manual(self) -> ExperimentRun:
        if (self.placement == "manual") != bool(self.manual):
            raise FieldError(
                "placement manual and the field manual go together",
                'write both, for example placement: manual and manual: "P1=node1:0,1 D1=node2:0,1"',
                "manual" if self.manual else "placement",
            )
        return self


class AnswerProfile(Section):
    """A table of regimes that the experiment feeds, printed at the end of a run."""

    latency: LatencyText | None = None  # default: median TPOT, or TTFT of prefill-only
    throughput: What = "total"
    per: Per = "gpu"
    over: Axis = "latency"  # targets of this; or of throughput
    modes: list[Mode] = Field(default=[])  # default: all

    def table(self) -> AnswerTable:
        return AnswerTable(
            latency=self.latency or "",
            throughput=self.throughput,
            per=self.per,
            over=self.over,
            modes=tuple(self.modes),
        )


class QuickProfile(Section):
    """The short form of an experiment: the runs of some layouts, other points, shorter windows."""

    runs: list[LayoutText] = Field(min_length=1, examples=[["1P-TP2+3D-TP2", "4xTP2"]])
    modes: list[Mode] | None = None
    concurrency: Concurrencies = Field(default=[])
    request_rate: RequestRates = Field(default=[])
    policy: PolicyProfile = PolicyProfile()


class ExperimentProfile(Section):
    name: Name
    kind: Literal["sweep", "netbench"] = "sweep"
    question: str = Field(examples=["Which P:D ratio gives the most tokens a second?"])
    expectation: str = ""  # what one expects to see, written down before looking
    model: str = Field(examples=["gpt-oss-120b"])
    cluster: str = "embedded"
    workload: str = Field(examples=["itl5000-otl250"])
    modes: list[Mode] = Field(default=["mixed"], min_length=1)
    network: str = Field(examples=["cuda-ipc"])
    runs: list[ExperimentRun] = Field(min_length=1, examples=[[{"layout": "4xTP2"}]])
    concurrency: Concurrencies = Field(default=[])
    request_rate: RequestRates = Field(default=[])
    policy: PolicyProfile = PolicyProfile()
    answer: list[AnswerProfile] = Field(default=[AnswerProfile()])  # []: it feeds no table
    quick: QuickProfile | None = None
    seed: str | None = None  # of the prompts; default: the session's name
    # The experiment that is carried out in place of this one on a cluster whose slots are CPU
    # cores, where neither its model nor its lengths would do.
    on_cpu: Name | None = None

    @model_validator(mode="after")
    def _consistent(self) -> ExperimentProfile:
        if self.kind == "sweep" and not (self.concurrency or self.request_rate):
            raise FieldError(
                "a sweep needs load levels",
                "add concurrency: [4, 8, 16, 32, 48, 64] or request_rate: [1, 2, 4]",
                "concurrency",
            )
        if sum(run.baseline for run in self.runs) > 1:
            raise FieldError(
                "two runs are the baseline", "leave baseline: true to one of them", "runs"
            )
        if self.quick is not None:
            have = {parse_layout(run.layout) for run in self.runs}
            for layout in self.quick.runs:
                if parse_layout(layout) not in have:
                    raise FieldError(
                        f"{layout} is not among the runs",
                        f"write {one_of([run.layout for run in self.runs])}",
                        "quick",
                        "runs",
                    )
        return self

    def points(self) -> tuple[Point, ...]:
        """The load levels in order, closed-loop ones first."""
        return (
            *(Point("concurrency", float(value)) for value in self.concurrency),
            *(Point("request_rate", float(value)) for value in self.request_rate),
        )

    def measure_policy(self) -> MeasurePolicy:
        return self.policy.over(MeasurePolicy())

    def chosen_runs(self, *, optional: bool = False) -> tuple[ExperimentRun, ...]:
        """The runs carried out by default, with `optional` also those on request."""
        return tuple(run for run in self.runs if optional or not run.optional)

    def network_of(self, run: ExperimentRun) -> str:
        return run.network or self.network

    def quick_form(self) -> ExperimentProfile:
        """The short form as an experiment of its own; itself where it has none."""
        quick = self.quick
        if quick is None:
            return self
        wanted = {parse_layout(layout) for layout in quick.runs}
        runs = [
            run.model_copy(update={"optional": False})
            for run in self.runs
            if parse_layout(run.layout) in wanted
        ]
        levels = {}
        if quick.concurrency or quick.request_rate:
            levels = {"concurrency": quick.concurrency, "request_rate": quick.request_rate}
        policy = {**self.policy.model_dump(), **quick.policy.model_dump(exclude_none=True)}
        return self.model_copy(
            update={
                "runs": runs,
                "modes": quick.modes or self.modes,
                "policy": PolicyProfile.model_validate(policy),
                "quick": None,
                **levels,
            }
        )
