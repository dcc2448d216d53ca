"""What would be started, as text: each process with its environment and command. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

import msgspec

from pdconsole.model.grid import format_indices
from pdconsole.model.survey import LaunchPlan, LaunchProcess

INDENT = "    "


def process_title(process: LaunchProcess) -> str:
    """`P1  node1 GPUs 0,1  http://…`."""
    gpus = f" GPUs {format_indices(process.slots)}" if process.slots else ""
    return f"{process.name}  {process.node}{gpus}" + (f"  {process.url}" if process.url else "")


def process_lines(process: LaunchProcess) -> list[str]:
    """Environment and command as a shell on that node would take them, an option a line."""
    lines = [f"{name}={shlex.quote(value)} \\" for name, value in sorted(process.env.items())]
    command = _options(process.argv)
    for n, words in enumerate(command):
        more = " \\" if n + 1 < len(command) else ""
        lines.append(f"{INDENT if n else ''}{shlex.join(words)}{more}")
    return lines


def shown_lines(process: LaunchProcess) -> list[str]:
    """To be read: the command first, an option a line, then its environment."""
    command = process_lines(msgspec.structs.replace(process, env={}))
    env = [f"{name}={shlex.quote(value)}" for name, value in sorted(process.env.items())]
    return [*command, "", "environment", *env] if env else command


def process_text(process: LaunchProcess) -> str:
    return "\n".join([f"# {process_title(process)}", *process_lines(process)])


def plans_text(plans: Sequence[LaunchPlan]) -> str:
    """All of it, to be copied."""
    parts = []
    for plan in plans:
        parts += [f"# run {plan.run}: cannot be started: {plan.refused}"] if plan.refused else []
        parts += [f"# {note}" for note in plan.notes]
        parts += [process_text(process) for process in plan.processes]
    return "\n\n".join(parts) + "\n"


def _options(argv: Sequence[str]) -> list[list[str]]:
    """The command split before each option, values with their option."""
    groups: list[list[str]] = [[]]
    for word in argv:
        if word.startswith("-") and len(word) > 1 and not word[1].isdigit():
            groups.append([])
        groups[-1].append(word)
    return [group for group in groups if group]
