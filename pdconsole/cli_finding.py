"""`finding new`: a section in the workspace's FINDINGS.md about results or a session."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pdconsole.cli_output import say_skipped
from pdconsole.cli_results import axes_of

if TYPE_CHECKING:
    from pdconsole.results.finding import Subject


@click.group()
def finding() -> None:
    """Write down what was found."""


@finding.command()
@click.argument("what", nargs=-1, required=True, metavar="DIR...|SESSION")
@click.option("--title", default="", help="Default: the experiment's, or the directories' names.")
@click.option("--question", default="", help="Default: the experiment's.")
@click.option(
    "--latency",
    default="tpot",
    show_default=True,
    metavar="LATENCY",
    help="Of the tables and the figure, as `compare` takes it.",
)
@click.option(
    "--throughput",
    type=click.Choice(["total", "input", "output", "requests"]),
    default="total",
    show_default=True,
)
@click.option(
    "--per", type=click.Choice(["gpu", "node", "deployment"]), default="gpu", show_default=True
)
@click.pass_obj
def new(
    workspace: Path,
    what: tuple[str, ...],
    title: str,
    question: str,
    latency: str,
    throughput: str,
    per: str,
) -> None:
    """Begin a section in FINDINGS.md about DIR... or SESSION, with a figure under figures/.

    Numbers, tables, commands and paths are filled in; what is marked ✎ is yours to write. What
    stands in the file already is left alone.
    """
    from pdconsole.results import ResultError, compare
    from pdconsole.results.audit import audit_rows
    from pdconsole.results.finding import add_finding

    axes = axes_of(latency, throughput, per, None)
    paths, subject = _subject(workspace, what, title, question)
    options = [f"--latency={latency}", f"--throughput={throughput}", f"--per={per}"]
    comparison = compare(paths, axes)
    say_skipped(comparison.skipped)
    if not comparison.rows:
        raise ResultError("nothing to write about: no results could be read")
    audit = audit_rows(comparison.rows, comparison.skipped)
    written = add_finding(workspace, _with_commands(subject, options), comparison, audit)
    if written.figure:
        click.echo(f"wrote {_from_here(written.figure)}")
    file = _from_here(written.file)
    click.echo(f"wrote section {written.number} of {file}; ✎ marks what is yours to write")


def _from_here(path: Path) -> Path:
    """As `init` and `compare` name files: short where it lies below the current directory."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def _subject(
    workspace: Path, what: tuple[str, ...], title: str, question: str
) -> tuple[list[Path], Subject]:
    """The result directories, and what is known of them."""
    from pdconsole.results.errors import ResultError
    from pdconsole.results.finding import Subject

    if _is_session(what):
        return _of_session(workspace, what[0], title, question)
    paths = [Path(each) for each in what]
    missing = next((path for path in paths if not path.exists()), None)
    if missing is not None:
        raise ResultError(f"there is no {missing}")
    subject = Subject(
        title=title or _common_name(paths),
        question=question,
        data=tuple(_written(workspace, path) for path in paths),
    )
    return paths, subject


def _is_session(what: tuple[str, ...]) -> bool:
    if len(what) != 1:
        return False
    path = Path(what[0])
    return not path.exists() or (path / "events.jsonl").exists()


def _of_session(
    workspace: Path, name: str, title: str, question: str
) -> tuple[list[Path], Subject]:
    import msgspec

    from pdconsole.journal import JournalError, SessionDir
    from pdconsole.model.plan import ExperimentPlan
    from pdconsole.results.answer import answer
    from pdconsole.results.directory import session_directories
    from pdconsole.results.errors import ResultError
    from pdconsole.results.finding import Subject

    session = SessionDir.find(workspace, name)
    meta = session.read_meta()
    try:
        plan = msgspec.convert(meta["plan"], ExperimentPlan)
    except (KeyError, msgspec.ValidationError) as e:
        raise JournalError(f"{session.meta_path} is damaged: {e}") from e
    root = workspace / "bm_results"
    paths = session_directories(root, session.name, plan.runs)
    if not paths:
        raise ResultError(f"{session.name} has no results in {root}")
    data = [session.path, *paths]
    subject = Subject(
        title=title or plan.experiment,
        question=question or plan.question,
        expectation=plan.expectation,
        reproduce=(meta["command"],) if meta.get("command") else (),
        data=tuple(_written(workspace, path) for path in data),
        answer=answer(root, session.name, plan),
    )
    return paths, subject


def _with_commands(subject: Subject, options: list[str]) -> Subject:
    """With the command that shows the numbers once more."""
    import msgspec

    from pdconsole.results.finding import compare_command

    defaults = ("--latency=tpot", "--throughput=total", "--per=gpu")
    chosen = [option for option in options if option not in defaults]
    results = [path for path in subject.data if not path.startswith("sessions/")]
    shown = compare_command(results, chosen)
    return msgspec.structs.replace(subject, reproduce=(*subject.reproduce, shown))


def _written(workspace: Path, path: Path) -> str:
    """From the workspace where it lies in there, so that both can move."""
    inside = path.resolve().is_relative_to(workspace.resolve())
    return os.path.relpath(path.resolve(), workspace.resolve()) if inside else str(path.resolve())


def _common_name(paths: list[Path]) -> str:
    """What the directories' names begin with, or the first one's name."""
    first, *others = (path.resolve().name for path in paths)
    shared = (
        c for i, c in enumerate(first) if all(name[: i + 1] == first[: i + 1] for name in others)
    )
    return "".join(shared).strip("_-. ") or first


def add_to(cli: click.Group) -> None:
    cli.add_command(finding)
