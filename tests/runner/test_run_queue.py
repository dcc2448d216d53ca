"""The order of a session's runs, and what may still change."""

from __future__ import annotations

from pathlib import Path

import pytest

from pdconsole.model.request import PlacedLayout, RunRequest
from pdconsole.profiles import Profiles
from pdconsole.runner.ad_hoc import PlanError
from pdconsole.runner.added_runs import added_runs
from pdconsole.runner.planning import Planned, plan_experiment
from pdconsole.runner.run_queue import RunQueue
from pdconsole.runner.user_errors import UserError


@pytest.fixture
def planned(tmp_path: Path) -> Planned:
    return plan_experiment(Profiles.open(tmp_path), RunRequest(experiment="pd-ratio-sweep"))


def ids(queue: RunQueue) -> str:
    return "".join(run.id for run in queue.plan.runs)


def test_only_what_has_not_begun_moves(planned: Planned) -> None:
    queue = RunQueue(planned.plan)
    assert queue.take() == planned.plan.runs[0]
    queue.drop("3")
    queue.change(queue.reordered(["6", "2"]))
    assert ids(queue) == "163245"  # 3, dropped, stays where it was
    assert [run.id for run in queue.unfinished] == ["1", "6", "2", "4", "5"]
    for refused, says in ((["1"], "has begun"), (["3"], "has begun"), (["2", "2"], "twice")):
        with pytest.raises(UserError, match=says):
            queue.reordered(refused)
    with pytest.raises(UserError, match="no run 9"):
        queue.drop("9")


def test_nothing_is_added_to_a_session_that_is_ending(planned: Planned) -> None:
    queue = RunQueue(planned.plan)
    more = added_runs(planned, queue.plan, [PlacedLayout(layout="2xTP4")])
    queue.change(queue.extended(more))
    assert ids(queue) == "1234567"
    while queue.take():
        pass
    assert queue.taken == 7
    with pytest.raises(UserError, match="is ending"):
        queue.extended(more)


def test_an_added_layout_is_like_the_others(tmp_path: Path) -> None:
    profiles = Profiles.open(tmp_path)
    phases = plan_experiment(profiles, RunRequest(experiment="tp-by-phase"))
    runs = added_runs(phases, phases.plan, [PlacedLayout(layout="1xTP1")])
    assert [run.workload.mode for run in runs] == ["prefill-only", "decode-only"]
    first = phases.plan.runs[0]
    assert runs[0].points == first.points
    assert int(runs[0].id) == len(phases.plan.runs) + 1

    apart = plan_experiment(profiles, RunRequest(experiment="pack-vs-spread"))
    networks = {
        strategy: added_runs(
            apart, apart.plan, [PlacedLayout(layout="1P-TP4+1D-TP4", strategy=strategy)]
        )[0].network
        for strategy in ("pack", "spread")
    }
    assert networks == {"pack": "cuda-ipc", "spread": "srd"}


def test_an_added_layout_needs_a_network_that_reaches(planned: Planned) -> None:
    spread = PlacedLayout(layout="1P-TP2+1D-TP2", strategy="spread")
    with pytest.raises(PlanError, match="cuda-ipc"):
        added_runs(planned, planned.plan, [spread])
