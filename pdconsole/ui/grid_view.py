"""What the cells of the grid show: a survey, or the open session's state, as one value. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from pdconsole.model.events import GpuSample, LinkStatus, ProcessState, ProcessStatus
from pdconsole.model.grid import Grid, GridNode, Slot
from pdconsole.model.placement import Assignment
from pdconsole.model.state import NodeState, State
from pdconsole.model.survey import Owner, Survey, SurveyGpu, SurveyNode
from pdconsole.ui.placing_rules import Violation, names_of

ENDED: frozenset[ProcessStatus] = frozenset({"stopped"})


class CellView(msgspec.Struct, frozen=True):
    """One slot. `process` is the replica that runs there, P1 or so, with its role and status."""

    util_pct: float | None = None
    memory_used_mib: float | None = None
    memory_mib: int = 0
    temperature_c: float | None = None
    power_w: float | None = None
    owner: Owner = "unknown"
    holder: str = ""
    process: str = ""
    role: str = ""
    status: ProcessStatus | None = None


class NodeView(msgspec.Struct, frozen=True):
    """A node; where its link is not up, `message` says why and what to do."""

    name: str
    cells: tuple[CellView, ...]
    link: LinkStatus = "connecting"
    message: str = ""
    gpu_model: str = ""
    nics: tuple[str, ...] = ()
    versions: Mapping[str, str] = {}


class GridView(msgspec.Struct, frozen=True):
    nodes: tuple[NodeView, ...] = ()
    simulated: bool = False
    fabric: str = ""

    @property
    def gpus(self) -> int:
        return sum(len(node.cells) for node in self.nodes)


def grid_of(survey: Survey) -> Grid:
    """The survey's nodes and slots; taken are those that others hold."""
    nodes = tuple(
        GridNode(
            name=node.name,
            slots=1 + max((gpu.index for gpu in node.gpus), default=-1),
            gpu_model=node.gpus[0].name if node.gpus else "",
            gpu_memory_mib=node.gpus[0].memory_mib if node.gpus else 0,
        )
        for node in survey.nodes
    )
    taken = (
        Slot(node.name, gpu.index)
        for node in survey.nodes
        for gpu in node.gpus
        if gpu.owner == "others"
    )
    return Grid(nodes, frozenset(taken))


def grid_view(survey: Survey | None, state: State | None = None) -> GridView:
    """Both together: a node that the open session watches shows the session's newer samples."""
    running = _running(state) if state is not None else {}
    known = state.nodes if state is not None else {}
    if survey is None:
        nodes = tuple(_of_state(node, running) for node in known.values())
        return GridView(nodes, state.simulated if state else False)
    nodes = tuple(_of_survey(node, known.get(node.name), running) for node in survey.nodes)
    return GridView(nodes, survey.simulated, survey.fabric)


def unreachable(
    nodes: Iterable[NodeView | SurveyNode], assignments: Sequence[Assignment]
) -> tuple[Violation, ...]:
    """Replicas on nodes that cannot be reached; one violation a node."""
    down = {node.name: node for node in nodes if node.link in ("lost", "unreachable")}
    found: dict[str, list[Assignment]] = {}
    for assignment in assignments:
        for name in assignment.nodes:
            if name in down:
                found.setdefault(name, []).append(assignment)
    return tuple(
        Violation(
            f"{names_of(on_it)} on {name}: {down[name].message or 'it cannot be reached.'}",
            tuple(slot for a in on_it for slot in a.slots if slot.node == name),
            "on-grid",
        )
        for name, on_it in found.items()
    )


def _running(state: State) -> dict[Slot, ProcessState]:
    return {
        Slot(view.state.node, index): view.state
        for view in state.processes.values()
        if view.state.status not in ENDED
        for index in view.state.slots
    }


def _of_survey(
    node: SurveyNode, watched: NodeState | None, running: Mapping[Slot, ProcessState]
) -> NodeView:
    gpus = {gpu.index: gpu for gpu in node.gpus}
    samples = _samples(watched)
    cells = tuple(
        _cell(gpus.get(i), samples.get(i), running.get(Slot(node.name, i)))
        for i in range(1 + max(gpus, default=-1))
    )
    return NodeView(
        name=node.name,
        cells=cells,
        link=node.link,
        message=node.message,
        gpu_model=node.gpus[0].name if node.gpus else "",
        nics=node.nics,
        versions=node.versions,
    )


def _of_state(node: NodeState, running: Mapping[Slot, ProcessState]) -> NodeView:
    inventory = node.inventory
    gpus = {
        g.index: SurveyGpu(index=g.index, name=g.name, memory_mib=g.memory_mib)
        for g in (inventory.gpus if inventory else ())
    }
    samples = _samples(node)
    slots = 1 + max((*gpus, *samples), default=-1)
    cells = tuple(
        _cell(gpus.get(i), samples.get(i), running.get(Slot(node.name, i))) for i in range(slots)
    )
    return NodeView(
        name=node.name,
        cells=cells,
        link=node.link,
        message=node.message,
        gpu_model=inventory.gpus[0].name if inventory and inventory.gpus else "",
        nics=inventory.nics if inventory else (),
        versions=inventory.versions if inventory else {},
    )


def _samples(node: NodeState | None) -> dict[int, GpuSample]:
    return {s.index: s for s in node.gpus.gpus} if node is not None and node.gpus else {}


def _cell(
    gpu: SurveyGpu | None, sample: GpuSample | None, process: ProcessState | None
) -> CellView:
    values = sample or gpu
    return CellView(
        util_pct=values.util_pct if values else None,
        memory_used_mib=values.memory_used_mib if values else None,
        memory_mib=gpu.memory_mib if gpu else 0,
        temperature_c=values.temperature_c if values else None,
        power_w=sample.power_w if sample else None,
        owner="ours" if process else gpu.owner if gpu else "unknown",
        holder=gpu.holder if gpu else "",
        process=process.process if process else "",
        role=process.role if process else "",
        status=process.status if process else None,
    )
