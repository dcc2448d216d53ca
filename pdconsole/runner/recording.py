"""Writes a session down: events, series and logs, from one place.

A recording that cannot be written (a full disk) ends the session: `on_failure` is called once, and
from then on nothing more is written, so that what is there stays whole.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from pdconsole.journal import JournalError, JournalWriter, ProcessLog, SeriesWriter, SessionDir
from pdconsole.journal.keyframes import KeyframeWriter
from pdconsole.measure.transfer_log import TransferLogs
from pdconsole.model import events as ev
from pdconsole.remote.values import LogChunk, News
from pdconsole.runner.telemetry import events_of

FLUSH_S = 0.2


class Recording:
    """The open recording of one session directory; use it with `async with`."""

    def __init__(self, directory: SessionDir, on_failure: Callable[[JournalError], None]) -> None:
        self._writer = JournalWriter(directory.events_path, session=directory.name)
        self._series = SeriesWriter(directory.series_path)
        self._keyframes: KeyframeWriter | None = None  # until the first flush
        self._no_more_keyframes = False
        self._directory = directory
        self._transfer_logs = TransferLogs()
        self._logs: dict[tuple[str, str], ProcessLog] = {}  # by node and token
        self._on_failure = on_failure
        self._started_monotonic = time.monotonic() - self._writer.t
        self._flushing: asyncio.Task[None] | None = None
        self.failure: JournalError | None = None

    def emit(self, event: ev.Event) -> None:
        """Stamp and record an event. Never raises: see `on_failure`."""
        self._guarded(lambda: self._series.add(self._writer.append(event)))

    def news(self, news: News) -> None:
        """Record what a node told."""
        sample = self._transfer_logs.take(news)
        if sample is not None:
            self.emit(sample)
        if isinstance(news, LogChunk):
            chunk = news
            self._guarded(lambda: self._append_log(chunk))
            return
        for event in events_of(news, self._started_monotonic):
            self.emit(event)

    def log_offset(self, node: str, token: str) -> int:
        """How many bytes of a process's log are here already."""
        return self._log(node, token).next_offset

    def keep_serve_config(self, run: str, text: str) -> str:
        """Written beside the recording; its path within the session."""
        path = self._directory.serve_config_path(run)

        def write() -> None:
            try:
                path.parent.mkdir(exist_ok=True)
                path.write_text(text, "utf-8")
            except OSError as e:
                raise JournalError(f"cannot write {path}: {e.strerror}") from e

        self._guarded(write)
        return str(path.relative_to(self._directory.path))

    def _append_log(self, chunk: LogChunk) -> None:
        log = self._log(chunk.node, chunk.token)
        have = log.append(chunk.offset, chunk.data)
        if have < chunk.offset:
            missing = f"bytes {have} to {chunk.offset} of this log did not arrive"
            self.emit(ev.Note(level="warning", message=missing, subject=chunk.token))

    def _log(self, node: str, token: str) -> ProcessLog:
        log = self._logs.get((node, token))
        if log is None:
            _, run, process = token.split("/")
            log = ProcessLog(self._directory.log_path(node, process, run))
            self._logs[node, token] = log
        return log

    def _guarded(self, write: Callable[[], object]) -> None:
        if self.failure is not None:
            return
        try:
            write()
        except JournalError as e:
            self.failure = e
            self._on_failure(e)

    def _flush(self) -> None:
        self._writer.flush()
        self._series.flush()
        self._keep_keyframes()

    def _keep_keyframes(self) -> None:
        """Without keyframes the recording is whole: their failure is told and ends nothing."""
        if self._no_more_keyframes:
            return
        directory = self._directory
        try:
            if self._keyframes is None:
                self._keyframes = KeyframeWriter(directory.keyframes_path, directory.events_path)
            self._keyframes.catch_up()
        except JournalError as e:
            self._no_more_keyframes = True
            self.emit(ev.Note(level="warning", message=f"no more keyframes for replay: {e}"))

    async def _flush_often(self) -> None:
        while True:
            await asyncio.sleep(FLUSH_S)
            self._guarded(self._flush)

    async def __aenter__(self) -> Self:
        self._flushing = asyncio.create_task(self._flush_often())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        if self._flushing is not None:
            self._flushing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._flushing
        self._guarded(self._flush)
        if self._keyframes is not None:
            self._keyframes.close()
        for close in (
            self._writer.close,
            self._series.close,
            *(log.close for log in self._logs.values()),
        ):
            self._guarded(close)
