"""What a person asks the runner for, and what it answers: the words of the control socket."""

from __future__ import annotations

from typing import Literal

import msgspec

PROTOCOL = 1


class RunRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Carry out an experiment. Empty tuples and None mean: as the experiment's profile says."""

    experiment: str
    cluster: str | None = None
    layouts: tuple[str, ...] = ()
    concurrency: tuple[int, ...] = ()
    request_rate: tuple[float, ...] = ()
    network: str | None = None
    placement: Literal["pack", "spread"] | None = None  # of layouts the experiment does not list
    quick: bool = False
    with_optional: bool = False  # the profile's optional runs too
    min_window_s: float | None = None
    ignore_checks: bool = False  # go on although a hard check failed; recorded
    command: str = ""  # the command line that asked, for the record


Command = Literal["hello", "run", "resume", "stop", "pause", "unpause", "skip", "shutdown"]


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """One line from a client. Which fields matter depends on `command`."""

    command: Command
    run: RunRequest | None = None
    session: str = ""  # resume
    now: bool = False  # stop: at once, not orderly
    scope: Literal["point", "layout"] = "point"  # skip
    ignore_checks: bool = False  # resume


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """One line back; `error` is a sentence for a person, empty when all went well."""

    error: str = ""
    protocol: int = PROTOCOL
    version: str = ""
    pid: int = 0
    workspace: str = ""
    session: str = ""  # the session this is about, or the one that is open
    last_session: str = ""  # the one that ended last in this runner, and how
    last_message: str = ""
