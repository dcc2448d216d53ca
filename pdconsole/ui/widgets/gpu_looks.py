"""What is drawn of each slot: its values, who stands or runs there, and the cursor. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple

from pdconsole.model.grid import Slot
from pdconsole.model.placement import Assignment
from pdconsole.ui.grid_view import CellView, NodeView
from pdconsole.ui.lines import printable

STATUS_MARKS = {
    "starting": "◌",
    "loading": "◌",
    "ready": "●",
    "stopping": "○",
    "failed": "✗",
}
LINK_MARKS = {
    "up": ("●", "ok"),
    "connecting": ("◌", "muted"),
    "closed": ("○", "muted"),
    "lost": ("✗", "fail"),
    "unreachable": ("✗", "fail"),
}
OWNER_WORDS = {"free": "free", "ours": "ours", "others": "other", "unknown": "?"}
OWNER_ROLES = {"free": "muted", "ours": "accent", "others": "warn", "unknown": "unknown"}
# Cells of a value from which on a second number fits, and from which on a bar and units do.
ROOMY, WIDE = 7, 12
BAR = 7


class Bit(NamedTuple):
    """A piece of a line: text, colour by role, and what is behind it: "", cursor or selected."""

    text: str
    role: str = "text"
    back: str = ""
    bold: bool = False


class SlotLook(NamedTuple):
    """`replica` is what is placed here, else what runs here; `status` of what runs."""

    number: int
    cell: CellView
    replica: str = ""
    role: str = ""
    tp: int = 0
    ep: bool = False
    placed: bool = False
    status: str = ""  # one of STATUS_MARKS' marks
    cursor: bool = False
    selected: bool = False
    bad: bool = False

    @property
    def back(self) -> str:
        return "cursor" if self.cursor else "selected" if self.selected else ""

    def joins(self, other: SlotLook) -> bool:
        """Whether both are of one replica."""
        return bool(self.replica) and (self.replica, self.placed) == (other.replica, other.placed)


class NodeLook(NamedTuple):
    view: NodeView
    slots: tuple[SlotLook, ...]

    @property
    def current(self) -> bool:
        return any(slot.cursor for slot in self.slots)

    def run_of(self, index: int, first: int, end: int) -> tuple[int, int]:
        """The slots from `first` to before `end` that are joined with this one."""
        low = high = index
        while low > first and self.slots[low - 1].joins(self.slots[index]):
            low -= 1
        while high + 1 < end and self.slots[high + 1].joins(self.slots[index]):
            high += 1
        return low, high


def look_at(
    node: NodeView,
    placed: Mapping[Slot, Assignment],
    cursor: Slot,
    selection: Collection[Slot],
    bad: Collection[Slot],
) -> NodeLook:
    found = []
    for index, cell in enumerate(node.cells):
        slot = Slot(node.name, index)
        assignment = placed.get(slot)
        mark = STATUS_MARKS.get(cell.status or "", "")
        state = slot == cursor, slot in selection, slot in bad
        if assignment is not None:
            a = assignment
            # A mark says that this very replica runs; another one here is told by its owner.
            here = mark if cell.process == a.replica else ""
            found.append(SlotLook(index, cell, a.replica, a.role, a.tp, a.ep, True, here, *state))
        else:
            found.append(
                SlotLook(index, cell, cell.process, cell.role, 0, False, False, mark, *state)
            )
    return NodeLook(node, tuple(found))


def load_text(cell: CellView, room: int) -> str:
    """` 87% ━━━━━━·`, ` 87% ▇`, ` 87%` or ` 87`, as there is room."""
    if cell.util_pct is None:
        return "-"
    number = f"{cell.util_pct:.0f}"
    if room >= WIDE:
        return f"{number:>3}% {bar(cell.util_pct / 100, BAR)}"
    if room >= ROOMY:
        return f"{number}% {'▁▂▃▄▅▆▇█'[max(0, min(7, int(cell.util_pct / 12.5)))]}"
    return f"{number}%" if len(number) < room else number


def memory_text(cell: CellView, room: int) -> str:
    """` 71 of 80 GiB`, `71/80G` or `71G`."""
    if cell.memory_used_mib is None:
        return f"{cell.memory_mib / 1024:.0f}G" if cell.memory_mib else "-"
    used = f"{cell.memory_used_mib / 1024:.0f}"
    if cell.memory_mib and room >= WIDE:
        return f"{used:>3} of {cell.memory_mib / 1024:.0f} GiB"
    if cell.memory_mib and room >= ROOMY:
        return f"{used}/{cell.memory_mib / 1024:.0f}G"
    return f"{used}G"


def temperature_text(cell: CellView, room: int) -> str:
    if cell.temperature_c is None:
        return "-"
    return f"{cell.temperature_c:3.0f} °C" if room >= WIDE else f"{cell.temperature_c:.0f}°"


def bar(share: float, cells: int) -> str:
    full = round(max(0.0, min(1.0, share)) * cells)
    return "━" * full + "·" * (cells - full)


def owner_text(cell: CellView, room: int) -> str:
    if cell.owner == "others" and cell.holder and len(cell.holder) <= room:
        return printable(cell.holder)
    word = OWNER_WORDS[cell.owner]
    # A word that is cut says less than a short one.
    return word if len(word) < room else "held" if cell.owner == "others" else word


def model_text(node: NodeView) -> str:
    """`H100 80 GiB` of `NVIDIA H100 80GB HBM3`."""
    words = printable(node.gpu_model).split()
    name = " ".join(w for w in words if w.upper() not in ("NVIDIA", "HBM3", "HBM2E", "HBM3E"))
    memory = max((cell.memory_mib for cell in node.cells), default=0)
    if memory and not any(w[:1].isdigit() and w.upper().endswith("GB") for w in words):
        name = f"{name} {memory / 1024:.0f} GiB"
    return name.strip()


def fitted(text: str, room: int) -> str:
    """Exactly `room` cells: cut with an ellipsis, or filled."""
    if len(text) > room:
        return text[: max(0, room - 1)] + "…" if room > 0 else ""
    return text.ljust(room)
