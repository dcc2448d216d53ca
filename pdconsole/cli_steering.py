"""The commands that steer the session that runs.

As in `cli`, nothing but click is imported before a command needs it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pdconsole.cli_request import placed_of

if TYPE_CHECKING:
    from pdconsole.model.request import Call, Reply


def call_runner(workspace: Path, call: Call) -> Reply:
    """Raises RunnerError where nothing runs in this workspace."""
    from pdconsole.runner.client import RunnerError, connect

    client = connect(workspace)
    if client is None:
        raise RunnerError("nothing is running in this workspace; see `pdconsole sessions`")
    with client:
        return client.call(call)


def _steer(workspace: Path, says: str, **call: Any) -> None:
    from pdconsole.model.request import Call

    reply = call_runner(workspace, Call(**call))
    click.echo(f"{reply.session}: {says}")


@click.command()
@click.option("--now", is_flag=True, help="End it at once instead of in order.")
@click.pass_obj
def stop(workspace: Path, now: bool) -> None:
    """Stop the running session; nothing of it stays on any node."""
    _steer(workspace, "ending at once" if now else "stopping", command="stop", now=now)


@click.command()
@click.pass_obj
def pause(workspace: Path) -> None:
    """Pause the running session after the current point; its workers stay up."""
    _steer(workspace, "pauses after this point", command="pause")


@click.command()
@click.pass_obj
def resume(workspace: Path) -> None:
    """Go on with the paused session. (One that has ended: `run --resume SESSION`.)"""
    _steer(workspace, "goes on", command="unpause")


@click.command()
@click.option("--layout", is_flag=True, help="The rest of this layout, not just this point.")
@click.option("--run", "runs", multiple=True, metavar="ID", help="A layout that has not begun.")
@click.pass_obj
def skip(workspace: Path, layout: bool, runs: tuple[str, ...]) -> None:
    """Skip the current point, the rest of the current layout, or layouts that have not begun."""
    scope = "layout" if layout or runs else "point"
    says = f"skips run {', '.join(runs)}" if runs else f"skips this {scope}"
    _steer(workspace, says, command="skip", scope=scope, runs=runs)


@click.command()
@click.argument("runs", nargs=-1, required=True, metavar="ID...")
@click.pass_obj
def reorder(workspace: Path, runs: tuple[str, ...]) -> None:
    """Have the running session's layouts that have not begun come in this order."""
    _steer(workspace, f"goes on with run {', '.join(runs)}", command="reorder", runs=runs)


@click.command()
@click.argument("layouts", nargs=-1, required=True, metavar="LAYOUT...")
@click.option("--placement", type=click.Choice(["pack", "spread"]), default="pack")
@click.pass_obj
def add(workspace: Path, layouts: tuple[str, ...], placement: str) -> None:
    """Add layouts to the running session: 2xTP4, 2P-TP2+1D-TP4@spread, 'P1=node1:0 D1=node1:1'."""
    placed = placed_of(layouts, placement, always=True)
    _steer(workspace, f"will do {', '.join(layouts)} too", command="add", placed=placed)


def add_to(cli: click.Group) -> None:
    for command in (stop, pause, resume, skip, reorder, add):
        cli.add_command(command)
