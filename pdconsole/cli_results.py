"""The commands about results: what is wrong with them, and what they say about layouts.

As in `cli`, nothing but click is imported before a command needs it.
"""

from __future__ import annotations

import sys
from pathlib import Path

import click

from pdconsole import exit_codes
from pdconsole.cli_output import print_json, terminal_width

_RESULTS = click.argument(
    "paths", nargs=-1, required=True, metavar="DIR...", type=click.Path(path_type=Path)
)


@click.command()
@_RESULTS
@click.option("--json", "as_json", is_flag=True)
@click.option("--no-chart", is_flag=True, help="The table alone.")
def compare(paths: tuple[Path, ...], as_json: bool, no_chart: bool) -> None:
    """Compare result directories: a table of their points and a chart of throughput and TPOT."""
    from pdconsole.results import compare as compare_directories

    comparison = compare_directories(paths)
    if as_json:
        print_json(comparison.to_json())
    else:
        click.echo(comparison.text(width=terminal_width(), chart=not no_chart))
    for problem in comparison.skipped:
        click.echo(f"pdconsole: skipped {problem}", err=True)
    if comparison.skipped or not comparison.rows:
        sys.exit(exit_codes.CANNOT)


@click.command()
@_RESULTS
@click.option("--json", "as_json", is_flag=True, help="All findings, with the files they are of.")
@click.option("--fail-on", type=click.Choice(["bad", "warn", "info"]), help="Exit with 6 if found.")
def audit(paths: tuple[Path, ...], as_json: bool, fail_on: str | None) -> None:
    """Say what is wrong or doubtful in the numbers of result files, anyone's, and what to run
    instead.

    Findings alone are no failure: the exit code is 0 unless --fail-on asks, or files cannot be
    read.
    """
    from pdconsole.results.audit import audit_paths

    report = audit_paths(paths)
    if as_json:
        print_json(report.to_json())
    else:
        click.echo(report.text(width=terminal_width()))
    for problem in report.skipped:
        click.echo(f"pdconsole: skipped {problem}", err=True)
    if report.skipped or not report.points:
        sys.exit(exit_codes.CANNOT)
    if fail_on is not None and report.has(fail_on):
        sys.exit(exit_codes.DOUBTFUL)


def add_to(cli: click.Group) -> None:
    for command in (audit, compare):
        cli.add_command(command)
