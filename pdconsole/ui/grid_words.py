"""What the Grid screen says of its draft, line by line. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from pdconsole.model.grid import Slot, format_slots
from pdconsole.model.survey import Survey
from pdconsole.profiles import Kind
from pdconsole.ui.chosen_profiles import CHOSEN_KINDS, ChosenProfiles
from pdconsole.ui.grid_draft import Draft, rules_text
from pdconsole.ui.lines import counted
from pdconsole.ui.widgets.frame_lines import Piece, spread

VIOLATIONS_SHOWN = 3
STRATEGIES = ("pack", "spread", "manual")


def headline(
    chosen: ChosenProfiles, survey: Survey, keys: Mapping[Kind, str], width: int
) -> list[Piece]:
    """The profiles, each a click away from others, and what is there of the cluster."""
    rights = _about_cluster(survey)
    labelled, keyed, bare = _labelled(chosen, keys), _keyed(chosen, keys), _keyed(chosen, {})
    for left, fitting in ((labelled, rights[:1]), (keyed, rights), (bare, rights)):
        for right in fitting:
            line = spread(left, right, width)
            if len(line) > len(left):
                return line
    return bare


def _labelled(chosen: ChosenProfiles, keys: Mapping[Kind, str]) -> list[Piece]:
    pieces: list[Piece] = []
    for kind in CHOSEN_KINDS:
        pieces += [
            Piece(f" {keys[kind]}", "accent", _click(kind), bold=True),
            Piece(f" {kind} ", "muted", _click(kind)),
            *(_name(chosen, kind), Piece("  ")),
        ]
    return pieces


def _keyed(chosen: ChosenProfiles, keys: Mapping[Kind, str]) -> list[Piece]:
    pieces: list[Piece] = []
    for kind in CHOSEN_KINDS:
        if kind in keys:
            pieces.append(Piece(f" {keys[kind]}", "accent", _click(kind), bold=True))
        pieces += [Piece(" ", "muted"), _name(chosen, kind)]
    return pieces


def _name(chosen: ChosenProfiles, kind: Kind) -> Piece:
    name = chosen.name(kind) or f"no {kind}"
    if kind in chosen.problems:
        return Piece(f"✗ {name}", "fail", _click(kind))
    return Piece(name, "text", _click(kind))


def _click(kind: Kind) -> str:
    return f"screen.choose_{kind}"


def _about_cluster(survey: Survey) -> list[list[Piece]]:
    """`● 2 nodes up  16 GPUs`, or how many are, and of how many; then shorter."""
    links = Counter(node.link for node in survey.nodes)
    total, up = len(survey.nodes), links["up"]
    if not total:
        return [[Piece("✗ no nodes ", "fail")]]
    if up == total:
        mark, role, text = "●", "ok", f"{counted(total, 'node')} up"
    elif links["lost"] or links["unreachable"]:
        mark, role, text = "✗", "fail", f"{up} of {counted(total, 'node')} up"
    elif links["connecting"]:
        mark, role, text = "○", "muted", f"{up} of {total} up, connecting"
    else:  # closed ones are left alone on purpose
        mark, role, text = "●", "ok", f"{up} of {counted(total, 'node')} in use"
    gpus = counted(sum(len(node.gpus) for node in survey.nodes), "GPU")
    taken = sum(gpu.owner in ("others", "ours") for node in survey.nodes for gpu in node.gpus)
    busy = f", {taken} in use" if taken else ""
    simulated = [Piece(" SIM ", "simulated", bold=True)] if survey.simulated else []
    link = Piece(f"{mark} {text} ", role)
    return [
        [link, Piece(f" {gpus}{busy} ", "muted"), *simulated],
        [link, *simulated],
        [Piece(f"{mark} {up}/{total} ", role), *simulated],
    ]


def size_text(draft: Draft) -> str:
    """`8 of 16 GPUs`."""
    used = sum(len(a.slots) for a in draft.placing.assignments)
    there = counted(sum(node.slots for node in draft.placing.grid.nodes), "GPU")
    return f"{used} of {there}"


def verdict_lines(draft: Draft, trouble: str) -> list[list[Piece]]:
    """Whether it can be launched, and if not, why not. `trouble`: why nothing is known."""
    lines: list[list[Piece]] = []
    obstacles = draft.obstacles
    lines += [
        [Piece("✗ ", "fail", bold=True), Piece(o.text, "fail")]
        for o in obstacles[:VIOLATIONS_SHOWN]
    ]
    if len(obstacles) > VIOLATIONS_SHOWN:
        lines.append([Piece(f"  and {len(obstacles) - VIOLATIONS_SHOWN} more", "fail")])
    if draft.placing.remark:
        lines.append([Piece("! ", "warn", bold=True), Piece(draft.placing.remark, "warn")])
    lines += [[Piece("! ", "warn", bold=True), Piece(text, "warn")] for text in _warnings(draft)]
    if trouble:
        lines.append([Piece("✗ ", "fail", bold=True), Piece(trouble, "fail")])
    rule = rules_text(draft.rules, draft.kv_heads)
    if not draft.placing.assignments and not obstacles:
        lines.append([Piece(f"Type a layout, choose one, or place it by hand. {rule}", "muted")])
    elif not obstacles:
        lines.append([Piece("✓ can be placed", "ok"), Piece(f"  {rule}", "muted")])
    return lines


def _warnings(draft: Draft) -> list[str]:
    """What is no obstacle, but should be known."""
    found = []
    ours = {
        Slot(node.name, gpu.index): gpu.holder
        for node in draft.survey.nodes
        for gpu in node.gpus
        if gpu.owner == "ours"
    }
    busy = [slot for a in draft.placing.assignments for slot in a.slots if slot in ours]
    if busy:
        holder = ours[busy[0]] or "a session of yours"
        found.append(f"{format_slots(busy, most_nodes=2)}: held by {holder}; wait for its end.")
    network = draft.chosen.network
    if network is not None and network.warning and draft.placing.assignments:
        found.append(f"{network.name}: {' '.join(network.warning.split())}")
    return found


def place_line(draft: Draft, key: str) -> list[Piece]:
    """`a place  ● pack  ○ spread  ○ manual`."""
    pieces = [
        Piece(f" {key}", "accent", "screen.auto_place", bold=True),
        Piece(" place", "muted", "screen.auto_place"),
    ]
    now = draft.placing.strategy if draft.placing.assignments else ""
    for name in STRATEGIES:
        here = name == now
        text = f" {'●' if here else '○'} {name}"
        click = f"screen.place_by('{name}')"
        pieces.append(Piece(text, "text" if here else "muted", click, bold=here))
    return pieces


def foot_line(keys: Mapping[str, str]) -> list[Piece]:
    """The two things that come next, also for the mouse."""
    return [
        Piece(f" {keys['plan']}", "accent", "screen.plan", bold=True),
        Piece(" launch plan   ", "muted", "screen.plan"),
        Piece(keys["launch"], "accent", "screen.launch", bold=True),
        Piece(" launch", "muted", "screen.launch"),
    ]
