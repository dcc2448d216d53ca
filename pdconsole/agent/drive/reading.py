"""Reading many streams: the arrival of a read is stamped first, its content is taken in after.

Nearly every read of a stream is one chunk with one token event. Such a read is recognised at once
by its length and its end, for less than a tenth of what reading it has cost; it leaves the
answer's framing as it was. All others wait until a batch has been read, and then are parsed.
"""

from __future__ import annotations

import select
from os import read
from time import monotonic
from typing import Callable, Iterable, List, Optional, Protocol, Sequence, Tuple, TypeVar

from pdconsole.agent.drive.answer import HEADS, NOWHERE, READ_BYTES, Answer, MalformedAnswerError
from pdconsole.agent.drive.target import reason_of

_IN = select.EPOLLIN


class Answered(Protocol):
    """Whatever holds the answer that its reads belong to."""

    answer: Answer


Owner = TypeVar("Owner", bound=Answered)
Source = Tuple[Answer, List[float], Owner]  # the answer that comes in, its stamps, whose it is
Read = Tuple[Owner, float, bytes]  # whose, when, what
Odd = Tuple[int, int, Optional[str]]  # file descriptor, events, why its connection has ended


def take_reads(
    poll: Callable[[Optional[float]], Iterable[Tuple[int, int]]],
    timeout_s: Optional[float],
    rounds: int,
    sources: Sequence[Optional[Source[Owner]]],
    unparsed: List[Read[Owner]],
    odd: List[Odd],
) -> None:
    """Read and stamp what `poll` finds ready, for some rounds. `sources` are by file descriptor.

    Reads that are no plain token event are appended to `unparsed`, and so are all later ones of
    the same answer until `parse` has taken these in. Whatever is more than data to read is left to
    `odd`. After a round that left something there it returns. This loop is all that runs for most
    tokens: what it costs is what the driver costs.
    """
    heads, plain_mask = HEADS, _IN
    for _ in range(rounds):
        for fd, mask in poll(timeout_s):
            source = sources[fd]
            if source is None or mask != plain_mask:
                odd.append((fd, mask, None))
                continue
            try:
                data = read(fd, READ_BYTES)
            except BlockingIOError:
                continue
            except OSError as error:
                odd.append((fd, mask, reason_of(error)))
                continue
            stamp = monotonic()
            answer, stamps, owner = source
            if (
                data.endswith(answer.plain_end)
                and data.startswith(heads[len(data)])
                and data.find(b"\n", 5) == len(data) - 4
            ):
                stamps.append(stamp)
            elif data:
                answer.plain_end = NOWHERE
                unparsed.append((owner, stamp, data))
            else:
                odd.append((fd, mask, ""))
        if unparsed or odd:
            return


def parse(
    reads: Iterable[Read[Owner]], on_malformed: Callable[[Owner, MalformedAnswerError], None]
) -> List[Owner]:
    """Take in reads that had to wait; those whose answers are complete."""
    complete: List[Owner] = []
    for owner, stamp, data in reads:
        try:
            if owner.answer.feed(stamp, data):
                complete.append(owner)
        except MalformedAnswerError as error:
            on_malformed(owner, error)
    return complete
