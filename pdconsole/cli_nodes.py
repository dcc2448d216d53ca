"""The commands about nodes: what runs on them, and whether what they do is right.

As in `cli`, nothing but click is imported before a command needs it.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from pdconsole import exit_codes
from pdconsole.cli_output import print_json, say_on_stderr
from pdconsole.cli_request import request_of, run_options


@click.command()
@click.argument("layout", default="1P-TP1+1D-TP1")
@click.option("--cluster", default="embedded", show_default=True)
@click.option("--model", default="gpt-oss-120b", show_default=True)
@click.option("--network", default="cuda-ipc", show_default=True)
@click.option("--placement", type=click.Choice(["pack", "spread"]), default="pack")
@click.option("--ignore-checks", is_flag=True)
@click.option("--json", "as_json", is_flag=True)
@click.pass_obj
def smoke(workspace: Path, /, as_json: bool, **asked: Any) -> None:
    """Deploy LAYOUT, send one completion through it, take it down again."""
    from pdconsole.runner.smoke import smoke_test

    say = say_on_stderr if as_json else click.echo
    outcome = smoke_test(workspace, say=say, **asked)
    if as_json:
        print_json(outcome)


@click.command()
@click.argument("cluster", default="embedded")
@click.option("--live", is_flag=True, help="Also what sessions with a living agent still use.")
@click.option("--dry-run", is_flag=True, help="Say what would be ended.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--json", "as_json", is_flag=True)
@click.pass_obj
def clean(
    workspace: Path, cluster: str, live: bool, dry_run: bool, yes: bool, as_json: bool
) -> None:
    """Find leftover processes of ours on CLUSTER's nodes, of any session, and end them.

    What a living agent supervises is listed but left alone: its session may go on, and if its
    runner is gone the agent ends everything itself when the lease runs out. --live ends it too.
    """
    import msgspec

    from pdconsole.runner.leftovers import end_leftovers, find_leftovers

    found = find_leftovers(workspace, cluster)
    unwanted = [entry for entry in found if live or not entry.supervised]
    if as_json:
        print_json(msgspec.to_builtins(found))
    else:
        for entry in found:
            click.echo(str(entry))
        if not found:
            click.echo(f"nothing of ours runs on {cluster}")
        elif not unwanted:
            click.echo("all of it is supervised; --live ends it all the same")
    if not unwanted or dry_run:
        return
    if not yes:
        click.confirm(f"End {len(unwanted)} of them?", abort=True, err=as_json)
    end_leftovers(workspace, cluster, unwanted)
    click.echo("ended", err=as_json)


@click.command()
@click.argument("layout", default="1P-TP1+1D-TP1")
@click.option("--cluster", default="embedded", show_default=True)
@click.option("--model", default="gpt-oss-120b", show_default=True)
@click.option("--network", default="cuda-ipc", show_default=True)
@click.option("--other-network", help="Compare with P to D over this one too.")
@click.option("--placement", type=click.Choice(["pack", "spread"]), default="pack")
@click.option("--ignore-checks", is_flag=True, help="Go on although a hard check failed.")
@click.option("--json", "as_json", is_flag=True)
@click.pass_obj
def validate(workspace: Path, /, as_json: bool, **asked: Any) -> None:
    """Deploy LAYOUT and see whether the KV that P hands to D is right; take it down again.

    What P and D made together is scored token by token by a replica alone, idle and under load,
    and transfers that are corrupted on purpose show how small a corruption would be seen.
    """
    from pdconsole.runner.validate import validate_layout

    say = say_on_stderr if as_json else click.echo
    outcome = validate_layout(workspace, say=say, **asked)
    if as_json:
        print_json(outcome)
    unjudged = outcome["verdict"] == "unknown" and not outcome["simulated"]
    if outcome["verdict"] == "fail" or unjudged:
        sys.exit(exit_codes.CANNOT)


@click.command()
@click.argument("experiment", required=False)
@run_options
@click.option("--all", "show_all", is_flag=True, help="Those that are well too.")
@click.option("--json", "as_json", is_flag=True)
@click.pass_obj
def check(
    workspace: Path, /, experiment: str | None, show_all: bool, as_json: bool, **asked: Any
) -> None:
    """Look at the nodes as a run of EXPERIMENT would before it starts; nothing is started.

    Without an experiment: all of --cluster, whatever may run there.
    """
    import msgspec

    from pdconsole.runner.check_cluster import check_cluster, check_request
    from pdconsole.ui.check_table import checks_text

    cluster = asked["cluster"]
    if experiment is not None:
        found = check_request(workspace, request_of(experiment, asked))
    elif cluster is None:
        raise click.UsageError("name an EXPERIMENT or a --cluster")
    elif any(value for name, value in asked.items() if name != "cluster"):
        raise click.UsageError("these options choose among an EXPERIMENT's runs; name one")
    else:
        found = check_cluster(workspace, cluster)
    if as_json:
        print_json(msgspec.to_builtins(found))
    else:
        click.echo(checks_text(found, every=show_all))
    if any(result.hard and result.verdict == "fail" for result in found.results):
        sys.exit(exit_codes.CANNOT)


@click.command()
@click.option("--cluster", default="embedded", show_default=True)
@click.option("--model", default="gpt-oss-120b", show_default=True, help="Whose KV is moved.")
@click.option("--network", "networks", multiple=True, required=True, help="May be repeated.")
@click.option("--nodes", default="", metavar="SLOT,SLOT", help="Read the first's from the second.")
@click.option("--tokens", type=click.IntRange(min=1), help="Of the prompt whose KV is moved.")
@click.option("--ignore-checks", is_flag=True, help="Go on although a hard check failed.")
@click.option("--json", "as_json", is_flag=True)
@click.pass_obj
def netbench(workspace: Path, /, as_json: bool, **asked: Any) -> None:
    """Measure how fast NIXL moves KV between two slots, such as --nodes node1:0,node2:0.

    No engine is started: two NIXL agents, memory laid out like the model's KV cache, READ as vLLM
    does, every block checked, and the transport that UCX says it used.
    """
    from pdconsole.runner.netbench import network_test

    say = say_on_stderr if as_json else click.echo
    outcomes = network_test(workspace, say=say, **asked)
    if as_json:
        print_json(outcomes)
    if any(outcome["verdict"] == "fail" for outcome in outcomes):
        sys.exit(exit_codes.CANNOT)


@click.command()
@click.argument("cluster")
@click.option(
    "--stack",
    type=click.Choice(["today", "0.11"]),
    help="Versions to install; default: those that fit what is there, else today's.",
)
@click.option("--dry-run", is_flag=True, help="Say what each node still needs, and do nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--json", "as_json", is_flag=True)
@click.pass_obj
def setup(
    workspace: Path, cluster: str, stack: str | None, dry_run: bool, yes: bool, as_json: bool
) -> None:
    """Say what CLUSTER's nodes still need to serve, and install what needs no root.

    What needs root is printed for a person to run.
    """
    import msgspec

    from pdconsole.runner.setup_nodes import carry_out_setup, plan_setup
    from pdconsole.serving.node_setup import setup_text

    steps = plan_setup(workspace, cluster, stack)
    if as_json:
        print_json(msgspec.to_builtins(steps))
    else:
        click.echo(setup_text(cluster, steps))
    ours = [step for step in steps if step.by == "run"]
    if dry_run or not ours:
        return
    if not yes:
        click.confirm(f"Run {len(ours)} of these steps now?", abort=True, err=as_json)
    carry_out_setup(workspace, cluster, ours, say_on_stderr if as_json else click.echo)
    click.echo(f"done; see with `pdconsole check --cluster {cluster}`", err=as_json)


def add_to(cli: click.Group) -> None:
    for command in (setup, check, smoke, clean, validate, netbench):
        cli.add_command(command)
