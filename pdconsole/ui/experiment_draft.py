"""An experiment that was chosen and not started: what would be asked for, and what is planned."""

from __future__ import annotations

import shlex

import msgspec

from pdconsole.model.plan import ExperimentPlan
from pdconsole.model.request import RunRequest
from pdconsole.model.survey import LaunchPlan


class Draft(msgspec.Struct, frozen=True, kw_only=True):
    experiment: str
    has_quick: bool
    own_cluster: str  # that of its profile
    quick: bool = False
    optional: bool = False
    cluster: str = ""  # another one than its own
    plan: ExperimentPlan | None = None
    launches: tuple[LaunchPlan, ...] = ()
    problem: str = ""

    @property
    def command(self) -> str:
        """The command line that does the same."""
        words = ["pdconsole", "run", self.experiment]
        if self.cluster:
            words += ["--cluster", self.cluster]
        if self.quick:
            words.append("--quick")
        if self.optional:
            words.append("--with-optional")
        return shlex.join(words)

    @property
    def request(self) -> RunRequest:
        return RunRequest(
            experiment=self.experiment,
            cluster=self.cluster or None,
            quick=self.quick,
            with_optional=self.optional,
            command=self.command,
        )

    def changed(self, **changes: object) -> Draft:
        """Asked for otherwise; what was planned is no longer so."""
        fresh = msgspec.structs.replace(self, **changes)
        return msgspec.structs.replace(fresh, plan=None, launches=(), problem="")

    def planned(self, plan: ExperimentPlan | None, launches: tuple[LaunchPlan, ...]) -> Draft:
        return msgspec.structs.replace(self, plan=plan, launches=launches, problem="")

    def refused(self, problem: str) -> Draft:
        return msgspec.structs.replace(self, plan=None, launches=(), problem=problem)
