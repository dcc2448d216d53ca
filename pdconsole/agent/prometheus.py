"""Scraping one Prometheus endpoint over a kept-alive connection, and reading what changed."""

from __future__ import annotations

import asyncio
from math import isfinite, nan
from typing import Dict, List, Optional, Set, Tuple
from urllib.parse import urlsplit

MAX_BODY = 64 << 20


class Scraper:
    """GET of one URL; `OSError`, `ValueError` or `EOFError` if the target fails."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._host = parts.hostname or ""
        self._port = parts.port or 80
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        host = f"[{self._host}]" if ":" in self._host else self._host
        self._request = (
            f"GET {path} HTTP/1.1\r\nHost: {host}:{self._port}\r\n"
            "Accept: text/plain\r\nUser-Agent: pdconsole\r\n\r\n"
        ).encode()
        self._streams: Optional[Tuple[asyncio.StreamReader, asyncio.StreamWriter]] = None

    async def get(self) -> str:
        """The body of a 200 answer. A connection that the server closed meanwhile is renewed."""
        kept = self._streams is not None
        try:
            return await self._exchange()
        except (OSError, EOFError):
            self.close()
            if not kept:
                raise
        except BaseException:
            self.close()
            raise
        return await self._exchange()

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None

    async def _exchange(self) -> str:
        if self._streams is None:
            self._streams = await asyncio.open_connection(self._host, self._port, limit=1 << 20)
        reader, writer = self._streams
        writer.write(self._request)
        status, headers = await _read_head(reader)
        body = await _read_body(reader, headers)
        if headers.get("connection", "").lower() == "close" or not _is_delimited(headers):
            self.close()
        if status != 200:
            raise ValueError(f"HTTP {status}")
        return body.decode("utf-8", "replace")


async def _read_head(reader: asyncio.StreamReader) -> Tuple[int, Dict[str, str]]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    words = head[0].split(" ", 2)
    if len(words) < 2 or not words[0].startswith("HTTP/1."):
        raise ValueError("not HTTP")
    pairs = (line.partition(":") for line in head[1:] if line)
    return int(words[1]), {name.strip().lower(): value.strip() for name, _, value in pairs}


def _is_delimited(headers: Dict[str, str]) -> bool:
    return "content-length" in headers or _is_chunked(headers)


def _is_chunked(headers: Dict[str, str]) -> bool:
    return headers.get("transfer-encoding", "").lower() == "chunked"


async def _read_body(reader: asyncio.StreamReader, headers: Dict[str, str]) -> bytes:
    if _is_chunked(headers):
        return await _read_chunks(reader)
    if "content-length" in headers:
        length = int(headers["content-length"])
        if length > MAX_BODY:
            raise ValueError("answer too long")
        return await reader.readexactly(length)
    return await reader.read(MAX_BODY)


async def _read_chunks(reader: asyncio.StreamReader) -> bytes:
    chunks: List[bytes] = []
    while True:
        size = int((await reader.readuntil(b"\r\n")).split(b";")[0], 16)
        chunk = await reader.readexactly(size + 2)
        if not size:
            return b"".join(chunks)
        chunks.append(chunk[:-2])


class Samples:
    """The values of an endpoint's samples, without `_bucket` series.

    Most lines are the same from one scrape to the next; only the others are parsed.
    """

    def __init__(self) -> None:
        self.values: Dict[str, float] = {}
        self._lines: Set[str] = set()
        self._count = 0

    def update(self, text: str) -> Tuple[Dict[str, float], bool]:
        """What changed, and whether it replaces all that was there before."""
        listed = text.split("\n")
        lines = set(listed)
        changed = parse(list(lines - self._lines))
        whole = len(listed) != self._count or not changed.keys() <= self.values.keys()
        self._lines, self._count = lines, len(listed)
        if whole:
            self.values = changed = parse(listed)
        else:
            self.values.update(changed)
        return changed, whole


def parse(lines: List[str]) -> Dict[str, float]:
    """Samples by full name with labels as written. Not-a-number and infinite ones are left out."""
    values: Dict[str, float] = {}
    for line in lines:
        if not line or line[0] == "#" or "_bucket{" in line:
            continue
        cut = line.rfind("}") + 1 or line.find(" ")
        try:
            value = float(line[cut:])
        except ValueError:
            value = _value_before_time(line[cut:])
        if isfinite(value):
            values[line[:cut]] = value
    return values


def _value_before_time(text: str) -> float:
    """A value with a timestamp behind it; not a number if it is no sample at all."""
    try:
        return float(text.split()[0])
    except (ValueError, IndexError):
        return nan
