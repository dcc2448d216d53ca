"""How commands print what programs read, and what people read beside it."""

from __future__ import annotations

from typing import Any

import click


def print_json(value: Any) -> None:
    import json

    click.echo(json.dumps(value, indent=2))


def say_on_stderr(line: str) -> None:
    click.echo(line, err=True)


def terminal_width() -> int:
    import shutil

    return shutil.get_terminal_size((120, 40)).columns
