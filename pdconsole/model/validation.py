"""Is the KV that P hands to D right? Cases in, a judgement out.

Equal text is no test: rounding differs between a prefill and a decode, and one token that parts
changes all that follow. So a replica alone scores the very tokens that D made (teacher forcing):
the deviation of a token is |log-probability by D - log-probability by the reference|, in nats, and
that of a prompt is the mean over its output tokens. What a replica alone deviates from such a score
is rounding, and makes the tolerance. Transfers corrupted on purpose show that the check would
see a wrong one: with all blocks another prompt's the deviation must exceed the tolerance by far.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal, TypeAlias

import msgspec

from pdconsole.model.events import Verdict

CHECK = "kv-validation"  # its name among the checks
OUTPUT_TOKENS = 32
# Of the prompts, tokens. No multiples of a block: it takes a last block that is partly filled to
# see two blocks swapped, because full attention does not mind the order of whole ones (keys carry
# their positions).
LENGTHS = (20, 100, 405, 1000, 4003, 8005)
# A scoring server holds the logits of a whole prompt: tokens x vocabulary, 4 bytes each.
LOGITS_LIMIT = 1 << 28
TOLERANCE_FACTOR = 3.0  # of the worst self-score
TOLERANCE_FLOOR = 0.02  # nats; servers that round alike score themselves at nearly 0
BY_FAR = 10.0  # what a control has to exceed the tolerance by

Kind = Literal["self", "transfer", "corrupted"]
# Either a list for each KV group, or (vLLM 0.11) one list.
BlockIds: TypeAlias = list[list[int]] | list[int]


class Score(msgspec.Struct, frozen=True, kw_only=True):
    """Output tokens, and the log-probability of each by who made it and by who scored it."""

    tokens: tuple[int, ...]
    own: tuple[float, ...]
    reference: tuple[float, ...]

    @property
    def deviations(self) -> tuple[float, ...]:
        return tuple(abs(a - b) for a, b in zip(self.own, self.reference, strict=True))

    @property
    def mean(self) -> float:
        return sum(self.deviations) / len(self.tokens)

    @property
    def worst(self) -> tuple[int, float]:
        """Position among the output tokens, from 0, and the deviation there."""
        position = max(range(len(self.tokens)), key=lambda i: self.deviations[i])
        return position, self.deviations[position]


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """One prompt that was tried. Without a score, `error` says why there is none."""

    kind: Kind
    prompt: int  # its number, from 1
    length: int
    who: str  # "P1>D2", or the replica that made it alone
    loaded: bool = False
    corruption: str = ""
    control: bool = False  # all blocks another prompt's
    blocks: int = 0
    wrong_blocks: int = 0
    score: Score | None = None
    error: str = ""
    unscored: bool = False  # it was made; `error` is the reference's, which did not score it

    @property
    def name(self) -> str:
        load = " under load" if self.loaded else ""
        return f"prompt {self.prompt} ({self.length:,} tokens{load}) through {self.who}"

    @property
    def share(self) -> float:
        return self.wrong_blocks / self.blocks if self.blocks else 0.0


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """Requests through the router beside the loaded cases."""

    asked: int
    answered: int = 0
    failed: int = 0


class Judgement(msgspec.Struct, frozen=True, kw_only=True):
    """The numbers behind a verdict, nats; None where there was nothing to make them from."""

    verdict: Verdict
    message: str
    tolerance: float | None = None
    self_deviation: float | None = None
    deviation: float | None = None  # of the worst prompt
    worst_token: float | None = None
    control: float | None = None  # of the least one
    caught: tuple[str, ...] = ()
    missed: tuple[str, ...] = ()
    smallest_caught: str = ""


def prompt_lengths(max_model_len: int, last_token_id: int) -> tuple[int, ...]:
    """Those that fit the model, and whose logits a server can be asked for."""
    longest = min(max_model_len - OUTPUT_TOKENS - 1, LOGITS_LIMIT // (last_token_id + 1))
    return tuple(length for length in LENGTHS if length <= longest)


def prompt_tokens(seed: str, number: int, length: int, vocab: tuple[int, int]) -> list[int]:
    """Token ids that depend on these values alone, so that another deployment gets the same."""
    chance = random.Random(f"{seed}/validation/{number}")
    return [chance.randint(*vocab) for _ in range(length)]


# --- wrong blocks ---


def groups_of(ids: BlockIds) -> list[list[int]]:
    """A list for each KV group, also of one plain list."""
    nested = [group for group in ids if isinstance(group, list)]
    return nested or [[block for block in ids if isinstance(block, int)]]


def like(ids: BlockIds, groups: Sequence[Sequence[int]]) -> BlockIds:
    """`groups` in the form that `ids` have."""
    if ids and not isinstance(ids[0], list):
        return list(groups[0])
    return [list(group) for group in groups]


def swapped(ids: BlockIds) -> BlockIds | None:
    """The first and the last block of each group swapped; None where no group has two."""
    groups = groups_of(ids)
    if all(len(group) < 2 for group in groups):
        return None
    return like(ids, [g if len(g) < 2 else [g[-1], *g[1:-1], g[0]] for g in groups])


def one_replaced(ids: BlockIds, other: BlockIds) -> BlockIds | None:
    """The middle block of each group another prompt's; None where that would be all of them."""
    groups, others = groups_of(ids), groups_of(other)
    if all(len(group) < 2 for group in groups):
        return None
    found = []
    for group, strange in zip(groups, others, strict=True):
        middle = len(group) // 2
        found.append([*group[:middle], *strange[middle : middle + 1], *group[middle + 1 :]])
    return like(ids, found)


def count_wrong(ids: BlockIds, wrong: BlockIds) -> tuple[int, int]:
    """Blocks of the largest group, and how many of them are wrong."""
    group, changed = max(
        zip(groups_of(ids), groups_of(wrong), strict=True), key=lambda pair: len(pair[0])
    )
    return len(group), sum(a != b for a, b in zip(group, changed, strict=True))


# --- the judgement ---


def judge(cases: Iterable[Case], backend: str, load: Load | None = None) -> Judgement:
    """What the cases say together. `backend` goes into the sentence about a mismatch; `load` is
    what was asked beside the loaded ones."""
    cases = tuple(cases)
    transfers = [case for case in cases if case.kind == "transfer"]
    selves = [case.score.mean for case in cases if case.kind == "self" and case.score]
    scored = [case for case in transfers if case.score]
    if not selves or not transfers:
        broken = [case for case in transfers if case.error and not case.unscored]
        if broken:  # whatever else is not known, this does not work
            return Judgement(verdict="fail", message=_failed(broken, len(transfers), backend))
        why = next((case.error for case in cases if case.error), "nothing was tried")
        return Judgement(verdict="unknown", message=f"could not be judged: {why}")
    tolerance = max(TOLERANCE_FLOOR, TOLERANCE_FACTOR * max(selves))
    caught, missed = _by_size(cases, tolerance)
    controls = [case for case in cases if case.control and case.score]
    numbers = Judgement(
        verdict="ok",
        message="",
        tolerance=tolerance,
        self_deviation=max(selves),
        deviation=max((_mean(case) for case in scored), default=None),
        worst_token=max((_worst(case)[1] for case in scored), default=None),
        control=min(map(_mean, controls), default=None),
        caught=tuple(map(_corruption, caught)),
        missed=tuple(map(_corruption, missed)),
        smallest_caught=_corruption(caught[0]) if caught else "",
    )
    verdict, message = _verdict(transfers, controls, numbers, tolerance, backend)
    doubts = tuple(_doubts(cases, load)) if verdict in ("ok", "warn") else ()
    if doubts:
        verdict, message = "warn", f"{message}; but {' and '.join(doubts)}"
    return msgspec.structs.replace(numbers, verdict=verdict, message=message)


def _verdict(
    transfers: Sequence[Case],
    controls: Sequence[Case],
    numbers: Judgement,
    tolerance: float,
    backend: str,
) -> tuple[Verdict, str]:
    failed = [case for case in transfers if case.error]
    if failed:
        return "fail", _failed(failed, len(transfers), backend)
    # "Not within" and not "beyond": what is no number is neither.
    wrong = [case for case in transfers if not _mean(case) <= tolerance]
    if wrong:
        return "fail", _mismatch(wrong, len(transfers), tolerance, backend)
    blind = [case for case in controls if _mean(case) <= tolerance]
    if blind:
        return "fail", (
            f"given another prompt's blocks, {blind[0].who} made the same of {blind[0].length:,}"
            " tokens: D does not use the KV it is handed, it prefills by itself"
        )
    within = f"{numbers.deviation:.3f} nats a token at worst, tolerance {tolerance:.3f}"
    if not controls:
        return "warn", f"{within}; but no corrupted transfer could be tried, so this proves little"
    least = min(map(_mean, controls))
    if least < BY_FAR * tolerance:
        return "warn", (
            f"{within}; but another prompt's blocks make only {least:.2f}, less than {BY_FAR:g}"
            " times the tolerance: with this model the check is weak"
        )
    return "ok", f"{within}; another prompt's blocks make {least:.1f}"


def _failed(failed: Sequence[Case], of: int, backend: str) -> str:
    more = f" ({len(failed)} of {of} failed)" if len(failed) > 1 else ""
    return f"{failed[0].name} over {backend} failed: {failed[0].error}{more}"


def _doubts(cases: Sequence[Case], load: Load | None) -> Iterator[str]:
    """What was to be tried and was not, as clauses."""
    silent = [case for case in cases if case.kind == "self" and case.error]
    if silent:
        yield (
            f"{len(silent)} outputs of a replica alone were not scored, the first because"
            f" {silent[0].error}"
        )
    if load is not None and load.failed:
        yield f"{load.failed} of the {load.answered} requests beside the loaded transfers failed"
    elif load is not None and load.answered < load.asked:
        yield (
            f"only {load.answered} of {load.asked} requests were answered beside the loaded"
            " transfers"
        )


def _mismatch(wrong: Sequence[Case], of: int, tolerance: float, backend: str) -> str:
    case = max(wrong, key=_mean)
    position, deviation = _worst(case)
    reference = case.score.reference[position] if case.score else 0.0
    own = case.score.own[position] if case.score else 0.0
    return (
        f"{len(wrong)} of {of} prompts are wrong. The worst: {case.name} over {backend}, output"
        f" token {position + 1} has log-probability {own:.2f} by D, {reference:.2f} by the"
        f" reference ({deviation:.2f} off); {_mean(case):.3f} nats a token on the mean, tolerance"
        f" {tolerance:.3f}"
    )


def _by_size(cases: Sequence[Case], tolerance: float) -> tuple[list[Case], list[Case]]:
    """Corrupted cases that the check saw and those it did not, the smallest corruption first."""
    tried = sorted(
        (case for case in cases if case.kind == "corrupted" and case.score),
        key=lambda case: case.share,
    )
    caught = [case for case in tried if _mean(case) > tolerance]
    return caught, [case for case in tried if case not in caught]


def _corruption(case: Case) -> str:
    return (
        f"{case.corruption} ({case.wrong_blocks} of {case.blocks} blocks, {case.length:,} tokens):"
        f" {_mean(case):.3f}"
    )


def _mean(case: Case) -> float:
    return case.score.mean if case.score else 0.0


def _worst(case: Case) -> tuple[int, float]:
    return case.score.worst if case.score else (0, 0.0)


# --- one transport against another ---


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """P to D over one transport against P to D over another, the same prompts."""

    prompts: int
    equal: int  # prompts whose output tokens are the same
    # The worst mean of a prompt, of log-probabilities up to where the tokens part; there each
    # side's own choice counts, which a near tie leaves equally likely.
    deviation: float


def compare(ours: Iterable[Case], theirs: Iterable[Case]) -> Difference | None:
    """Of the unloaded healthy transfers; None when they have no prompt in common."""
    other = {_asked(case): case.score for case in theirs if _comparable(case)}
    equal, means = 0, []
    for case in ours:
        one, two = case.score, other.get(_asked(case))
        if not _comparable(case) or one is None or two is None:
            continue
        same = 0
        while same < len(one.tokens) and one.tokens[: same + 1] == two.tokens[: same + 1]:
            same += 1
        equal += same == len(one.tokens)
        pairs = list(zip(one.own, two.own, strict=True))[: same + 1]
        means.append(sum(abs(a - b) for a, b in pairs) / len(pairs))
    if not means:
        return None
    return Difference(prompts=len(means), equal=equal, deviation=max(means))


def _asked(case: Case) -> tuple[int, int, str]:
    """What was asked of whom; only equal prompts can be compared."""
    return case.prompt, case.length, case.who


def _comparable(case: Case) -> bool:
    return case.kind == "transfer" and not case.loaded and case.score is not None
