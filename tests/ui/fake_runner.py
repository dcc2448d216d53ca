"""Stands for the runner: surveys a made-up cluster, plans as the real one, and remembers calls."""

from __future__ import annotations

from pathlib import Path

import msgspec

from pdconsole.model.request import Call, Reply
from pdconsole.model.survey import LaunchPlan, LaunchProcess, Survey, SurveyGpu, SurveyNode
from pdconsole.profiles import Profiles
from pdconsole.runner.client import RunnerError
from pdconsole.runner.planning import plan_experiment
from pdconsole.runner.user_errors import UserError


class FakeRunner:
    """`survey` is what it answers with; `refused` what it says of every launch plan."""

    def __init__(self, workspace: Path, *, nodes: int = 2, gpus: int = 8) -> None:
        self.workspace = workspace
        self.calls: list[Call] = []
        self.survey = survey("embedded", nodes, gpus)
        self.refused = ""
        self.error = ""
        self.session = ""

    def call(self, call: Call) -> Reply:
        if call.command != "survey":
            self.calls.append(call)
        if self.error:
            raise RunnerError(self.error)
        match call.command:
            case "survey":
                return Reply(survey=msgspec.structs.replace(self.survey, cluster=call.cluster))
            case "plan":
                return self._plan(call)
            case "run":
                return Reply(session=self.session)
        return Reply()

    def close(self) -> None:
        return None

    def _plan(self, call: Call) -> Reply:
        assert call.run is not None
        try:
            planned = plan_experiment(Profiles.open(self.workspace), call.run)
        except UserError as e:
            raise RunnerError(str(e)) from e
        launches = tuple(
            LaunchPlan(
                run=run.id,
                refused=self.refused,
                notes=("kv_buffer_device is cuda",),
                processes=tuple(
                    LaunchProcess(
                        name=a.replica,
                        role=a.role,
                        node=a.node,
                        tp=a.tp,
                        slots=tuple(s.index for s in a.slots),
                        argv=("vllm", "serve", "model", "--tensor-parallel-size", str(a.tp)),
                        env={"UCX_TLS": "cuda_ipc,cuda_copy,tcp", "A": "with space"},
                        url="http://127.0.0.1:18100",
                    )
                    for a in run.placement.assignments
                ),
            )
            for run in planned.plan.runs
        )
        return Reply(plan=planned.plan, launches=launches)


def survey(cluster: str, nodes: int, gpus: int) -> Survey:
    return Survey(
        cluster=cluster,
        simulated=True,
        fabric="loopback",
        nodes=tuple(_node(f"node{n}", gpus) for n in range(1, nodes + 1)),
    )


def _node(name: str, gpus: int) -> SurveyNode:
    return SurveyNode(
        name=name,
        link="up",
        hostname=name,
        gpus=tuple(
            SurveyGpu(
                index=i,
                name="NVIDIA H100 80GB HBM3",
                memory_mib=81559,
                owner="free",
                util_pct=0.0,
                memory_used_mib=4.0,
                temperature_c=31.0,
            )
            for i in range(gpus)
        ),
        versions={"vllm": "0.32.0"},
        nics=("efa0",),
        seen_wall=1_800_000_000.0,
    )
