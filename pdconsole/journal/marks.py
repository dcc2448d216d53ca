"""What is worth a mark on the time axis. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, TypeAlias

import msgspec

from pdconsole.model import events as ev
from pdconsole.model.state import State

MarkKind: TypeAlias = Literal["point", "run", "flag", "note", "command", "session"]


class Mark(msgspec.Struct, frozen=True):
    """Something to be seen on the time axis, and to be jumped to. `t` in session seconds.

    `run` and `process` name whose log tells more of it, where one does.
    """

    t: float
    kind: MarkKind
    text: str
    run: str = ""
    process: str = ""


def marks_of(event: ev.Event, state: State) -> Iterator[Mark]:
    """The marks of an event; `state` is the state after it."""
    match event:
        case ev.PointState(status="warmup"):
            again = f", attempt {event.attempt}" if event.attempt > 1 else ""
            yield Mark(event.t, "point", event.point + again)
        case ev.PointState(status="failed" | "skipped"):
            yield Mark(event.t, "point", _ended(event.point, event))
        case ev.RunState(status="launching"):
            yield Mark(event.t, "run", _layout(event.run, state))
        case ev.RunState(status="failed" | "skipped"):
            yield Mark(event.t, "run", _ended(_layout(event.run, state), event))
        case ev.PointResult():
            for flag in event.flags:
                yield Mark(event.t, "flag", f"{event.point}: {flag}")
        case ev.Note():
            about = f"{event.subject}: " if event.subject else ""
            # A process by its name, or by its token: session/run/name.
            view = state.processes.get(event.subject.rpartition("/")[2])
            run, process = ("", "") if view is None else (view.state.run, view.name)
            yield Mark(event.t, "note", about + event.message, run, process)
        case ev.ProcessState(status="failed"):
            text = _ended(event.process, event)
            yield Mark(event.t, "note", text, event.run, event.process)
        case ev.NodeLink(status="lost" | "unreachable"):
            yield Mark(event.t, "note", _ended(event.node, event))
        case ev.CommandReceived():
            yield Mark(event.t, "command", " ".join(filter(None, (event.command, event.detail))))
        case ev.SessionState():
            yield Mark(event.t, "session", _ended("session", event))
        case ev.EpochOpened() if event.epoch > 1:
            yield Mark(event.t, "session", f"session resumed, epoch {event.epoch}")
        case _:
            return


_Told: TypeAlias = ev.PointState | ev.RunState | ev.ProcessState | ev.NodeLink | ev.SessionState


def _ended(what: str, event: _Told) -> str:
    why = f": {event.message}" if event.message else ""
    return f"{what} {event.status}{why}"


def _layout(run_id: str, state: State) -> str:
    run = state.run(run_id)
    return run.plan.layout if run is not None else f"run {run_id}"
