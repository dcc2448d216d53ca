"""The command line in a record asks for what was asked for."""

from __future__ import annotations

import shlex
from typing import Any

import click
import msgspec
import pytest

from pdconsole import cli, cli_request
from pdconsole.model.request import PlacedLayout, RunRequest
from pdconsole.runner.command_line import command_line

AD_HOC: dict[str, Any] = {
    "experiment": "ad-hoc",
    "cluster": "embedded",
    "model": "gpt-oss-120b",
    "workload": "itl5000-otl250",
    "network": "cuda-ipc",
}


def asked_by(command: str) -> RunRequest:
    """What the `run` command makes of these words."""
    program, name, *words = shlex.split(command)
    assert (program, name) == ("pdconsole", "run")
    context = cli.run.make_context("run", words, parent=click.Context(cli.cli, obj=None))
    asked = dict(context.params)
    for name in ("resumed", "detach", "plain", "as_json", "export", "output"):
        asked.pop(name)
    return cli_request.request_of(asked.pop("experiment"), asked)


@pytest.mark.parametrize(
    "request_",
    [
        RunRequest(
            **AD_HOC,
            placed=(
                PlacedLayout(layout="2P-TP2+1D-TP4", strategy="spread"),
                PlacedLayout(strategy="manual", manual="P1=node1:0,1 D1=node2:4-7"),
                PlacedLayout(layout="4xTP2"),
            ),
            concurrency=(4, 16),
            request_rate=(1.5,),
            min_window_s=2.5,
            ignore_checks=True,
        ),
        RunRequest(**AD_HOC, layouts=("2xTP4",), placement="pack"),
        RunRequest(experiment="pd-ratio-sweep", quick=True, with_optional=True),
        RunRequest(experiment="pd-ratio-sweep", placed=(PlacedLayout(layout="8xTP1"),)),
    ],
)
def test_a_request_comes_back_from_its_command_line(request_: RunRequest) -> None:
    again = asked_by(command_line(request_))
    assert msgspec.structs.replace(again, command="") == request_


def test_a_strategy_that_there_is_not() -> None:
    with pytest.raises(click.BadParameter, match="pack or spread"):
        asked_by("pdconsole run ad-hoc --layout=2xTP4@scatter")
