"""Many requests in flight at once: one epoll loop over nonblocking sockets.

Its order of business is what makes the stamps true: everything that is ready is read and stamped
first; connections, parsing and what is over come after.
"""

from __future__ import annotations

import select
import socket
from time import monotonic
from typing import Dict, List, Optional, Sequence, Tuple

from pdconsole.agent.drive.answer import Answer, MalformedAnswerError
from pdconsole.agent.drive.histogram import Histogram
from pdconsole.agent.drive.reading import Odd, Read, Source, parse, take_reads
from pdconsole.agent.drive.target import Target, reason_of
from pdconsole.agent.drive.timer import Timer

ROUNDS_A_FOLD = 16  # rounds of reading after which one answer's stamps are made into gaps
FOLDED_AT_ONCE = 1000  # stamps; takes about 0.3 ms
OVER_AT_ONCE = 4  # handed out between two rounds of reading: each costs its receiver some 0.1 ms

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
        "written",
    )

    def __init__(self, index: int, target: int, message: bytes, scheduled: float) -> None:
        self.index = index
        self.target = target  # which of the loop's targets
        self.message = message
        self.scheduled = scheduled
        self.sent = 0.0
        self.written = 0.0  # all of it was handed to the network; 0: not yet
        self.end = 0.0
        self.error = ""
        self.retried = False
        self.answer = Answer()


class _Connection:
    __slots__ = ("connecting", "flight", "interest", "reused", "socket", "target", "unsent")

    def __init__(self, sock: socket.socket, target: int, flight: Flight) -> None:
        self.socket = sock
        self.target = target
        self.flight: Optional[Flight] = flight  # None: idle
        self.connecting = True
        self.reused = False
        self.interest = _IN | _OUT
        self.unsent: Optional[memoryview] = None


class Streams:
    """The requests in flight. `send` starts one, `run` lets time pass until one is over."""

    def __init__(
        self,
        targets: Sequence[Target],
        *,
        timeout_s: float,
        wake_fd: Optional[int] = None,
    ) -> None:
        self._targets = targets
        self._timeout_s = timeout_s
        self._epoll = select.epoll()
        # By file descriptor, which are small numbers: what comes in there. None: no answer.
        self._sources: List[Optional[Source[Flight]]] = []
        self._timer = Timer()
        self._watch(self._timer.fd, _IN)
        self._due = False  # the timer's time has come
        self._wake_fd = wake_fd
        if wake_fd is not None:
            self._watch(wake_fd, _IN)
        self._connections: Dict[int, _Connection] = {}
        self._idle: List[List[_Connection]] = [[] for _ in targets]
        self._flights: Dict[Flight, Optional[_Connection]] = {}  # oldest first
        self._unparsed: List[Read[Flight]] = []
        self._odd: List[Odd] = []
        self._to_fold: List[Flight] = []
        # Of token events that have been folded, since they were last taken:
        self._token_events = 0
        self._itl = Histogram()
        self._over: List[Flight] = []
        self.woken = False

    @property
    def in_flight(self) -> int:
        return len(self._flights)

    @property
    def oldest(self) -> Optional[Flight]:
        """The one in flight that was sent first."""
        return next(iter(self._flights), None)

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
            self._listen(connection, flight)
            self._write(connection)
        else:
            self._open(flight)

    def run(self, until: float) -> List[Flight]:
        """Read until a flight is over, or time `until`, or the wake-up; a few that are over.

        Flights that are over are handed out a few at a time, with reading in between: many that
        end together must not make the stamps of the others late.
        """
        self._timer.set(min(until, self._expire()))
        self._due = False
        while True:
            timeout_s, rounds = (0.0, 1) if self._over else (None, ROUNDS_A_FOLD)
            take_reads(
                self._epoll.poll, timeout_s, rounds, self._sources, self._unparsed, self._odd
            )
            if self._odd:
                self._see_to_odd()
            if self._unparsed:
                self._parse()
            self._fold_one()
            if self._over or self._due or self.woken:
                break
        over, self._over = self._over[:OVER_AT_ONCE], self._over[OVER_AT_ONCE:]
        return over

    def take_arrivals(self) -> Tuple[int, Histogram]:
        """The token events that came since this was last asked, and the gaps between them.

        Of very many, some are told the next time: to look at all would make stamps late.
        """
        before = self._token_events
        for _ in range(len(self._flights)):
            self._fold_one()
            if self._token_events - before > FOLDED_AT_ONCE:
                break
        events, itl = self._token_events, self._itl
        self._token_events, self._itl = 0, Histogram()
        return events, itl

    def flush(self) -> List[Flight]:
        """All that are over by what has been read so far."""
        self._parse()
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
        self._timer.close()
        self._epoll.close()

    def _fold_one(self) -> None:
        """Make gaps of one answer's stamps: bit by bit, so that no tick has to do it all."""
        if not self._to_fold:
            self._to_fold.extend(self._flights)
        if self._to_fold:
            self._fold(self._to_fold.pop().answer)

    def _fold(self, answer: Answer) -> None:
        self._token_events += len(answer.stamps)
        self._itl.add_all(answer.fold())

    def _parse(self) -> None:
        if not self._unparsed:
            return
        reads = self._unparsed[:]
        self._unparsed.clear()
        for flight in parse(reads, self._malformed):
            if flight in self._flights:  # else it failed before, by its timeout
                flight.error = flight.answer.failure()
                self._finish(flight)

    def _malformed(self, flight: Flight, error: MalformedAnswerError) -> None:
        self._fail(flight, str(error))

    def _finish(self, flight: Flight) -> None:
        """The answer is complete: free its connection."""
        connection = self._flights.pop(flight, None)
        self._fold(flight.answer)
        flight.message = b""
        flight.end = flight.answer.end or monotonic()
        self._over.append(flight)
        if connection is None:
            return
        connection.flight = None
        self._sources[connection.socket.fileno()] = None
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
        self._watch(sock.fileno(), connection.interest)

    def _see_to_odd(self) -> None:
        """The timer, the wake-up, connections that have ended, events that are more than data."""
        odd = self._odd[:]
        self._odd.clear()
        # Looked up before any is dropped, for its number may go to a new one at once.
        found = [(self._connections.get(fd), mask, reason) for fd, mask, reason in odd]
        for fd, _, _ in odd:
            self._due = self._due or fd == self._timer.fd
            self.woken = self.woken or fd == self._wake_fd
        for connection, mask, reason in found:
            if connection is None or not self._is_open(connection):
                continue
            if reason is None:
                self._handle(connection, mask)
            else:
                self._lose(connection, reason)

    def _watch(self, fd: int, interest: int) -> None:
        self._sources.extend([None] * (fd + 1 - len(self._sources)))
        self._epoll.register(fd, interest)

    def _is_open(self, connection: _Connection) -> bool:
        return self._connections.get(connection.socket.fileno()) is connection

    def _handle(self, connection: _Connection, mask: int) -> None:
        """Connects, partial writes, errors, and news of connections that are idle."""
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
            if not mask & _OUT:
                return
            connection.connecting = False
            self._listen(connection, flight)
        if mask & _OUT:
            self._write(connection)
        if mask & ~_OUT and connection.flight is flight:
            # What is left to read, or why there is nothing more, as if it were plain data.
            plain = [(connection.socket.fileno(), _IN)]
            odd: List[Odd] = []
            take_reads(lambda _: plain, None, 1, self._sources, self._unparsed, odd)
            for _, _, ended in odd:
                self._lose(connection, ended or "")

    def _listen(self, connection: _Connection, flight: Flight) -> None:
        fd, answer = connection.socket.fileno(), flight.answer
        self._sources[fd] = (answer, answer.stamps, flight)

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
                if connection.flight is not None:
                    connection.flight.written = monotonic()
            elif sent >= 0:
                connection.unsent = connection.unsent[sent:]
                interest = _IN | _OUT
        if interest != connection.interest:
            connection.interest = interest
            self._epoll.modify(connection.socket.fileno(), interest)

    def _lose(self, connection: _Connection, reason: str) -> None:
        """The connection is gone: what came before still counts, and may have been all."""
        self._parse()
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
        if flight.answer.token_events:
            error = f"the server closed the stream after {flight.answer.token_events} token events"
        elif flight.answer.end:
            error = "the server closed the connection in the middle of its answer"
        else:
            error = "the server closed the connection without an answer"
        self._fail(flight, error + (f": {reason}" if reason else ""))

    def _drop(self, connection: _Connection) -> None:
        if self._connections.pop(connection.socket.fileno(), None) is None:
            return
        self._sources[connection.socket.fileno()] = None
        if connection in self._idle[connection.target]:
            self._idle[connection.target].remove(connection)
        connection.socket.close()  # which takes it out of the epoll set too
