"""What is wrong with a profile file, said to the person who wrote it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import Literal

import msgspec

Kind = Literal["cluster", "model", "network", "workload", "experiment"]
KINDS: tuple[Kind, ...] = ("cluster", "model", "network", "workload", "experiment")


class ProfileProblem(msgspec.Struct, frozen=True, kw_only=True):
    """One thing to mend. `line` counts from 1; 0 where the file as a whole is meant."""

    file: str
    line: int = 0
    field: str = ""  # "runs[2].layout"
    message: str
    advice: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        field = f" {self.field}:" if self.field else ""
        return f"{place}:{field} {self.message}; {self.advice}"


class ProfileError(Exception):
    """A profile that cannot be used, or is not there. str() is for the person who runs pdconsole.

    `problems` is empty where no file is at fault (an unknown name).
    """

    def __init__(self, message: str, problems: Sequence[ProfileProblem] = ()) -> None:
        super().__init__(message)
        self.problems = tuple(problems)

    @classmethod
    def of(cls, problems: Sequence[ProfileProblem]) -> ProfileError:
        return cls("\n".join(str(problem) for problem in problems), problems)


def suggest(word: str, known: Iterable[str], otherwise: str) -> str:
    """`did you mean X or Y?`, or `otherwise` where nothing is near."""
    near = difflib.get_close_matches(word, list(known), n=3, cutoff=0.6)
    return f"did you mean {' or '.join(near)}?" if near else otherwise


def one_of(choices: Sequence[str]) -> str:
    """`X`, or `one of X, Y, Z`."""
    return ("" if len(choices) == 1 else "one of ") + ", ".join(choices)
