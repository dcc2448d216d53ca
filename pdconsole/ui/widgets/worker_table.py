"""The table of a run's workers: which row each has, what it says, and which of it is stale. Pure
but for the widget that shows it."""

from __future__ import annotations

from collections.abc import Sequence

from pdconsole.model import events as ev
from pdconsole.model.state import ProcessView, State
from pdconsole.ui.live_charts import natural
from pdconsole.ui.widgets.row_table import Cell, Column, Row, RowTable

STALE_S = 5.0  # several sampling intervals

COLUMNS = (
    Column("worker", "worker", 6, priority=9),
    Column("state", "state", 11, priority=9),
    Column("node", "node", 8, priority=3),
    Column("slots", "GPUs", 8, priority=2),
    Column("running", "running", 7, "right", priority=8),
    Column("waiting", "waiting", 7, "right", priority=8),
    Column("kv", "KV %", 5, "right", priority=8),
    Column("preemptions", "preempt", 7, "right", priority=6),
    Column("failures", "KV fail", 7, "right", priority=5),
    Column("said", "last error", 10, flex=1, priority=7),
)
_ROLE_ORDER = {"prefill": 0, "decode": 1, "collocated": 2, "router": 3, "ray": 4, "driver": 5}
_STATUS_ROLES: dict[str, str] = {
    "ready": "ok",
    "starting": "accent",
    "loading": "accent",
    "stopping": "warn",
    "stopped": "muted",
    "failed": "fail",
}
_LINK_DOWN = ("lost", "unreachable")


class WorkerTable(RowTable):
    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(COLUMNS, id=id, empty="no worker was started yet")


def worker_rows(state: State, t: float) -> list[Row]:
    """A row a process in an order that does not change; `t` is now, which may be after the last
    event of a recording that has fallen silent."""
    views = sorted(state.processes.values(), key=_place)
    return [_row(view, state, t) for view in views]


def _place(view: ProcessView) -> tuple[int, tuple[str, int, str]]:
    return _ROLE_ORDER.get(view.state.role, 9), natural(view.name)


def stale_s(view: ProcessView, state: State, t: float) -> float | None:
    """How long a worker that should be sampled has not been; None while that is not long."""
    sample = view.sample
    if sample is None or view.state.status != "ready":
        return None
    age = t - sample.t
    return age if age > STALE_S else None


def _row(view: ProcessView, state: State, t: float) -> Row:
    said = view.state
    role = "router" if said.role == "ray" else said.role
    if role not in ("prefill", "decode", "collocated", "router"):
        role = "text"
    old = stale_s(view, state, t)
    faint = old is not None or said.status in ("stopped", "failed")
    shown = "muted" if faint else "text"
    # What it said last is not so any more once it has been stopped.
    sample = view.sample if said.status != "stopped" else None

    def number(value: float | None, digits: int = 0, role: str = shown) -> Cell:
        return Cell("-" if value is None else f"{value:.{digits}f}", role)

    failures = _failures(view.nixl)
    preempted = sample.preemptions if sample else None
    return Row(
        view.name,
        (
            Cell(view.name, role),
            _state_cell(view, state, old),
            Cell(said.node, shown),
            Cell(",".join(str(s) for s in said.slots), shown),
            number(sample.running if sample else None),
            number(sample.waiting if sample else None),
            number(_percent(sample), 1),
            number(preempted, role="warn" if preempted else shown),
            number(failures, role="fail" if failures else shown),
            Cell(_last_error(said), "fail" if said.status == "failed" else "muted"),
        ),
    )


def _percent(sample: ev.WorkerSampled | None) -> float | None:
    return None if sample is None or sample.kv_usage is None else 100 * sample.kv_usage


def _state_cell(view: ProcessView, state: State, old: float | None) -> Cell:
    """Down, silent and well are three things."""
    node = state.nodes.get(view.state.node)
    if node is not None and node.link in _LINK_DOWN and view.state.status != "stopped":
        return Cell(f"no link {node.name}", "fail")
    if old is not None:
        return Cell(f"stale {min(old, 9999):.0f} s", "warn")
    status = view.state.status
    return Cell(status, _STATUS_ROLES.get(status, "text"))


def _failures(nixl: ev.NixlSampled | None) -> float | None:
    if nixl is None:
        return None
    counts: Sequence[float | None] = (
        nixl.failed_transfers,
        nixl.failed_notifications,
        nixl.expired,
        nixl.notifications_after_expiry,
    )
    known = [c for c in counts if c is not None]
    return sum(known) if known else None


def _last_error(said: ev.ProcessState) -> str:
    if said.status != "failed":
        return ""
    lines = said.last_log.strip().splitlines()
    return said.message or (lines[-1] if lines else "")
