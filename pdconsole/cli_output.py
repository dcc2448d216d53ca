"""How commands print what programs read, and what people read beside it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click


def print_json(value: Any) -> None:
    import json

    click.echo(json.dumps(value, indent=2))


def say_on_stderr(line: str) -> None:
    click.echo(line, err=True)


def say_skipped(problems: Sequence[str], at_most: int | None = None) -> None:
    """On stderr, file by file. A directory may hold any number of files that are no results: of
    more than `at_most` the others are counted."""
    shown = problems[:at_most]
    for problem in shown:
        click.echo(f"pdconsole: skipped {problem.encode(errors='replace').decode()}", err=True)
    if more := len(problems) - len(shown):
        click.echo(f"pdconsole: skipped {more} more; --json names them all", err=True)


def terminal_width() -> int:
    import shutil

    return shutil.get_terminal_size((120, 40)).columns
