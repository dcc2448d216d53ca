"""The line below the grid: the GPU at the cursor in words, what a key would do, the signs. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from pdconsole.ui.grid_arrangement import Level
from pdconsole.ui.grid_view import CellView, NodeView
from pdconsole.ui.lines import counted, printable
from pdconsole.ui.placing import Placing
from pdconsole.ui.placing_rules import Violation
from pdconsole.ui.widgets.gpu_looks import OWNER_WORDS, Bit

SIGNS = (
    ("P D C", "text", "replicas"),
    ("·", "muted", "free"),
    ("o", "accent", "ours"),
    ("x", "warn", "other"),
    ("?", "unknown", "unknown"),
    ("!", "fail", "violation"),
)


def status_line(
    node: NodeView | None,
    placing: Placing,
    violations: Sequence[Violation],
    level: Level,
    width: int,
) -> list[Bit]:
    """At the left the most pressing thing there is to say, at the right what is chosen."""
    right = _chosen(placing, level, width)
    room = width - sum(len(bit.text) for bit in right) - 1
    left = _told(node, placing, violations)
    text = left.text if len(left.text) <= room else left.text[: max(0, room - 1)] + "…"
    return [Bit(text.ljust(room + 1), left.role), *right]


def _told(node: NodeView | None, placing: Placing, violations: Sequence[Violation]) -> Bit:
    if placing.remark:
        return Bit(f" ! {placing.remark}", "warn")
    here = next((v for v in violations if placing.cursor in v.slots), None)
    if here is not None:
        return Bit(f" ! {here.text}", "fail")
    if node is None:
        return Bit(" no GPU is known here", "muted")
    if node.link != "up":
        about = printable(node.message) or node.link
        return Bit(f" {placing.cursor}  {about}", "warn")
    index = placing.cursor.index
    cell = node.cells[index] if index < len(node.cells) else CellView()
    return Bit(f" {placing.cursor}  {'  '.join(_facts(cell, placing))}", "text")


def _facts(cell: CellView, placing: Placing) -> list[str]:
    facts = []
    here = placing.here
    if here is not None:
        facts.append(f"{here.replica} {here.role} TP{here.tp}{' EP' if here.ep else ''}")
    if cell.process:
        facts.append(
            f"{cell.process} runs" if cell.status == "ready" else f"{cell.process} {cell.status}"
        )
    if cell.util_pct is not None:
        facts.append(f"{cell.util_pct:.0f}%")
    if cell.memory_used_mib is not None:
        of = f" of {cell.memory_mib / 1024:.0f}" if cell.memory_mib else ""
        facts.append(f"{cell.memory_used_mib / 1024:.0f}{of} GiB")
    if cell.temperature_c is not None:
        facts.append(f"{cell.temperature_c:.0f} °C")
    facts.append(printable(cell.holder) or OWNER_WORDS[cell.owner])
    return facts


def _chosen(placing: Placing, level: Level, width: int) -> list[Bit]:
    bits = []
    if level == "overview" and width >= 100:
        for sign, role, word in SIGNS:
            bits += [Bit(sign, role, "", True), Bit(f" {word}  ", "muted")]
    if placing.selection:
        mode = ", growing" if placing.growing else ""
        bits.append(Bit(f"{counted(len(placing.selection), 'GPU')} selected{mode}  ", "accent"))
    bits.append(Bit(f"TP{placing.tp}{' EP' if placing.ep else ''} ", "accent", "", True))
    return bits
