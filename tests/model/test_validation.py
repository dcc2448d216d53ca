"""Judging the KV that P hands to D from teacher-forced scores."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pdconsole.model.quality import Evidence, quality_flags
from pdconsole.model.validation import (
    BlockIds,
    Case,
    Load,
    Score,
    compare,
    count_wrong,
    groups_of,
    judge,
    one_replaced,
    prompt_lengths,
    prompt_tokens,
    swapped,
)

UCX = "UCX on srd"


def score(deviation: float, at: int = 0, tokens: tuple[int, ...] = (5, 6, 7, 8)) -> Score:
    """One token is off, so that the mean is a quarter of it."""
    own = tuple(-1.0 - (4 * deviation if i == at else 0.0) for i in range(len(tokens)))
    return Score(tokens=tokens, own=own, reference=(-1.0,) * len(tokens))


def case(kind: str, deviation: float, **fields: object) -> Case:
    made: dict[str, object] = {
        "prompt": 1,
        "length": 400,
        "who": "P1>D1",
        "score": score(deviation),
    }
    return msgspec.convert({**made, "kind": kind, **fields}, Case)


def corrupted(deviation: float, wrong: int, of: int, **fields: object) -> Case:
    return case(
        "corrupted", deviation, blocks=of, wrong_blocks=wrong, corruption="blocks", **fields
    )


SELF = case("self", 0.049, who="D1")
HEALTHY = case("transfer", 0.063)
CONTROL = corrupted(7.1, 25, 25, control=True)


def test_numbers_measured_on_a_gpu_pass() -> None:
    found = judge([SELF, HEALTHY, CONTROL, corrupted(0.27, 2, 25), corrupted(0.069, 2, 250)], UCX)
    assert found.verdict == "ok"
    assert found.tolerance == pytest.approx(0.147)
    assert found.deviation == pytest.approx(0.063)
    assert found.control == pytest.approx(7.1)
    assert found.smallest_caught == "blocks (2 of 25 blocks, 400 tokens): 0.270"
    assert [text.split(":")[0] for text in found.missed] == ["blocks (2 of 250 blocks, 400 tokens)"]


def test_a_mismatch_names_prompt_position_replicas_and_backend() -> None:
    wrong = case("transfer", 2.0, prompt=3, who="P2>D1", loaded=True, score=score(2.0, at=2))
    found = judge([SELF, HEALTHY, wrong, CONTROL], UCX)
    assert found.verdict == "fail"
    for said in ("1 of 2", "prompt 3", "400 tokens under load", "P2>D1", UCX, "token 3", "-9.00"):
        assert said in found.message


def test_a_decode_replica_that_ignores_what_it_is_handed_fails() -> None:
    found = judge([SELF, HEALTHY, corrupted(0.05, 25, 25, control=True)], UCX)
    assert found.verdict == "fail"
    assert "prefills by itself" in found.message


def test_a_transfer_that_fails_is_no_pass() -> None:
    broken = case("transfer", 0.0, score=None, error="D1 on b answered 500: no KV")
    found = judge([SELF, HEALTHY, broken, CONTROL], UCX)
    assert found.verdict == "fail"
    assert "D1 on b answered 500" in found.message


@pytest.mark.parametrize("controls", [[], [corrupted(0.5, 25, 25, control=True)]])
def test_without_a_control_by_far_it_proves_little(controls: list[Case]) -> None:
    assert judge([SELF, HEALTHY, *controls], UCX).verdict == "warn"


def test_a_deviation_that_is_no_number_is_no_pass() -> None:
    nan = case("transfer", 0.0, score=score(float("nan")))
    assert judge([SELF, HEALTHY, nan, CONTROL], UCX).verdict == "fail"


def test_a_transfer_that_fails_is_no_pass_where_nothing_else_is_known() -> None:
    broken = case("transfer", 0.0, score=None, error="P1 on a gave no answer")
    alone = case("self", 0.0, score=None, error="P1 on a gave no answer")
    found = judge([broken, alone], UCX)
    assert found.verdict == "fail"
    assert "P1 on a gave no answer" in found.message
    # One that went well and was not scored says nothing of the KV.
    unscored = msgspec.structs.replace(broken, unscored=True)
    assert judge([unscored, alone], UCX).verdict == "unknown"


@pytest.mark.parametrize(
    ("load", "says"),
    [
        (Load(asked=100, answered=100, failed=100), "100 of the 100 requests"),
        (Load(asked=100, answered=40), "only 40 of 100"),
        (Load(asked=100, answered=103), ""),
    ],
)
def test_the_load_was_there_or_the_verdict_says_so(load: Load, says: str) -> None:
    found = judge([SELF, HEALTHY, CONTROL], UCX, load)
    assert found.verdict == ("warn" if says else "ok")
    assert says in found.message


def test_a_rounding_that_is_not_known_is_said() -> None:
    silent = case("self", 0.0, who="D1", score=None, error="D1 on b gave no answer")
    found = judge([SELF, silent, HEALTHY, CONTROL], UCX)
    assert found.verdict == "warn"
    assert "D1 on b gave no answer" in found.message


def test_without_a_score_of_its_own_nothing_is_judged() -> None:
    found = judge([case("self", 0, score=None, error="P1 on a does not score"), HEALTHY], UCX)
    assert found.verdict == "unknown"
    assert "P1 on a does not score" in found.message


def test_one_transport_against_another() -> None:
    ours = [case("transfer", 0), case("transfer", 0, prompt=2), case("transfer", 1, loaded=True)]
    theirs = [
        case("transfer", 0),
        case("transfer", 0, prompt=2, score=score(0, tokens=(5, 6, 9, 1))),
    ]
    found = compare(ours, theirs)
    assert found is not None
    assert (found.prompts, found.equal, found.deviation) == (2, 1, 0.0)
    assert compare(ours, []) is None
    assert compare(ours, [case("transfer", 0, length=20)]) is None  # another prompt
    parted = [case("transfer", 0, score=score(0.5, tokens=(1, 6, 7, 8)))]
    apart = compare(ours, parted)
    assert apart is not None
    assert (apart.equal, apart.deviation) == (0, 2.0)


def test_lengths_fit_the_model_and_the_scoring_servers_memory() -> None:
    assert prompt_lengths(2048, 1023) == (20, 100, 405, 1000)
    assert prompt_lengths(16000, 32000) == (20, 100, 405, 1000, 4003, 8005)
    assert prompt_lengths(131072, 200_000) == (20, 100, 405, 1000)
    # Two blocks swapped are seen by a last block that is partly filled.
    for length in prompt_lengths(16000, 32000):
        assert all(length % block for block in (16, 32, 64, 128))


def test_another_deployment_gets_the_same_prompts() -> None:
    assert prompt_tokens("s", 3, 50, (10, 99)) == prompt_tokens("s", 3, 50, (10, 99))
    assert prompt_tokens("s", 3, 50, (10, 99)) != prompt_tokens("s", 4, 50, (10, 99))


ids = st.lists(st.lists(st.integers(0, 99), min_size=1, max_size=9, unique=True), min_size=1)


@given(ids)
def test_a_swap_keeps_the_blocks_and_moves_two(groups: BlockIds) -> None:
    made = swapped(groups)
    if made is None:
        assert all(len(group) == 1 for group in groups_of(groups))
        return
    assert [sorted(g) for g in groups_of(made)] == [sorted(g) for g in groups_of(groups)]
    assert count_wrong(groups, made)[1] == 2


@given(ids)
def test_one_block_replaced_is_one(groups: BlockIds) -> None:
    other = [[block + 100 for block in group] for group in groups_of(groups)]
    made = one_replaced(groups, other)
    if made is not None:
        assert count_wrong(groups, made) == (max(map(len, groups_of(groups))), 1)


def test_the_older_form_of_block_ids_is_kept() -> None:
    assert swapped([1, 2, 3]) == [3, 2, 1]
    assert one_replaced([1, 2, 3], [7, 8, 9]) == [1, 8, 3]
    assert count_wrong([1, 2, 3], [1, 8, 3]) == (3, 1)


@pytest.mark.parametrize(
    ("verdict", "flag"),
    [("fail", "kv-mismatch"), ("unknown", "not-validated"), ("warn", "not-validated")],
)
def test_points_say_what_was_found(verdict: str, flag: str) -> None:
    evidence = msgspec.convert({"kv_verdict": verdict, "kv_finding": "so it is"}, Evidence)
    assert [str(found) for found in quality_flags(evidence)] == [f"{flag}: so it is"]
    assert not quality_flags(Evidence(kv_verdict="ok", kv_finding="fine"))
