"""Many requests in flight at once: one epoll loop over nonblocking sockets.

Its order of business is what makes the stamps true: everything readable is read and stamped
first, and only a pause, a full backlog or the end of an answer lets parsing have the processor.
"""

from __future__ import annotations

import select
import socket
from time import monotonic
from typing import Dict, List, Optional, Sequence, Tuple

from pdconsole.agent.drive.answer import Answer, MalformedAnswerError, absorb
from pdconsole.agent.drive.histogram import Histogram
from pdconsole.agent.drive.target import Target, reason_of

READ_BYTES = 65536
BACKLOG_READS = 128  # parsing these takes about 0.15 ms: far below what a stamp may be late
SETTLE_S = 0.001  # a pause this long is used for parsing
BACKLOG_S = 0.005  # and without a pause, parsing waits no longer than this
LAST_CHUNK = b"0\r\n\r\n"
OVER_AT_ONCE = 4  # handed out between two rounds of reading: each costs its receiver some 0.1 ms
FINE_WAIT_S = 0.002  # epoll counts in whole ms; below this, select does the waiting

_IN, _OUT = select.EPOLLIN, select.EPOLLOUT


class Flight:
    """One request from its sending to the end of its answer. Times: time.monotonic() seconds."""

    __slots__ = (
        "answer",
        "end",
        "error",
        "index",
        "message",
        "retried",
        "scheduled",
        "sent",
        "target",
    )

    def __init__(self, index: int, target: int, message: bytes, scheduled: float) -> None:
        self.index = index
        self.target = target  # which of the loop's targets
        self.message = message
        self.scheduled = scheduled
        self.sent = 0.0
        self.end = 0.0
        self.error = ""
        self.retried = False
        self.answer = Answer()


class _Connection:
    __slots__ = ("connecting", "flight", "interest", "recv", "reused", "socket", "target", "unsent")

    def __init__(self, sock: socket.socket, target: int, flight: Flight) -> None:
        self.socket = sock
        self.recv = sock.recv
        self.target = target
        self.flight: Optional[Flight] = flight  # None: idle
        self.connecting = True
        self.reused = False
        self.interest = _IN | _OUT
        self.unsent: Optional[memoryview] = None


class Meter:
    """What arrived since it was last taken: token events and the gaps between them, in ms."""

    def __init__(self) -> None:
        self.token_events = 0
        self.gaps = Histogram()

    def add(self, gaps_ms: List[float], firsts: int) -> None:
        self.token_events += len(gaps_ms) + firsts
        self.gaps.add_all(gaps_ms)

    def take(self) -> Tuple[int, Histogram]:
        taken = self.token_events, self.gaps
        self.token_events, self.gaps = 0, Histogram()
        return taken


class Streams:
    """The requests in flight. `send` starts one, `run` lets time pass until one is over."""

    def __init__(
        self,
        targets: Sequence[Target],
        meter: Meter,
        *,
        timeout_s: float,
        wake_fd: Optional[int] = None,
    ) -> None:
        self._targets = targets
        self._meter = meter
        self._timeout_s = timeout_s
        self._epoll = select.epoll()
        self._wake_fd = wake_fd
        if wake_fd is not None:
            self._epoll.register(wake_fd, _IN)
        self._connections: Dict[int, _Connection] = {}
        self._idle: List[List[_Connection]] = [[] for _ in targets]
        self._flights: Dict[Flight, Optional[_Connection]] = {}  # oldest first
        self._reads: List[Tuple[Flight, float, bytes]] = []
        self._over: List[Flight] = []
        self.woken = False

    @property
    def in_flight(self) -> int:
        return len(self._flights)

    def send(self, flight: Flight) -> None:
        """Send on an idle connection, or a new one. `sent` is stamped before either."""
        idle = self._idle[flight.target]
        flight.sent = monotonic()
        self._flights[flight] = None
        if idle:
            connection = idle.pop()
            connection.reused = True
            connection.flight = flight
            connection.unsent = memoryview(flight.message)
            self._flights[flight] = connection
            self._write(connection)
        else:
            self._open(flight)

    def run(self, until: float) -> List[Flight]:
        """Read until a flight is over, or time `until`, or the wake-up; a few that are over.

        Flights that are over are handed out a few at a time, with reading in between: many that
        end together must not make the stamps of the others late.
        """
        until = min(until, self._expire())
        connections, reads = self._connections, self._reads
        while True:
            now = monotonic()
            ready = self._wait(0.0 if self._over else until - now)
            urgent = not ready
            for fd, mask in ready:
                if mask != _IN or fd == self._wake_fd:
                    self._handle(fd, mask)
                    continue
                connection = connections.get(fd)
                if connection is None:
                    continue  # dropped a moment ago, while handling an event before this one
                flight = connection.flight
                if flight is None:
                    self._drop(connection)
                    continue
                try:
                    data = connection.recv(READ_BYTES)
                except BlockingIOError:
                    continue
                except OSError as error:
                    self._lose(connection, reason_of(error))
                    continue
                if not data:
                    self._lose(connection, "")
                    continue
                reads.append((flight, monotonic(), data))
                if data.endswith(LAST_CHUNK):
                    urgent = True
            late = bool(reads) and reads[0][1] < now - BACKLOG_S
            if urgent or late or len(reads) >= BACKLOG_READS:
                self._absorb()
            if self._over or self.woken or now >= until:
                break
        over, self._over = self._over[:OVER_AT_ONCE], self._over[OVER_AT_ONCE:]
        return over

    def _wait(self, wait: float) -> List[Tuple[int, int]]:
        """What is ready within `wait` seconds; within a pause, if reads wait to be parsed."""
        if self._reads and wait > SETTLE_S:
            return self._epoll.poll(SETTLE_S)
        if wait > FINE_WAIT_S:
            return self._epoll.poll(wait - SETTLE_S)
        if wait > 0:
            select.select([self._epoll], [], [], wait)
        return self._epoll.poll(0)

    def flush(self) -> List[Flight]:
        """All that are over by what has been read so far."""
        self._absorb()
        over, self._over = self._over, []
        return over

    def abandon(self, error: str) -> List[Flight]:
        """Give up whatever is in flight, with this error; those flights."""
        for flight in list(self._flights):
            self._fail(flight, error)
        return self.flush()

    def close(self) -> None:
        for connection in list(self._connections.values()):
            self._drop(connection)
        self._epoll.close()

    def _absorb(self) -> None:
        if not self._reads:
            return
        reads = self._reads[:]
        self._reads.clear()
        complete, gaps, firsts = absorb(reads, self._malformed)
        self._meter.add(gaps, firsts)
        for flight in complete:
            if flight in self._flights:  # else it failed before, by its timeout
                flight.error = flight.answer.failure()
                self._finish(flight)

    def _malformed(self, flight: Flight, error: MalformedAnswerError) -> None:
        self._fail(flight, str(error))

    def _finish(self, flight: Flight) -> None:
        """The answer is complete: free its connection."""
        connection = self._flights.pop(flight, None)
        flight.message = b""
        flight.end = flight.answer.end or monotonic()
        self._over.append(flight)
        if connection is None:
            return
        connection.flight = None
        if flight.answer.keep_alive and connection.unsent is None:
            self._idle[connection.target].append(connection)
        else:
            self._drop(connection)

    def _fail(self, flight: Flight, error: str) -> None:
        if flight not in self._flights:
            return
        flight.error = error
        flight.answer.keep_alive = False
        self._finish(flight)
        flight.end = monotonic()

    def _expire(self) -> float:
        """Fail what has been in flight for too long; when the next one will have been."""
        now = monotonic()
        while self._flights:
            flight = next(iter(self._flights))
            if flight.sent + self._timeout_s > now:
                return flight.sent + self._timeout_s
            self._fail(flight, f"no complete answer within {self._timeout_s:g} s")
        return float("inf")

    def _open(self, flight: Flight) -> None:
        target = self._targets[flight.target]
        try:
            sock = socket.socket(target.family, socket.SOCK_STREAM)
        except OSError as error:
            self._fail(flight, f"cannot connect to {target.host}: {reason_of(error)}")
            return
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = _Connection(sock, flight.target, flight)
        connection.unsent = memoryview(flight.message)
        self._connections[sock.fileno()] = connection
        self._flights[flight] = connection
        sock.connect_ex(target.address)  # a failure comes back as an event, with SO_ERROR
        self._epoll.register(sock.fileno(), connection.interest)

    def _handle(self, fd: int, mask: int) -> None:
        """Events other than plain data: the wake-up, connects, partial writes, errors."""
        if fd == self._wake_fd:
            self.woken = True
            return
        connection = self._connections.get(fd)
        if connection is None:
            return
        flight = connection.flight
        if flight is None:
            self._drop(connection)
            return
        if connection.connecting:
            code = connection.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if code:
                host = self._targets[flight.target].host
                reason = reason_of(OSError(code, ""))
                self._fail(flight, f"cannot connect to {host}: {reason}")
                return
            connection.connecting = not mask & _OUT
        if mask & _OUT:
            self._write(connection)
        if mask & ~_OUT and connection.flight is flight and not connection.connecting:
            self._read(connection, flight)

    def _read(self, connection: _Connection, flight: Flight) -> None:
        try:
            data = connection.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            self._lose(connection, reason_of(error))
            return
        if data:
            self._reads.append((flight, monotonic(), data))
        else:
            self._lose(connection, "")

    def _write(self, connection: _Connection) -> None:
        interest = _IN
        if connection.unsent is not None:
            try:
                sent = connection.socket.send(connection.unsent)
            except BlockingIOError:
                sent = 0
            except OSError:
                sent = -1  # the other side may have answered before it closed: reading will tell
            if sent == len(connection.unsent):
                connection.unsent = None
            elif sent >= 0:
                connection.unsent = connection.unsent[sent:]
                interest = _IN | _OUT
        if interest != connection.interest:
            connection.interest = interest
            self._epoll.modify(connection.socket.fileno(), interest)

    def _lose(self, connection: _Connection, reason: str) -> None:
        """The connection is gone: what came before still counts, and may have been all."""
        self._absorb()
        flight = connection.flight
        if flight is None:  # its answer was complete just before
            self._drop(connection)
            return
        if flight.answer.close(monotonic()):
            flight.error = flight.answer.failure()
            self._finish(flight)
            return
        if connection.reused and not flight.retried and not flight.answer.end:
            # The server closed it while it was idle, before it saw the request.
            flight.retried = True
            self._drop(connection)
            self._open(flight)
            return
        if flight.answer.first:
            error = f"the server closed the stream after {flight.answer.token_events} token events"
        elif flight.answer.end:
            error = "the server closed the connection in the middle of its answer"
        else:
            error = "the server closed the connection without an answer"
        self._fail(flight, error + (f": {reason}" if reason else ""))

    def _drop(self, connection: _Connection) -> None:
        if self._connections.pop(connection.socket.fileno(), None) is None:
            return
        if connection in self._idle[connection.target]:
            self._idle[connection.target].remove(connection)
        connection.socket.close()  # which takes it out of the epoll set too
