"""Which tables an experiment feeds, and what others are set against."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from pdconsole.profiles import ExperimentProfile, Profiles, shipped_profiles

SWEEPS = ("collocated-tp-sweep", "pack-vs-spread", "pd-ratio-sweep", "tp-by-phase")


@pytest.mark.parametrize("name", SWEEPS)
def test_shipped_sweeps_carry_question_expectation_and_tables(name: str) -> None:
    experiment = Profiles((shipped_profiles(),)).experiment(name)
    assert experiment.question
    assert experiment.expectation
    assert experiment.answer
    modes = {mode for table in experiment.answer for mode in table.modes or experiment.modes}
    assert modes == set(experiment.modes)


def made(**fields: object) -> ExperimentProfile:
    basic = {"name": "x", "question": "?", "model": "m", "workload": "w", "network": "n"}
    runs = [{"layout": "4xTP2"}, {"layout": "2xTP4"}]
    return ExperimentProfile.model_validate({**basic, "runs": runs, "concurrency": [4], **fields})


def test_a_latency_that_is_none_is_refused_with_those_there_are() -> None:
    assert made(answer=[{"latency": "chunk:16"}]).answer[0].table().latency == "chunk:16"
    with pytest.raises(ValidationError, match=r"'speed' is no latency: write tpot, ttft"):
        made(answer=[{"latency": "speed"}])


def test_there_is_one_baseline() -> None:
    runs = [{"layout": "4xTP2", "baseline": True}, {"layout": "2xTP4", "baseline": True}]
    with pytest.raises(ValidationError, match="two runs are the baseline"):
        made(runs=runs)
