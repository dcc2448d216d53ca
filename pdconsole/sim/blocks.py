"""A replica's KV pool: blocks of tokens, never-used ones first, then the least recently used.

Block ids are real numbers here, because whether a KV transfer's descriptors merge depends on which
blocks lie side by side: a fresh pool hands out ascending runs, a pool that has wrapped does not.
"""

from __future__ import annotations

from array import array
from collections import OrderedDict
from collections.abc import Iterable, Sequence


class BlockPool:
    """KV blocks with reference counts; released ones stay as a prefix cache until reused."""

    def __init__(self, blocks: int) -> None:
        self.blocks = blocks
        self._fresh = 0  # next id never handed out
        self._free: OrderedDict[int, None] = OrderedDict()  # released ones, oldest first
        self._refs = array("H", bytes(2 * blocks))
        self._hash_of: dict[int, int] = {}
        self._cached: dict[int, int] = {}  # hash -> block

    @property
    def available(self) -> int:
        return self.blocks - self._fresh + len(self._free)

    @property
    def usage(self) -> float:
        """Share of the pool that requests hold, 0 to 1; cache that nobody holds counts as free."""
        return 1.0 - self.available / self.blocks

    def match(self, hashes: Sequence[int]) -> list[int]:
        """Blocks of the longest cached prefix of these chained block hashes."""
        found: list[int] = []
        for value in hashes:
            block = self._cached.get(value)
            if block is None:
                break
            found.append(block)
        return found

    def claim(self, cached: Sequence[int], new: int) -> list[int] | None:
        """Hold these cached blocks and `new` others; None, and nothing held, if they don't fit."""
        idle = sum(1 for block in cached if not self._refs[block])
        if new > self.available - idle:
            return None
        for block in cached:
            if not self._refs[block]:
                del self._free[block]
            self._refs[block] += 1
        return [*cached, *self._take(new)]

    def _take(self, count: int) -> list[int]:
        fresh = min(count, self.blocks - self._fresh)
        taken = list(range(self._fresh, self._fresh + fresh))
        self._fresh += fresh
        for _ in range(count - fresh):
            block, _ = self._free.popitem(last=False)
            old = self._hash_of.pop(block, None)
            if old is not None and self._cached.get(old) == block:
                del self._cached[old]
            taken.append(block)
        for block in taken:
            self._refs[block] = 1
        return taken

    def remember(self, blocks: Iterable[int], hashes: Iterable[int]) -> None:
        """These full blocks now hold what these hashes stand for; the first holder stays."""
        for block, value in zip(blocks, hashes, strict=True):
            if block not in self._hash_of and value not in self._cached:
                self._hash_of[block] = value
                self._cached[value] = block

    def release(self, blocks: Sequence[int]) -> None:
        """Let go of blocks, the tail first, so that the tail of a prefix is reused first."""
        for block in reversed(blocks):
            self._refs[block] -= 1
            if not self._refs[block]:
                self._free[block] = None


def merged_share(remote: Sequence[int], local: Sequence[int]) -> float:
    """Share of blocks whose descriptor merges with its predecessor's, 0 to 1.

    It merges where a block follows the one before it on both sides. The two sequences pair up
    block by block from the end (a decode replica fetches only the tail that it lacks).
    """
    count = min(len(remote), len(local))
    if count < 2:
        return 1.0
    theirs, ours = remote[-count:], local[-count:]
    joined = sum(
        1 for i in range(1, count) if theirs[i] == theirs[i - 1] + 1 and ours[i] == ours[i - 1] + 1
    )
    return joined / (count - 1)
