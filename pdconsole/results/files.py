"""Files that are there as a whole or not at all."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from pdconsole.results.errors import ResultError


def replace_file(path: Path, data: bytes) -> None:
    """Put `data` at `path` so that a reader, or a crash, sees the old file or the new one.

    Raises ResultError; the old file, if any, then stays.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        try:
            with temporary.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as e:
        raise write_error(path, e, len(data)) from e


def write_error(path: Path, error: OSError, needed: int = 0) -> ResultError:
    """The sentence for a failed write."""
    if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return ResultError(f"cannot write {path}: {error.strerror or error}")
    return ResultError(
        f"no room for {path}: {max(1, needed // 1024)} KiB are needed; "
        "make room there, then go on with `pdconsole run --resume`"
    )
