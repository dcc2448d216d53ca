"""What the processes of a deployment log from some moment on, in case requests fail."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Protocol

from pdconsole.remote.errors import RemoteError
from pdconsole.serving.failures_at_work import complaint
from pdconsole.serving.log_words import Diagnosis

if TYPE_CHECKING:
    from pdconsole.remote.client import NodeClient
    from pdconsole.serving.plan import DeploymentPlan

MOST_BYTES = 1 << 18  # of each log; what was said last counts
MOST_CHARACTERS = 300  # of a quoted line


class Member(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def role(self) -> str: ...
    @property
    def node(self) -> str: ...


class Complaints:
    """Of these processes, since `listen`. Nodes that cannot be reached have none."""

    def __init__(
        self,
        members: Iterable[Member],
        nodes: Mapping[str, NodeClient],
        token_of: Callable[[str], str],
    ) -> None:
        """`token_of`: a process's token by its name."""
        # Decode replicas read KV, so they know best what is wrong with it.
        order = {"decode": 0, "prefill": 1, "collocated": 1, "router": 2}
        self._members = sorted(members, key=lambda member: order.get(member.role, 1))
        self._nodes = nodes
        self._token_of = token_of
        self._began: dict[str, int] = {}  # by token, bytes

    async def listen(self) -> None:
        """What is logged from now on counts."""
        self._began = await self._sizes()

    async def heard(self) -> str:
        """One sentence of the replica that says most about its cause; empty if none complains."""
        sizes = await self._sizes()
        found: list[tuple[Member, Diagnosis]] = []
        for member in self._members:
            token = self._token_of(member.name)
            if token not in self._began or token not in sizes:
                continue
            said = complaint(await self._log(member.node, token, sizes[token]))
            if said is not None:
                found.append((member, said))
        # Where one knows its cause, others merely suffer from it.
        found.sort(key=lambda pair: not pair[1].what)
        return _sentence(*found[0]) if found else ""

    async def _sizes(self) -> dict[str, int]:
        sizes: dict[str, int] = {}
        for node in dict.fromkeys(member.node for member in self._members):
            try:
                infos = await self._nodes[node].processes()
            except RemoteError:
                continue
            sizes |= {info.token: info.log_size for info in infos}
        return sizes

    async def _log(self, node: str, token: str, size: int) -> str:
        begin = self._began[token]
        if size < begin:  # it was started anew, with a new log
            begin = 0
        try:
            text = await self._nodes[node].read(
                token, "log", max(begin, size - MOST_BYTES), MOST_BYTES
            )
        except RemoteError:
            return ""
        return text.decode(errors="replace")


def complaints_of(plan: DeploymentPlan, nodes: Mapping[str, NodeClient]) -> Complaints:
    return Complaints(plan.processes, nodes, lambda name: f"{plan.session}/{plan.run}/{name}")


def _sentence(member: Member, said: Diagnosis) -> str:
    who = "the router" if member.role == "router" else member.name
    line = said.line[:MOST_CHARACTERS]
    if not said.what:
        return f"{who} on {member.node} logged: {line}"
    return f"{who} on {member.node}: {said.what}. Next: {said.advice}. It logged: {line}"
