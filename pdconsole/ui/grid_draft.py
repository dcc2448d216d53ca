"""What the Grid screen is about to start: chosen profiles, a layout, and where it goes. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import msgspec

from pdconsole.model.feasible import VllmRules, rules_for
from pdconsole.model.grid import GeometryError, Grid
from pdconsole.model.layout import Layout, ReplicaGroup, parse_layout
from pdconsole.model.placement import PlacementError, Strategy, place
from pdconsole.model.request import AD_HOC, PlacedLayout, RunRequest
from pdconsole.model.survey import Survey
from pdconsole.ui.chosen_profiles import ChosenProfiles
from pdconsole.ui.feasible_layouts import Room
from pdconsole.ui.grid_view import unreachable
from pdconsole.ui.placing import TP_KEYS, Placing
from pdconsole.ui.placing_rules import Violation

DEFAULT_CONCURRENCY = (4, 8, 16, 32, 48, 64)

_LIMITS = {
    "decode-tp": "P TP ≤ D TP",
    "below-kv-heads": "P TP ≤ D TP or < {kv_heads} KV heads",
    "kv-heads": "P TP ≤ D TP or ≤ {kv_heads} KV heads",
}


@dataclasses.dataclass(frozen=True)
class Draft:
    """`unread` says what is wrong with the text of the layout field, while it is."""

    chosen: ChosenProfiles
    survey: Survey
    placing: Placing
    text: str = ""
    unread: str = ""

    @property
    def rules(self) -> VllmRules:
        return rules_for(vllm_version(self.chosen, self.survey))

    @property
    def kv_heads(self) -> int | None:
        return self.chosen.model.kv_heads if self.chosen.model is not None else None

    @property
    def room(self) -> Room:
        grid = self.placing.grid
        slots = [node.slots for node in grid.nodes if node.slots]
        per_node = min(slots, default=0)
        return Room(
            nodes=len(slots),
            gpus_per_node=per_node,
            degrees=tuple(tp for tp in self._degrees() if tp <= per_node),
            rules=self.rules,
            kv_heads=self.kv_heads,
            free=sum(slots) - len(grid.taken),
        )

    def _degrees(self) -> Iterable[int]:
        """A simulated engine has constants for some TP only."""
        model = self.chosen.model
        if self.survey.simulated and model is not None and model.engine_model is not None:
            return sorted(set(TP_KEYS) & model.engine_model.tp.keys())
        return TP_KEYS

    @property
    def obstacles(self) -> tuple[Violation, ...]:
        """All that keeps it from being launched, as far as it is known here."""
        found = [Violation(text, ()) for text in self.chosen.problems.values()]
        if self.unread:
            found.append(Violation(self.unread, ()))
        found += self.placing.violations(self.rules, self.kv_heads)
        found += unreachable(self.survey.nodes, self.placing.assignments)
        return (*found, *self._network())

    def _nodes_used(self) -> Survey:
        """The survey of the nodes that replicas stand on: few, where there may be a thousand."""
        used = {node for a in self.placing.assignments for node in a.nodes}
        nodes = tuple(node for node in self.survey.nodes if node.name in used)
        return msgspec.structs.replace(self.survey, nodes=nodes)

    def _network(self) -> Iterable[Violation]:
        network = self.chosen.network
        if network is None or self.placing.layout is None:
            return
        pairs = [
            (p, d)
            for p in self.placing.assignments
            for d in self.placing.assignments
            if (p.role, d.role) == ("prefill", "decode")
        ]
        apart = [pair for pair in pairs if pair[0].node != pair[1].node]
        together = [pair for pair in pairs if pair[0].node == pair[1].node]
        wrong = {False: apart, True: together, None: []}[network.across_nodes]
        if wrong:
            (p, d), where = wrong[0], "within one node" if wrong is apart else "across nodes"
            yield Violation(
                f"Network {network.name} works only {where}; "
                f"{p.replica} on {p.node} and {d.replica} on {d.node} could not use it.",
                (*p.slots, *d.slots),
            )
        if self.survey.simulated and network.sim is None:
            yield Violation(f"Network {network.name} has no simulated link.", ())

    def request(self, concurrency: tuple[int, ...] = ()) -> RunRequest:
        """Exactly this, as the runner is asked for it. Raises PlacementError."""
        placement = self.placing.placement()
        strategy = placement.strategy
        if strategy != "manual" and not self._places_itself(placement.layout, strategy):
            strategy = "manual"
        return RunRequest(
            experiment=AD_HOC,
            cluster=self.chosen.name("cluster"),
            model=self.chosen.name("model"),
            workload=self.chosen.name("workload"),
            network=self.chosen.name("network"),
            placed=(
                PlacedLayout(
                    layout=placement.layout.slug,
                    strategy=strategy,
                    manual=str(placement) if strategy == "manual" else "",
                ),
            ),
            concurrency=concurrency,
        )

    def _places_itself(self, layout: Layout, strategy: Strategy) -> bool:
        """Whether the strategy gives these slots on the empty cluster, which the runner plans on.

        Where others hold slots it went around them: then every slot has to be said.
        """
        try:
            placed = place(layout, Grid(self.placing.grid.nodes), strategy)
        except PlacementError:
            return False
        return placed.assignments == self.placing.assignments


def with_text(draft: Draft, text: str, base: Placing) -> Draft:
    """What was typed in the layout field, placed on the grid; `base` is from before the typing."""
    if not text.strip():
        return dataclasses.replace(draft, text=text, unread="", placing=base.all_cleared())
    try:
        layout = parse_layout(text)
    except GeometryError as e:
        # What could be written instead is in the field's help, too long for every keystroke.
        what = str(e).partition(" Accepted:")[0]
        return dataclasses.replace(draft, text=text, unread=f"{what} F1 shows the notations.")
    strategy = base.strategy if base.strategy != "manual" else "pack"
    return with_layout(dataclasses.replace(draft, text=text), layout, strategy, base)


def with_layout(
    draft: Draft, layout: Layout, strategy: Strategy, base: Placing | None = None
) -> Draft:
    """The layout placed by `pack` or `spread`; where that cannot be, nothing is and it says why."""
    placing = base or draft.placing
    try:
        placed = placing.placed(place(layout, placing.grid, strategy))
    except PlacementError as e:
        return dataclasses.replace(draft, placing=placing.all_cleared(), unread=str(e))
    return dataclasses.replace(draft, placing=placed, unread="")


def with_placing(draft: Draft, placing: Placing) -> Draft:
    """An edit on the grid: the layout field says what stands there."""
    text = written(placing)
    return dataclasses.replace(draft, placing=placing, text=text, unread="")


def with_survey(draft: Draft, survey: Survey, grid: Grid) -> Draft:
    """What is there now; replicas stay where they are. On other nodes the layout is placed anew."""
    placing = draft.placing
    if not {n.name for n in placing.grid.nodes}.isdisjoint(n.name for n in grid.nodes):
        return dataclasses.replace(draft, survey=survey, placing=placing.with_grid(grid))
    layout, strategy = placing.layout, placing.strategy
    text = str(layout) if layout is not None else ""
    fresh = dataclasses.replace(
        draft, survey=survey, placing=Placing.on(grid), text=text, unread=""
    )
    if layout is None or not grid.nodes:
        return dataclasses.replace(fresh, text="")
    return with_layout(fresh, layout, strategy if strategy != "manual" else "pack")


def written(placing: Placing) -> str:
    """The replicas that stand there as a layout's text, also while they make up none."""
    layout = placing.layout
    if layout is not None:
        return str(layout)
    groups: dict[ReplicaGroup, int] = {}
    for a in placing.assignments:
        group = ReplicaGroup(a.role, 1, a.tp, a.ep, len(a.nodes))
        groups[group] = groups.get(group, 0) + 1
    return " + ".join(f"{n}{g.letter}-{g.size.upper()}" for g, n in groups.items())


def vllm_version(chosen: ChosenProfiles, survey: Survey) -> str:
    """What the nodes say, else what the cluster's profile says; "auto" where nobody knows."""
    for node in survey.nodes:
        if node.versions.get("vllm"):
            return node.versions["vllm"]
    return chosen.cluster.engine.version if chosen.cluster is not None else "auto"


def rules_text(rules: VllmRules, kv_heads: int | None) -> str:
    """`vLLM 0.11.0: P TP ≤ D TP`."""
    limit = _LIMITS[rules.prefill_limit].format(kv_heads=kv_heads or "the")
    version = "vLLM of unknown version, taken as new" if rules.note else f"vLLM {rules.version}"
    return f"{version}: {limit}"


def levels(text: str) -> tuple[int, ...]:
    """Concurrency levels as typed, `4, 8 16`. Raises ValueError with a sentence."""
    found = []
    for word in text.replace(",", " ").split():
        if not word.isascii() or not word.isdigit() or int(word) < 1:
            raise ValueError(f"{word} is no concurrency; write whole numbers such as 4 8 16")
        found.append(int(word))
    if not found:
        raise ValueError("write at least one concurrency, such as 8")
    return tuple(dict.fromkeys(found))


def with_chosen(draft: Draft, chosen: ChosenProfiles) -> Draft:
    return dataclasses.replace(draft, chosen=chosen)


EMPTY = Draft(ChosenProfiles(), Survey(cluster="", simulated=False), Placing.on(Grid(())))
