"""Reading many streams: the arrival of a read is stamped first, its content is taken in after.

Nearly every read of a stream is one chunk with one token event. Such a read is recognised at once
by its length and its end, for less than a tenth of what reading it has cost; it leaves the
answer's framing as it was. All others wait until a batch has been read, and then are parsed.
"""

from __future__ import annotations

import select
from time import monotonic
from typing import Callable, Iterable, List, Optional, Protocol, Sequence, Tuple, TypeVar

from pdconsole.agent.drive.answer import HEADS, NOWHERE, READ_BYTES, Answer, MalformedAnswerError
from pdconsole.agent.drive.target import reason_of

_IN = select.EPOLLIN


class Answered(Protocol):
    """Whatever holds the answer that its reads belong to."""

    answer: Answer


Owner = TypeVar("Owner", bound=Answered)
# Where an answer comes in: recv, the answer, its stamps, whose it is
Source = Tuple[Callable[[int], bytes], Answer, List[float], Owner]
Read = Tuple[Owner, float, bytes]  # whose, when, what


Odd = Tuple[int, int, Optional[str]]  # file descriptor, events, why its connection has ended


def take_reads(
    ready: Iterable[Tuple[int, int]],
    sources: Sequence[Optional[Source[Owner]]],
    unparsed: List[Read[Owner]],
    odd: List[Odd],
) -> None:
    """Read what epoll says is `ready`, and stamp it. `sources` are by file descriptor.

    Reads that are no plain token event are appended to `unparsed`, and so are all later ones of
    the same answer until `parse` has taken these in. Whatever is more than data to read is left to
    `odd`. This loop is all that runs for most tokens: what it costs is what the driver costs.
    """
    heads = HEADS
    for fd, mask in ready:
        source = sources[fd]
        if source is None or mask != _IN:
            odd.append((fd, mask, None))
            continue
        recv, answer, stamps, owner = source
        try:
            data = recv(READ_BYTES)
        except BlockingIOError:
            continue
        except OSError as error:
            odd.append((fd, mask, reason_of(error)))
            continue
        stamp = monotonic()
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
