"""What a person asks the runner for, and what it answers: the words of the control socket."""

from __future__ import annotations

from typing import Literal

import msgspec

from pdconsole.model.placement import Strategy
from pdconsole.model.plan import ExperimentPlan
from pdconsole.model.survey import Checking, LaunchPlan, Survey

PROTOCOL = 2
AD_HOC = "ad-hoc"  # an experiment that no profile describes: its request says all


class PlacedLayout(msgspec.Struct, frozen=True, kw_only=True):
    """A layout and where it goes; `manual` is the notation of model.placement.parse_manual.

    A manual placement says itself which layout it is of: `layout` may be empty there.
    """

    layout: str = ""
    strategy: Strategy = "pack"
    manual: str = ""


class RunRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Carry out an experiment. Empty tuples and None mean: as the experiment's profile says.

    The experiment `ad-hoc` has no profile: it takes cluster, model, workload, network and
    `placed` from here, and the default load levels where none are given.
    """

    experiment: str
    cluster: str | None = None
    model: str | None = None
    workload: str | None = None
    layouts: tuple[str, ...] = ()
    placed: tuple[PlacedLayout, ...] = ()  # instead of `layouts`, each exactly as it says
    concurrency: tuple[int, ...] = ()
    request_rate: tuple[float, ...] = ()
    network: str | None = None
    placement: Literal["pack", "spread"] | None = None  # of layouts the experiment does not list
    quick: bool = False
    with_optional: bool = False  # the profile's optional runs too
    min_window_s: float | None = None
    ignore_checks: bool = False  # go on although a hard check failed; recorded
    no_validate: bool = False  # measure without having validated the KV transfers; recorded
    command: str = ""  # the command line that asked, for the record


Command = Literal[
    "hello",
    "run",
    "resume",
    "stop",
    "pause",
    "unpause",
    "skip",
    "shutdown",
    "survey",
    "plan",
    "check",
    "reorder",
    "add",
]


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """One line from a client. Which fields matter depends on `command`."""

    command: Command
    run: RunRequest | None = None
    session: str = ""  # resume
    now: bool = False  # stop: at once, not orderly
    scope: Literal["point", "layout"] = "point"  # skip
    ignore_checks: bool = False  # resume
    cluster: str = ""  # survey, check without a request
    # skip: a layout that has not begun; reorder: all that have not begun, in their new order
    runs: tuple[str, ...] = ()
    placed: tuple[PlacedLayout, ...] = ()  # add: to the session that runs
    node: str = ""  # check: this node only
    check: str = ""  # check: this one only
    again: bool = False  # check: look anew, not only tell what is known


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """One line back; `error` is a sentence for a person, empty when all went well."""

    error: str = ""
    protocol: int = PROTOCOL
    version: str = ""
    pid: int = 0
    workspace: str = ""
    session: str = ""  # the session this is about, or the one that is open
    last_session: str = ""  # the one that ended last in this runner, and how
    last_message: str = ""
    survey: Survey | None = None
    plan: ExperimentPlan | None = None
    launches: tuple[LaunchPlan, ...] = ()  # one a run of `plan`
    checking: Checking | None = None
