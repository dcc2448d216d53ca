"""News of all nodes, handed to whoever asks: everything, or one process's."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from pdconsole.remote.values import LinkChanged, LogChunk, News, ProcessChanged, Records


class NewsFeed:
    """`publish` is a NodeClient's `on_news`; one feed serves all nodes."""

    def __init__(self) -> None:
        self._all: list[asyncio.Queue[News]] = []
        self._by_token: dict[str, list[asyncio.Queue[News]]] = {}

    def publish(self, news: News) -> None:
        for queue in self._readers_of(news):
            queue.put_nowait(news)

    @contextmanager
    def subscribe(self, token: str | None = None) -> Iterator[asyncio.Queue[News]]:
        """Everything; or with `token` that process's news and every change of a link."""
        queue: asyncio.Queue[News] = asyncio.Queue()
        readers = self._all if token is None else self._by_token.setdefault(token, [])
        readers.append(queue)
        try:
            yield queue
        finally:
            readers.remove(queue)
            if token is not None and not readers:
                self._by_token.pop(token, None)

    def _readers_of(self, news: News) -> list[asyncio.Queue[News]]:
        match news:
            case LinkChanged():
                return [*self._all, *(q for queues in self._by_token.values() for q in queues)]
            case LogChunk() | Records():
                return [*self._all, *self._by_token.get(news.token, ())]
            case ProcessChanged():
                return [*self._all, *self._by_token.get(news.info.token, ())]
            case _:
                return self._all
