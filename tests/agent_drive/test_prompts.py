"""Prompts: the same everywhere for the same seed, no two with a common prefix."""

from __future__ import annotations

import json
from hashlib import sha256

from hypothesis import given
from hypothesis import strategies as st

from pdconsole.agent.drive.prompts import BLOCK_TOKENS, Bodies, Prompts

VOCAB = (100, 200_000)


def ids(prompts: Prompts, index: int) -> list[int]:
    return list(json.loads(b"[%s]" % prompts.tokens(index)))


def test_prompts_are_the_same_on_every_python() -> None:
    prompts = Prompts("session/conc16/1", 5000, VOCAB)
    text = b";".join(prompts.tokens(index) for index in (0, 1, 2, 999, 100_000))
    assert (
        sha256(text).hexdigest()
        == "383c0d597bf8e7fc08af36decfa1df0e3bacf72a0dc2632aa231cd9753c92bed"
    )


@given(
    seed=st.text(max_size=10),
    length=st.integers(1, 100),
    first=st.integers(0, 1000),
    size=st.integers(2, 5000),
    index=st.integers(0, 10**6),
)
def test_a_prompt_has_its_length_and_stays_within_the_vocabulary(
    seed: str, length: int, first: int, size: int, index: int
) -> None:
    vocab = (first, first + size - 1)
    tokens = ids(Prompts(seed, length, vocab), index)
    assert len(tokens) == length
    assert all(vocab[0] <= token <= vocab[1] for token in tokens)


def test_no_two_prompts_share_a_block_and_neighbours_not_even_a_token() -> None:
    prompts = Prompts("seed", 64, (0, 99))  # a vocabulary that repeats soon
    all_ids = [ids(prompts, index) for index in range(3000)]
    assert len({tuple(tokens[:BLOCK_TOKENS]) for tokens in all_ids}) == 3000
    for index in range(99):
        assert all_ids[index][0] != all_ids[index + 1][0]


def test_another_seed_gives_other_prompts() -> None:
    one, other = Prompts("a", 200, VOCAB), Prompts("b", 200, VOCAB)
    assert not set(ids(one, 0)[:BLOCK_TOKENS]) & set(ids(other, 0)[:BLOCK_TOKENS])
    assert ids(one, 5) == ids(Prompts("a", 200, VOCAB), 5)


def test_ids_are_spread_over_the_vocabulary() -> None:
    tokens = ids(Prompts("seed", 10_000, (0, 9)), 0)
    assert all(800 < tokens.count(token) < 1200 for token in range(10))


def test_a_body_asks_for_a_stream_of_exactly_so_many_tokens() -> None:
    body = json.loads(Bodies(Prompts("s", 20, VOCAB), 'odd "name"').streamed(3, 250))
    assert len(body.pop("prompt")) == 20
    assert body == {
        "model": 'odd "name"',
        "max_tokens": 250,
        "temperature": 0,
        "ignore_eos": True,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
