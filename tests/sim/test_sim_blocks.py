from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from pdconsole.sim.blocks import BlockPool, merged_share

BLOCKS = 24


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(1, 9), st.booleans()), max_size=60))
def test_no_block_is_lost_or_given_twice(requests: list[tuple[int, int, bool]]) -> None:
    """Requests of five prompts come and go; blocks are shared only as one prompt's prefix."""
    pool = BlockPool(BLOCKS)
    held: list[tuple[int, list[int]]] = []
    for prompt, size, release_first in requests:
        if release_first and held:
            pool.release(held.pop(0)[1])
        hashes = [prompt * 100 + i for i in range(size)]
        cached = pool.match(hashes)
        blocks = pool.claim(cached, size - len(cached))
        used = {b for _, owned in held for b in owned}
        if blocks is None:
            assert size - len(cached) > BLOCKS - len(used | set(cached))
            continue
        assert blocks[: len(cached)] == cached
        assert len(set(blocks)) == size
        pool.remember(blocks, hashes)
        held.append((prompt, blocks))
        owners: dict[int, set[tuple[int, int]]] = {}
        for owner, owned in held:
            for position, block in enumerate(owned):
                owners.setdefault(block, set()).add((owner, position))
        assert all(len(meanings) == 1 for meanings in owners.values())
        assert pool.available == BLOCKS - len(owners)
    for _, blocks in held:
        pool.release(blocks)
    assert pool.available == BLOCKS
    assert pool.usage == 0.0


def test_never_used_blocks_go_first_then_the_oldest_tail_first() -> None:
    pool = BlockPool(6)
    first = pool.claim((), 2)
    second = pool.claim((), 2)
    assert first is not None
    assert second is not None
    pool.remember(first, [1, 2])
    pool.remember(second, [3, 4])
    pool.release(first)
    pool.release(second)
    assert pool.claim((), 3) == [4, 5, first[1]]
    assert pool.match([1, 2]) == [first[0]], "the head of the oldest entry is still cached"
    assert pool.match([3, 4]) == second


def test_descriptors_merge_only_where_both_sides_run_on() -> None:
    fresh = list(range(100, 110))
    assert merged_share(fresh, list(range(10))) == 1.0
    assert merged_share(fresh, fresh[::-1]) == 0.0
    assert merged_share(fresh, [0, 1, 2, 3, 4, 50, 51, 52, 53, 54]) == 8 / 9
    assert merged_share(fresh, [3, 4]) == 1.0, "the tail alone is fetched"
    counts = Counter(merged_share(fresh, [i, i + 1]) for i in range(3))
    assert counts == {1.0: 3}
