"""The commands about results: what is wrong with them, and what they say about layouts.

As in `cli`, nothing but click is imported before a command needs it.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pdconsole import exit_codes
from pdconsole.cli_output import print_json, say_skipped, terminal_width

if TYPE_CHECKING:
    from pdconsole.results.axes import Axes

_SKIPPED_SHOWN = 20

_RESULTS = click.argument(
    "paths", nargs=-1, required=True, metavar="DIR...", type=click.Path(path_type=Path)
)


@click.command()
@_RESULTS
@click.option(
    "--latency",
    default="tpot",
    show_default=True,
    metavar="LATENCY",
    help="tpot, ttft, itl, e2el, chunk:N (when N tokens are there) or interactivity; the median,"
    " or with :p99 that.",
)
@click.option(
    "--throughput",
    type=click.Choice(["total", "input", "output", "requests"]),
    default="total",
    show_default=True,
    help="Tokens of prompt and output, of one of them, or requests.",
)
@click.option(
    "--per",
    type=click.Choice(["gpu", "node", "deployment"]),
    default="gpu",
    show_default=True,
    help="What throughput is divided by.",
)
@click.option("--slo", metavar="BOUNDS", help='Such as "ttft<=500ms,tpot<=15ms".')
@click.option("--json", "as_json", is_flag=True)
@click.option("--csv", "as_csv", is_flag=True, help="A line a point.")
@click.option("--no-chart", is_flag=True, help="The table alone.")
@click.option(
    "-o",
    "--output",
    metavar="FIGURE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A figure too: a .png, .svg or .pdf file.",
)
def compare(
    paths: tuple[Path, ...],
    latency: str,
    throughput: str,
    per: str,
    slo: str | None,
    as_json: bool,
    as_csv: bool,
    no_chart: bool,
    output: Path | None,
) -> None:
    """Compare result directories: their points, which layout is best where and which nowhere, and
    how sure that is."""
    from pdconsole.results import ResultError
    from pdconsole.results import compare as compare_directories

    if as_json and as_csv:
        raise click.UsageError("--json and --csv are two forms of the same; give one")
    if output is not None:
        from pdconsole.results.figure import FORMATS, write_figure

        if output.suffix.lower() not in FORMATS:
            raise click.UsageError(f"{output}: a figure is one of {', '.join(FORMATS)}")
    comparison = compare_directories(paths, axes_of(latency, throughput, per, slo))
    if as_json:
        print_json(comparison.to_json())
    elif as_csv:
        click.echo(comparison.to_csv(), nl=False)
    else:
        click.echo(comparison.text(width=terminal_width(), chart=not no_chart))
    say_skipped(comparison.skipped)
    if output is not None:
        try:
            write_figure(comparison, output)
        except ResultError as e:
            raise click.ClickException(str(e)) from e
        click.echo(f"wrote {output}", err=True)
    if comparison.skipped or not comparison.rows:
        sys.exit(exit_codes.CANNOT)


def axes_of(latency: str, throughput: str, per: str, slo: str | None) -> Axes:
    from pdconsole.model.latency_axis import AxisError, parse_latency
    from pdconsole.model.slo import parse_slo
    from pdconsole.results.axes import Axes, ThroughputAxis

    try:
        return Axes(
            latency=parse_latency(latency),
            throughput=ThroughputAxis(what=throughput, per=per),  # type: ignore[arg-type]
            slo=parse_slo(slo) if slo else None,
        )
    except AxisError as e:
        raise click.UsageError(str(e)) from e


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
    say_skipped(report.skipped, None if as_json else _SKIPPED_SHOWN)
    if report.skipped or not report.points:
        sys.exit(exit_codes.CANNOT)
    if fail_on is not None and report.has(fail_on):
        sys.exit(exit_codes.DOUBTFUL)


@click.command()
@_RESULTS
@click.option(
    "--to",
    "form",
    required=True,
    type=click.Choice(["csv", "parquet", "sweep", "llm-d", "aiperf"]),
    help="The format; docs/exports.md says what each holds.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="The new file or directory; only csv goes to the terminal without it.",
)
def export(paths: tuple[Path, ...], form: str, output: Path | None) -> None:
    """Write the points of result files, anyone's, in a format that other tools read."""
    if output is None and form != "csv":
        raise click.UsageError(f"name a file or directory for {form} with --output")
    from pdconsole.results import ResultError
    from pdconsole.results.export import csv_text, export_points
    from pdconsole.results.reading import read_all

    rows, problems = read_all(paths)
    complaints = [f"skipped {problem}" for problem in problems]
    try:
        if output is None:
            click.echo(csv_text(rows), nl=False)
        else:
            done = export_points(rows, form, output)
            complaints += [f"left out {each}" for each in done.left_out]
            click.echo(f"{output}: {done.points} points, {done.files} files")
    except ResultError as e:
        complaints.append(str(e))
    for complaint in complaints:
        click.echo(f"pdconsole: {complaint}", err=True)
    if complaints:
        sys.exit(exit_codes.CANNOT)


def add_to(cli: click.Group) -> None:
    for command in (audit, compare, export):
        cli.add_command(command)
