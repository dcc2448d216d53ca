"""What replicas log while requests fail: of the right one, and of that time only."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from serving_cases import placed, planned, run_of

from pdconsole.remote.errors import RemoteError
from pdconsole.remote.values import ProcessInfo
from pdconsole.serving.complaints import Complaints, complaints_of

PLAN = planned(run_of(placed("1P-TP4+1D-TP4", "spread"), "srd"))
ERROR = "(Worker pid=7) ERROR 01-02 03:04:05 [worker.py:9] "
MISMATCH = ERROR + "RuntimeError: NIXL compatibility hash mismatch. Local: aa, Remote: bb.\n"


@dataclass
class Node:
    name: str
    logs: dict[str, bytes] = field(default_factory=dict)  # by process
    lost: bool = False

    async def processes(self) -> list[ProcessInfo]:
        if self.lost:
            raise RemoteError(self.name, "lost", "the connection broke")
        return [
            ProcessInfo(token=f"{PLAN.session}/1/{name}", pid=1, state="running", log_size=len(log))
            for name, log in self.logs.items()
        ]

    async def read(self, token: str, name: str, offset: int, limit: int) -> bytes:
        assert name == "log"
        return self.logs[token.rsplit("/", 1)[1]][offset : offset + limit]


def scene(p: str = "", d: str = "", router: str = "") -> tuple[Complaints, Node, Node]:
    a = Node("p5-a", {"P1": p.encode(), "router": router.encode()})
    b = Node("p5-b", {"D1": d.encode()})
    nodes: Any = {"p5-a": a, "p5-b": b}
    return complaints_of(PLAN, nodes), a, b


async def test_the_replica_that_knows_the_cause_is_quoted() -> None:
    complaints, a, b = scene()
    await complaints.listen()
    a.logs["router"] += b"2026-01-02T03:04:05Z ERROR router: worker answered 500\n"
    b.logs["D1"] += MISMATCH.encode()
    said = await complaints.heard()
    assert said.startswith("D1 on p5-b: prefill and decode replicas do not fit together")
    assert ". Next: give both the same" in said
    assert said.endswith("NIXL compatibility hash mismatch. Local: aa, Remote: bb.")


async def test_without_a_known_cause_the_last_error_is_quoted() -> None:
    complaints, a, _ = scene()
    await complaints.listen()
    a.logs["P1"] += (ERROR + "KeyError: 'sinks'\n").encode()
    assert await complaints.heard() == "P1 on p5-a logged: KeyError: 'sinks'"


async def test_what_was_logged_before_does_not_count() -> None:
    complaints, _, b = scene(d=MISMATCH)
    await complaints.listen()
    b.logs["D1"] += b"INFO 01-02 03:04:06 [x.py:1] going on\n"
    assert await complaints.heard() == ""


async def test_a_log_that_began_anew_is_read_from_its_beginning() -> None:
    complaints, _, b = scene(d="x" * 5000)
    await complaints.listen()
    b.logs["D1"] = MISMATCH.encode()
    assert "D1 on p5-b" in await complaints.heard()


async def test_a_node_that_is_lost_has_no_say() -> None:
    complaints, a, b = scene()
    await complaints.listen()
    b.lost = True
    assert await complaints.heard() == ""
    a.logs["P1"] += (ERROR + "KeyError: 'sinks'\n").encode()
    assert "P1 on p5-a" in await complaints.heard()
