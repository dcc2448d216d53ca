"""The commands. Thin: each parses its words, calls one part, prints, and says how it went.

Nothing but click is imported before a command needs it, so that `--help` is there at once.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TextIO

import click

from pdconsole import __version__, cli_finding, cli_nodes, cli_results, cli_steering, exit_codes
from pdconsole.cli_output import print_json, terminal_width
from pdconsole.cli_request import request_of, run_options
from pdconsole.cli_steering import call_runner

if TYPE_CHECKING:
    from pdconsole.journal import SessionDir
    from pdconsole.model.request import Call, Reply, RunRequest
    from pdconsole.model.state import State
    from pdconsole.ui.follow import Display

WORKSPACE_VARIABLE = "PDCONSOLE_WORKSPACE"


class Failed(click.ClickException):
    """One sentence for a person on stderr, exit code CANNOT."""

    exit_code = exit_codes.CANNOT

    def show(self, file: Any = None) -> None:
        click.echo(f"pdconsole: {self.message}", err=True)


class Commands(click.Group):
    """Turns the sentences of our parts' exceptions into exit codes, and nothing else."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except KeyboardInterrupt:
            raise click.Abort from None
        except BrokenPipeError:
            # The reader of our output left; say nothing more, to nobody.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(exit_codes.OK)
        except OSError as e:
            # A disk, a mode, a limit: matters of the machine, whose own word names the file.
            raise Failed(f"{e.strerror or e}: {e.filename or 'standard output'}") from e
        except Exception as e:
            if _is_for_people(e):
                raise Failed(str(e)) from e
            raise


def _is_for_people(error: Exception) -> bool:
    """Whether str(error) is a sentence for people: true of the one exception class of each part."""
    from pdconsole.runner.client import RunnerError

    if isinstance(error, RunnerError):
        return True
    from pdconsole.runner.user_errors import USER_ERRORS

    return isinstance(error, USER_ERRORS)


@click.group(
    cls=Commands,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, message="%(version)s")
@click.option(
    "-w",
    "--workspace",
    type=click.Path(file_okay=False, path_type=Path),
    envvar=WORKSPACE_VARIABLE,
    default=Path(),
    show_envvar=True,
    help="Directory with profiles/, sessions/ and bm_results/. Default: the current directory.",
)
@click.pass_context
def cli(ctx: click.Context, workspace: Path) -> None:
    """Explore prefill:decode disaggregation of vLLM: place, launch over ssh, load, watch, record,
    compare, decide. Without a command: the console."""
    if not workspace.is_dir() and ctx.invoked_subcommand != "init":  # which names its own
        raise Failed(f"{workspace} is no directory; make a workspace with `pdconsole init DIR`")
    ctx.obj = workspace.resolve()
    if ctx.invoked_subcommand is None:
        _open_console(ctx.obj)


def _open_console(workspace: Path, **how: Any) -> NoReturn:
    from pdconsole.ui.open_console import has_terminal, open_console

    if not has_terminal():
        raise Failed("the console needs a terminal; `pdconsole --help` lists the commands")
    sys.exit(open_console(workspace, **how))


def main() -> None:
    cli(prog_name="pdconsole")


# --- running ---


@cli.command()
@click.argument("experiment", required=False)
@run_options
@click.option("--concurrency", multiple=True, type=int, help="Closed-loop point; may be repeated.")
@click.option("--request-rate", multiple=True, type=float, help="Open-loop point, requests/s.")
@click.option("--min-window", "min_window_s", type=float, help="Shortest window of a point, s.")
@click.option("--ignore-checks", is_flag=True, help="Go on although a hard check failed; recorded.")
@click.option("--no-validate", is_flag=True, help="Do not validate KV transfers; recorded.")
@click.option("--resume", "resumed", metavar="SESSION", help="Go on where SESSION ended.")
@click.option("--detach", is_flag=True, help="Return as soon as the runner has begun.")
@click.option("--plain", is_flag=True, help="Plain lines, no progress bar.")
@click.option("--json", "as_json", is_flag=True, help="A JSON summary on stdout, lines on stderr.")
@click.option("--export-sh", "export", is_flag=True, help="Write a shell script of it instead.")
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="Its file.")
@click.pass_obj
def run(
    workspace: Path,
    /,
    experiment: str | None,
    resumed: str | None,
    detach: bool,
    plain: bool,
    as_json: bool,
    export: bool,
    output: Path | None,
    **asked: Any,
) -> None:
    """Carry out EXPERIMENT: every layout deployed, measured and recorded.

    The experiment `ad-hoc` has no profile: name its cluster, model, workload, network and layouts.

    The work is done by a background process, which goes on when this one is closed. Ctrl-C asks it
    for an orderly stop, a second Ctrl-C ends it at once; both leave nothing running on any node.
    """
    if (experiment is None) == (resumed is None):
        raise click.UsageError("name an EXPERIMENT, or --resume SESSION")
    if resumed is not None and (export or any(v for k, v in asked.items() if k != "ignore_checks")):
        raise click.UsageError(
            "--resume goes on with what the session was asked; leave out the rest"
        )
    from pdconsole.runner.client import begin

    if resumed is not None:
        call = _resume_call(workspace, resumed, asked["ignore_checks"])
    else:
        request = request_of(experiment or "", asked)
        if export:
            _export(workspace, request, output)
            return
        call = _run_call(request)
    reply = begin(workspace, call)
    if detach:
        _say_detached(workspace, reply, as_json)
        return
    try:
        _follow_to_the_end(workspace, reply.session, plain=plain, as_json=as_json)
    except KeyboardInterrupt:  # it came before the follower was there to take it
        from pdconsole.model.request import Call

        call_runner(workspace, Call(command="stop"))
        raise


def _run_call(request: RunRequest) -> Call:
    from pdconsole.model.request import Call

    return Call(command="run", run=request)


def _resume_call(workspace: Path, session: str, ignore_checks: bool) -> Call:
    from pdconsole.journal import SessionDir
    from pdconsole.model.request import Call

    name = SessionDir.find(workspace, session).name
    return Call(command="resume", session=name, ignore_checks=ignore_checks)


def _say_detached(workspace: Path, reply: Reply, as_json: bool) -> None:
    if as_json:
        print_json({"session": reply.session, "path": str(workspace / "sessions" / reply.session)})
    else:
        click.echo(f"{reply.session} has begun; follow it with `pdconsole watch`")


def _export(workspace: Path, request: RunRequest, output: Path | None) -> None:
    from pdconsole.runner.export import export_experiment

    for path in export_experiment(workspace, request, output):
        click.echo(f"wrote {path}")


def _follow_to_the_end(workspace: Path, name: str, *, plain: bool, as_json: bool) -> None:
    from pdconsole.journal import SessionDir
    from pdconsole.ui.follow import Interrupts, follow

    session = SessionDir.find(workspace, name)
    out = sys.stderr if as_json else sys.stdout
    display = _display(out, plain=plain)
    with Interrupts(lambda count: _stop_by_key(workspace, count, display)):
        state = follow(session, display)
    state = _with_runners_word(workspace, state)
    _end_by_state(workspace, state, as_json=as_json)


def _with_runners_word(workspace: Path, state: State) -> State:
    """A full disk leaves a session without its last event; its runner, if alive, knows why."""
    if state.status != "broken-off":
        return state
    import msgspec

    from pdconsole.model.request import Call
    from pdconsole.runner.client import connect

    client = connect(workspace)
    if client is None:
        return state
    with client:
        reply = client.call(Call(command="hello"))
    if reply.last_session != state.session:
        return state
    return msgspec.structs.replace(state, status="failed", message=reply.last_message)


def _display(out: TextIO, *, plain: bool) -> Display:
    from pdconsole.ui.follow import PlainDisplay, ProgressDisplay

    return PlainDisplay(out) if plain or not out.isatty() else ProgressDisplay(out)


def _stop_by_key(workspace: Path, count: int, display: Display) -> None:
    from pdconsole.model.request import Call
    from pdconsole.runner.client import RunnerError

    now = count > 1
    display.say(
        "ending it at once" if now else "stopping in order; Ctrl-C once more ends it at once"
    )
    try:
        call_runner(workspace, Call(command="stop", now=now))
    except RunnerError as e:
        display.say(f"pdconsole: {e}")


def _end_by_state(workspace: Path, state: State, *, as_json: bool) -> NoReturn:
    from pdconsole.ui.summary import session_summary, summary_text

    if as_json:
        print_json(session_summary(workspace, state))
    else:
        click.echo(summary_text(workspace, state))
    code = {
        "finished": exit_codes.OK,
        "stopped": exit_codes.STOPPED,
        "broken-off": exit_codes.BROKEN_OFF,
    }.get(state.status, exit_codes.SESSION_FAILED)
    sys.exit(code)


@cli.command()
@click.argument("session", required=False, default="")
@click.option("--plain", is_flag=True, help="Plain lines, as for pipes.")
@click.option("--from-start", is_flag=True, help="Everything recorded so far first.")
@click.pass_obj
def watch(workspace: Path, session: str, plain: bool, from_start: bool) -> None:
    """Follow SESSION (default: the newest); one that has ended is shown from its start.

    In a terminal this opens the console on it; elsewhere it writes lines. Watching costs the
    experiment nothing, and ending the watch does not end it.
    """
    from pdconsole.journal import SessionDir
    from pdconsole.ui.follow import follow
    from pdconsole.ui.open_console import has_terminal

    directory = SessionDir.find(workspace, session)
    whole = from_start or not directory.is_held()
    if not plain and has_terminal():
        _open_console(workspace, session=str(directory.path), at=0.0 if whole else None)
    state = follow(directory, _display(sys.stdout, plain=plain), from_start=whole)
    state = _with_runners_word(workspace, state)
    _end_by_state(workspace, state, as_json=False)


@cli.command()
@click.argument("session", required=False, default="")
@click.option("--speed", type=click.FloatRange(0.25, 64.0), default=1.0, show_default=True)
@click.option("--at", metavar="TIME", default="0", show_default=True, help="12:40, 90s, 50%, end.")
@click.pass_obj
def replay(workspace: Path, session: str, speed: float, at: str) -> None:
    """Play SESSION (default: the newest) in the console, from TIME on."""
    from pdconsole.journal import SessionDir

    directory = SessionDir.find(workspace, session)
    _open_console(workspace, session=str(directory.path), at=_position(directory, at), speed=speed)


def _position(session: SessionDir, text: str) -> float:
    """Session seconds of what was typed."""
    from pdconsole.journal.session import summarize
    from pdconsole.ui.replay_track import parse_position

    found = parse_position(text, 0.0, summarize(session).duration_s or 0.0)
    if found is None:
        raise click.BadParameter("write a time, as in 12:40, 90s, 50% or end", param_hint="--at")
    return found


# --- looking ---


@cli.command()
@click.option("--json", "as_json", is_flag=True)
@click.pass_obj
def sessions(workspace: Path, as_json: bool) -> None:
    """List the workspace's sessions, the newest first."""
    from pdconsole.journal import list_sessions
    from pdconsole.ui.tables import sessions_table

    found = list_sessions(workspace)
    if as_json:
        import msgspec

        print_json(msgspec.to_builtins(found))
        return
    click.echo(sessions_table(found, width=terminal_width()))


@cli.command()
@click.argument("layout", required=False)
@click.option("--cluster", help="Nodes and GPUs of this cluster profile.")
@click.option("--nodes", type=click.IntRange(1), default=1, show_default=True)
@click.option("--gpus-per-node", type=click.IntRange(1), default=8, show_default=True)
@click.option("--tp", default="1,2,4,8", show_default=True, help="TP degrees to use.")
@click.option("--vllm", "version", default="0.33.0", show_default=True, help="Rules of this vLLM.")
@click.option("--model", default="gpt-oss-120b", show_default=True, help="For its KV heads.")
@click.option("--kind", type=click.Choice(["all", "pd", "collocated"]), default="all")
@click.option("--ep", is_flag=True, help="Expert-parallel layouts too.")
@click.option("--gpus", type=click.IntRange(1), help="Only layouts of exactly so many GPUs.")
@click.option("--json", "as_json", is_flag=True)
@click.pass_obj
def layouts(workspace: Path, /, layout: str | None, as_json: bool, **asked: Any) -> None:
    """List every feasible layout; or explain one LAYOUT: its forms, GPUs and whether it fits."""
    from pdconsole.ui.layouts import explain_layout, feasible_layouts, layouts_text

    tp_degrees = _integers(asked.pop("tp"), "--tp")
    if layout is not None:
        found: Any = explain_layout(workspace, layout, tp_degrees=tp_degrees, **asked)
    else:
        found = feasible_layouts(workspace, tp_degrees=tp_degrees, **asked)
    if as_json:
        print_json(found)
    else:
        click.echo(layouts_text(found))


def _integers(text: str, option: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise click.BadParameter("write whole numbers, as in 1,2,4", param_hint=option) from None


# --- the workspace ---


@cli.command()
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
def init(directory: Path) -> None:
    """Make DIRECTORY a workspace: profiles to copy and change, places for sessions and results."""
    from pdconsole.profiles import init_workspace

    written = init_workspace(directory)
    for path in written:
        click.echo(f"wrote {path}")
    if not written:
        click.echo("nothing to write: the workspace has all of it already")


@cli.group()
def profiles() -> None:
    """The workspace's profiles."""


@profiles.command("check")
@click.option("--json", "as_json", is_flag=True)
@click.pass_obj
def profiles_check(workspace: Path, as_json: bool) -> None:
    """Check every profile: files, fields, and what they name of each other."""
    from pdconsole.profiles import KINDS, Profiles

    found = Profiles.open(workspace)
    problems = found.check()
    if as_json:
        import msgspec

        print_json(msgspec.to_builtins(problems))
    else:
        for problem in problems:
            click.echo(str(problem))
        if not problems:
            for kind in KINDS:
                click.echo(f"{kind + 's':<12} {', '.join(found.names(kind))}")
            click.echo("all profiles are sound")
    if problems:
        sys.exit(exit_codes.CANNOT)


cli_nodes.add_to(cli)
cli_results.add_to(cli)
cli_finding.add_to(cli)
cli_steering.add_to(cli)
