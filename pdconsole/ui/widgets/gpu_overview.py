"""The ends of the zoom: a character a GPU for very many, a line a GPU for one node. Pure."""

from __future__ import annotations

from pdconsole.ui.grid_arrangement import HEADING, MARK, TITLE, Arrangement
from pdconsole.ui.lines import printable
from pdconsole.ui.widgets.gpu_looks import (
    LINK_MARKS,
    OWNER_ROLES,
    OWNER_WORDS,
    Bit,
    NodeLook,
    SlotLook,
    bar,
    fitted,
    model_text,
)

OWNER_SIGNS = {"free": "·", "ours": "o", "others": "x", "unknown": "?"}
BAR = 10

# Headings of a node's table, and their widths by how much room there is: with bars, without, and
# with short names. What does not fit even so is left out from the end.
_HEADINGS = ("gpu", "replica", "use", "memory", "temp", "power", "owner")
_WIDTHS = (
    (8, 20, 5 + BAR + 2, 15 + BAR + 2, 7, 8, 12),
    (7, 19, 6, 14, 7, 7, 12),
    (6, 9, 6, 13, 7, 7, 10),
)
_LEAD = 4  # cursor and what joins the GPUs of a replica


def overview_line(node: NodeLook, line: int, at: Arrangement) -> list[Bit]:
    """Name and a sign a GPU: `PpDddd··`, where a capital begins a replica."""
    mark, role = LINK_MARKS[node.view.link]
    name = fitted(printable(node.view.name), at.name - MARK - 1)
    lead = "▸" if node.current else " " if node.view.link == "up" else mark
    bits = [Bit(" " * at.name)]
    if line == 0:
        named = "accent" if node.current else "text" if node.view.link == "up" else role
        bits = [
            Bit(lead + " ", "accent" if node.current else role),
            Bit(name + " ", named, "", node.current),
        ]
    first = line * at.per_line
    shown = node.slots[first : first + at.per_line]
    bits += [_sign(node, slot) for slot in shown]
    return [*bits, Bit(" " * (at.node_width - at.name - len(shown)))]


def _sign(node: NodeLook, slot: SlotLook) -> Bit:
    if slot.bad:
        return Bit("!", "fail", slot.back, True)
    if not slot.replica:
        text = "■" if slot.selected else OWNER_SIGNS[slot.cell.owner]
        return Bit(text, OWNER_ROLES[slot.cell.owner], slot.back)
    begins = slot.number == 0 or not node.slots[slot.number - 1].joins(slot)
    letter = slot.replica[0]
    return Bit(letter.upper() if begins else letter.lower(), slot.role, slot.back, begins)


def node_line(node: NodeLook, line: int, at: Arrangement, facts: str) -> list[Bit]:
    """A node as a table: title, headings, a line a GPU, and what is known of the node."""
    width = at.node_width
    slots = at.slots
    if line == 0:
        return _node_title(node, width)
    if line == TITLE:
        headings = "".join(fitted(heading, room) for heading, room in _shown(width))
        return [Bit(fitted(" " * _LEAD + headings, width), "muted")]
    index = line - TITLE - HEADING
    if index < len(node.slots):
        return _gpu_line(node, index, width)
    if index == slots:
        text = f"    {_told(node, facts)}"
        return [Bit(fitted(text, width), "muted" if node.view.link == "up" else "fail")]
    return [Bit(" " * width)]


def _node_title(node: NodeLook, width: int) -> list[Bit]:
    mark, role = LINK_MARKS[node.view.link]
    name = printable(node.view.name)
    text = f" {node.view.link}  {model_text(node.view)} "
    rest = max(0, width - len(name) - len(text) - 5)
    return [
        Bit("─ ", "muted"),
        Bit(name[: width - 6], "accent" if node.current else "text", "", True),
        Bit(f" {mark}", role),
        Bit(text[: max(0, width - len(name) - 5)], "muted"),
        Bit("─" * rest + " ", "muted"),
    ]


def _told(node: NodeLook, facts: str) -> str:
    if node.view.link != "up":
        return printable(node.view.message) or node.view.link
    versions = [f"{name} {printable(v)}" for name, v in sorted(node.view.versions.items())]
    return " · ".join([*([facts] if facts else []), *versions])


def _shown(width: int) -> list[tuple[str, int]]:
    """The columns that fit, with their widths; the last takes what is left."""
    widths = next((w for w in _WIDTHS if _LEAD + sum(w) <= width), _WIDTHS[-1])
    shown: list[tuple[str, int]] = []
    left = width - _LEAD
    for heading, room in zip(_HEADINGS, widths, strict=True):
        if room > left:
            break
        shown.append((heading, room))
        left -= room
    if shown:
        shown[-1] = (shown[-1][0], shown[-1][1] + left)
    return shown


def _gpu_line(node: NodeLook, index: int, width: int) -> list[Bit]:
    slot = node.slots[index]
    low, high = node.run_of(index, 0, len(node.slots))
    join = " "
    if slot.replica:
        join = "╶" if low == high else "╭" if index == low else "╰" if index == high else "│"
    role = "fail" if slot.bad else slot.role or "muted"
    texts = {
        "gpu": f"{slot.number}{'!' if slot.bad else ''}{' ■' if slot.selected else ''}",
        "temp": _known(slot.cell.temperature_c, "°C"),
        "power": _known(slot.cell.power_w, "W"),
        "owner": printable(slot.cell.holder) or OWNER_WORDS[slot.cell.owner],
    }
    roles = {"replica": role, "owner": OWNER_ROLES[slot.cell.owner]}
    bits = [
        Bit("▸ " if slot.cursor else "  ", "accent", slot.back),
        Bit(join + " ", role, slot.back, True),
    ]
    for heading, room in _shown(width):
        if heading == "replica":
            text = _replica(slot, room)
        elif heading == "use":
            text = _use(slot, room)
        elif heading == "memory":
            text = _memory(slot, room)
        else:
            text = texts[heading]
        colour = roles.get(heading, "text")
        bits.append(Bit(fitted(text, room), colour, slot.back, heading == "replica"))
    return bits


def _replica(slot: SlotLook, room: int) -> str:
    if not slot.replica:
        return ""
    size = f" TP{slot.tp}{' EP' if slot.ep else ''}" if slot.tp else ""
    mark = f" {slot.status}" if slot.status else ""
    whole = f"{slot.replica} {slot.role}{size}{mark}"
    return whole if len(whole) < room else f"{slot.replica}{size}{mark}"


def _use(slot: SlotLook, room: int) -> str:
    use = slot.cell.util_pct
    if use is None:
        return "-"
    return f"{use:3.0f}%" + (f" {bar(use / 100, BAR)}" if room > BAR + 5 else "")


def _memory(slot: SlotLook, room: int) -> str:
    used, whole = slot.cell.memory_used_mib, slot.cell.memory_mib
    if used is None:
        return f"{whole / 1024:.0f} GiB" if whole else "-"
    if not whole:
        return f"{used / 1024:.0f} GiB"
    text = f"{used / 1024:.0f} of {whole / 1024:.0f} GiB"
    return f"{text:14} {bar(used / whole, BAR)}" if room > BAR + 15 else text


def _known(value: float | None, unit: str) -> str:
    return "-" if value is None else f"{value:.0f} {unit}"
