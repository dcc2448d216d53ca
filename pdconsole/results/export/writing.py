"""Puts an export down: all of its files or none, and never over what is there."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path, PurePath

import msgspec

from pdconsole.results.errors import ResultError


class ExportFile(msgspec.Struct, frozen=True):
    path: PurePath  # below the output directory
    data: bytes


def write_file(output: Path, data: bytes) -> None:
    """Raises ResultError when it is there already or cannot be written."""
    _refuse_existing(output, output.exists())
    temporary = _beside(output)
    try:
        try:
            temporary.write_bytes(data)
            temporary.replace(output)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as e:
        raise _cannot(output, e) from e


def write_directory(output: Path, files: Iterable[ExportFile]) -> int:
    """Returns how many files. Raises ResultError when something is there already or a file cannot
    be written or made; nothing is left there then."""
    try:
        taken = output.exists() and (not output.is_dir() or any(output.iterdir()))
        _refuse_existing(output, taken)
        temporary = _beside(output)
        temporary.mkdir(parents=True)
    except OSError as e:
        raise _cannot(output, e) from e
    try:
        count = 0
        for count, file in enumerate(files, 1):  # noqa: B007
            path = temporary / file.path
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(file.data)
        temporary.replace(output)
        return count
    except OSError as e:
        raise _cannot(output, e) from e
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _beside(output: Path) -> Path:
    return output.with_name(f".{output.name}.{os.getpid()}.tmp")


def _refuse_existing(output: Path, taken: bool) -> None:
    if taken:
        raise ResultError(f"{output} is there already; name another output, or remove it first")


def _cannot(output: Path, error: OSError) -> ResultError:
    return ResultError(f"cannot write {output}: {error.strerror or error}; nothing was left there")
