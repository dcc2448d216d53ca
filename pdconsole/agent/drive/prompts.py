"""Request bodies whose prompts are token ids: the same for the same seed on every Python.

Ids come from SHAKE-256 of the seed text, in no way from `random`, whose choices may change
between versions. Each prompt starts with a block of its own that counts the request's index, so
no two prompts share a prefix, not even one token of two neighbours; the rest is a slice, at an
offset drawn for the request, of one long row of ids that is rendered to JSON before anything is
timed. A body then costs some ten microseconds, whatever its length.
"""

from __future__ import annotations

import json
from array import array
from hashlib import sha256, shake_256
from itertools import accumulate
from typing import List, Tuple

BLOCK_TOKENS = 16
ROW_TOKENS = 16384  # offsets to draw from; the row is longer by one prompt


class Prompts:
    """Prompts of `input_len` ids within `vocab` (first and last usable id, both included)."""

    def __init__(self, seed: str, input_len: int, vocab: Tuple[int, int]) -> None:
        self._seed = seed.encode()
        self._first_id, self._ids = vocab[0], vocab[1] - vocab[0] + 1
        self._block = min(BLOCK_TOKENS, input_len)
        self._rest = input_len - self._block
        row = self._draw(b"row", ROW_TOKENS + self._rest)
        texts = [b"%d," % token for token in row]
        self._row = b"".join(texts)
        self._starts = array("I", accumulate(map(len, texts), initial=0))
        self._origin = self._draw(b"block", self._block)

    def tokens(self, index: int) -> bytes:
        """The ids of prompt `index`, as JSON text without the brackets."""
        block = b",".join(b"%d" % token for token in self._own_block(index))
        if not self._rest:
            return block
        digest = sha256(b"%s/offset/%d" % (self._seed, index)).digest()
        start = int.from_bytes(digest[:8], "little") % ROW_TOKENS
        begin, end = self._starts[start], self._starts[start + self._rest]
        return b"%s,%s" % (block, self._row[begin : end - 1])

    def _own_block(self, index: int) -> List[int]:
        """`index` in base len(vocab), lowest digit first, each digit turned by a seeded amount."""
        block = []
        for origin in self._origin:
            index, digit = divmod(index, self._ids)
            block.append(self._first_id + (origin - self._first_id + digit) % self._ids)
        return block

    def _draw(self, purpose: bytes, count: int) -> List[int]:
        drawn = array("Q", shake_256(self._seed + b"/" + purpose).digest(8 * count))
        if array("H", b"\x01\x00")[0] != 1:
            drawn.byteswap()  # little-endian everywhere
        return [self._first_id + number % self._ids for number in drawn]


class Bodies:
    """JSON bodies for a completions endpoint around such prompts."""

    def __init__(self, prompts: Prompts, model: str) -> None:
        self._prompts = prompts
        self._opening = b'{"model":%s,"prompt":[' % json.dumps(model).encode()

    def streamed(self, index: int, max_tokens: int) -> bytes:
        return b"%s%s%s%d%s" % (
            self._opening,
            self._prompts.tokens(index),
            b'],"max_tokens":',
            max_tokens,
            b',"temperature":0,"ignore_eos":true,"stream":true,'
            b'"stream_options":{"include_usage":true}}',
        )
