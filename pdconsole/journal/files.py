"""Files that hold whole records only: appended to, or replaced as a whole."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path
from types import TracebackType
from typing import Self

from pdconsole.journal.errors import DiskFullError, JournalError

_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class AppendOnlyFile:
    """A file that grows by whole records. What an append cannot finish, it takes back.

    With `exclusive` a second opener is refused for as long as this one lives.
    """

    def __init__(self, path: Path, *, exclusive: bool = False) -> None:
        self.path = path
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        try:
            self._fd = os.open(path, flags, 0o644)
        except OSError as e:
            raise write_error(path, e) from e
        try:
            if exclusive:
                self._lock()
            self.size = os.fstat(self._fd).st_size
        except BaseException:
            os.close(self._fd)
            raise

    def _lock(self) -> None:
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as e:
            raise JournalError(
                f"{self.path} is being written by another process; "
                "wait for it to end, or stop it with `pdconsole stop`"
            ) from e

    def append(self, data: bytes | bytearray, *, record_end: bytes = b"") -> None:
        """Write all of `data`.

        Raises DiskFullError or JournalError; the file then ends after the last of these records
        that fitted (records end with `record_end`; without it the data is one record).
        """
        written = 0
        try:
            while written < len(data):
                with memoryview(data) as view, view[written:] as rest:
                    written += os.write(self._fd, rest)
        except OSError as e:
            end = data.rfind(record_end, 0, written) if record_end else -1
            kept = end + len(record_end) if end >= 0 else 0
            self.cut(self.size + kept)
            raise write_error(self.path, e, needed=len(data) - kept, kept=kept) from e
        self.size += written

    def cut(self, size: int) -> None:
        """Drop what is beyond `size` bytes."""
        os.ftruncate(self._fd, size)
        self.size = size

    def read(self, size: int, offset: int) -> bytes:
        return os.pread(self._fd, size, offset)

    def sync(self) -> None:
        """Return when all of it is on the disk. Raises JournalError if the file was removed."""
        try:
            os.fsync(self._fd)
            removed = os.fstat(self._fd).st_nlink == 0
        except OSError as e:
            raise write_error(self.path, e) from e
        if removed:
            raise JournalError(
                f"{self.path} was removed while it was being written; what it held is lost"
            )

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self.close()


def replace_file(path: Path, data: bytes) -> None:
    """Put `data` at `path` so that a reader, or a crash, sees the old file or the new one."""
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
        sync_directory(path.parent)
    except OSError as e:
        raise write_error(path, e, needed=len(data)) from e


def sync_directory(path: Path) -> None:
    """Make the names in a directory survive a power failure."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def write_error(path: Path, error: OSError, *, needed: int = 0, kept: int = 0) -> JournalError:
    """The sentence for a failed write."""
    if error.errno not in _NO_ROOM:
        return JournalError(f"cannot write {path}: {error.strerror or error}")
    return DiskFullError(
        f"no room for {path}: {_size(needed)} are needed, {_free(path)}; "
        "make room there, then go on with `pdconsole run --resume`",
        kept=kept,
    )


def _free(path: Path) -> str:
    try:
        stat = os.statvfs(path.parent)
    except OSError:
        return "and its disk cannot be asked"
    return f"{_size(stat.f_bavail * stat.f_frsize)} are free"


def _size(count: int) -> str:
    if count < 1024:
        return f"{count} bytes"
    if count < 1 << 20:
        return f"{count / 1024:.1f} KiB"
    return f"{count / (1 << 20):.1f} MiB" if count < 1 << 30 else f"{count / (1 << 30):.1f} GiB"
