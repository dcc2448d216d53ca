"""How commands are told which runs of an experiment are meant: options, and the request of them.

As in `cli`, nothing but click is imported before a command needs it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from pdconsole.model.request import PlacedLayout, RunRequest

Decorated = TypeVar("Decorated", bound=Callable[..., Any])

_OPTIONS = (
    click.option("--cluster", help="Cluster profile; default: the experiment's."),
    click.option("--model", help="Model profile; default: the experiment's."),
    click.option("--workload", help="Workload profile; default: the experiment's."),
    click.option(
        *("--layout", "--manual", "layouts"),
        multiple=True,
        help="Only this layout; may be repeated. 2P-TP2+1D-TP4@spread and 'P1=node1:0,1 "
        "D1=node1:2-5' also say where it goes.",
    ),
    click.option("--network", help="Network profile for every run."),
    click.option("--placement", type=click.Choice(["pack", "spread"]), help="Of layouts you name."),
    click.option("--quick", is_flag=True, help="The experiment's short form."),
    click.option("--with-optional", is_flag=True, help="The experiment's optional layouts too."),
)


def run_options(command: Decorated) -> Decorated:
    """The options that say which runs, in the order in which --help shows them."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def request_of(experiment: str, asked: dict[str, Any]) -> RunRequest:
    import shlex

    from pdconsole.model.request import RunRequest

    command = shlex.join(["pdconsole", *sys.argv[1:]])
    placed = placed_of(asked["layouts"], asked["placement"])
    if placed:
        asked = {**asked, "layouts": (), "placed": placed}
    return RunRequest(experiment=experiment, command=command, **asked)


def placed_of(
    layouts: tuple[str, ...], placement: str | None, *, always: bool = False
) -> tuple[PlacedLayout, ...]:
    from pdconsole.runner.command_line import placed_layouts

    try:
        return placed_layouts(layouts, placement, always=always)
    except ValueError as e:
        raise click.BadParameter(str(e), param_hint="LAYOUT") from None
