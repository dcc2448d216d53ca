"""What the Grid screen says, finds and asks for, without a screen."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from fake_runner import survey
from hypothesis import given
from hypothesis import strategies as st

from pdconsole.model.feasible import rules_for
from pdconsole.model.grid import Grid, GridNode, Slot
from pdconsole.model.layout import parse_layout
from pdconsole.model.placement import parse_manual, place
from pdconsole.model.survey import LaunchPlan, LaunchProcess
from pdconsole.ui.chosen_profiles import profile_survey, read_chosen
from pdconsole.ui.feasible_layouts import MOST, Room, Wanted, find_layouts
from pdconsole.ui.grid_draft import Draft, levels, rules_text, with_layout, with_text
from pdconsole.ui.grid_view import grid_of
from pdconsole.ui.grid_words import headline
from pdconsole.ui.launch_text import plans_text, process_lines
from pdconsole.ui.placing import Placing


def draft_on(workspace: Path, taken: frozenset[Slot] = frozenset(), network: str = "srd") -> Draft:
    chosen = read_chosen(workspace, {"network": network})
    assert chosen.cluster is not None
    seen = survey("embedded", 2, 8)
    return Draft(chosen, seen, Placing.on(Grid(grid_of(seen).nodes, taken)))


ROOM = Room(
    nodes=2, gpus_per_node=8, degrees=(1, 2, 4, 8), rules=rules_for("0.11.0"), kv_heads=8, free=16
)


@given(
    gpus=st.sampled_from([0, 1, 2, 4, 8, 16]),
    exact=st.booleans(),
    tp=st.sampled_from([0, 1, 2, 4, 8]),
    kind=st.sampled_from(["all", "pd", "collocated"]),
)
def test_what_is_found_is_wanted_and_fits(gpus: int, exact: bool, tp: int, kind: str) -> None:
    wanted = Wanted(gpus=gpus, exact=exact, tp=tp, kind=kind)  # type: ignore[arg-type]
    found = find_layouts(ROOM, wanted)
    most = gpus or 8
    grid = Grid(tuple(GridNode(name=f"n{i}", slots=8) for i in range(2)))
    assert [x.gpus for x in found.layouts] == sorted(x.gpus for x in found.layouts)
    for layout in found.layouts:
        assert layout.gpus == most if exact else layout.gpus <= most
        assert kind == "all" or layout.is_pd == (kind == "pd")
        assert not tp or {group.tp for group in layout.groups} == {tp}
        assert ROOM.rules.layout_refusal(layout, 8) is None
        place(layout, grid, "pack")
    assert len(found.layouts) <= found.total


def test_a_very_large_cluster_is_looked_at_in_part() -> None:
    room = Room(
        nodes=1000, gpus_per_node=8, degrees=(1, 2, 4, 8), rules=rules_for("auto"), kv_heads=8,
        free=8000,
    )  # fmt: skip
    found = find_layouts(room, Wanted(gpus=8000))
    assert (found.total, found.more) == (MOST, True)


def test_more_and_fewer_gpus_stop_at_the_ends() -> None:
    wanted = Wanted()
    for _ in range(9):
        wanted = wanted.with_more(ROOM)
    assert wanted.most(ROOM) == 16
    for _ in range(9):
        wanted = wanted.with_more(ROOM, less=True)
    assert wanted.most(ROOM) == 1


def test_pack_on_a_free_cluster_is_asked_for_as_pack(tmp_path: Path) -> None:
    draft = draft_on(tmp_path)
    placed = with_text(draft, "2P-TP2+1D-TP4", draft.placing)
    assert placed.unread == ""
    (asked,) = placed.request((8,)).placed
    assert (asked.layout, asked.strategy, asked.manual) == ("p2xtp2-d1xtp4", "pack", "")


def test_what_went_around_others_is_asked_for_slot_by_slot(tmp_path: Path) -> None:
    draft = draft_on(tmp_path, frozenset({Slot("node1", 0)}))
    placed = with_layout(draft, parse_layout("1P-TP2+1D-TP2"), "pack")
    (asked,) = placed.request().placed
    assert asked.strategy == "manual"
    written = parse_manual(asked.manual, placed.placing.grid)
    assert written.assignments == placed.placing.assignments


def test_a_network_must_reach_every_pair(tmp_path: Path) -> None:
    layout = parse_layout("1P-TP2+1D-TP2")
    near = draft_on(tmp_path, network="cuda-ipc")
    assert with_layout(near, layout, "pack").obstacles == ()
    (obstacle,) = with_layout(near, layout, "spread").obstacles
    assert "P1 on node1 and D1 on node2" in obstacle.text
    assert {slot.node for slot in obstacle.slots} == {"node1", "node2"}


def test_text_that_cannot_be_read_leaves_what_stands(tmp_path: Path) -> None:
    draft = with_text(draft_on(tmp_path), "4xTP2", draft_on(tmp_path).placing)
    worse = with_text(draft, "4xTPx", draft.placing)
    assert worse.placing == draft.placing
    assert "cannot read '4xTPx'" in worse.obstacles[0].text


@pytest.mark.parametrize("width", [80, 100, 120, 160, 200])
def test_the_headline_fits_and_names_all_four(tmp_path: Path, width: int) -> None:
    chosen = read_chosen(tmp_path, {})
    assert chosen.cluster is not None
    keys = {"cluster": "C", "model": "M", "workload": "W", "network": "N"}
    line = "".join(
        p.text
        for p in headline(chosen, profile_survey(chosen.cluster), keys, width)  # type: ignore[arg-type]
    )
    assert len(line) <= width
    for name in chosen.names.values():
        assert name in line
    assert "connecting" in line or "0/2" in line


def test_levels() -> None:
    assert levels("4, 8 16,16") == (4, 8, 16)
    for wrong in ("", "0", "-4", "4.5", "²"):
        with pytest.raises(ValueError, match=r"write"):
            levels(wrong)


def test_rules_are_named() -> None:
    assert rules_text(rules_for("0.11.0"), 8) == "vLLM 0.11.0: P TP ≤ D TP"
    assert "unknown version" in rules_text(rules_for("auto"), 8)


def test_a_command_can_be_pasted_into_a_shell() -> None:
    process = LaunchProcess(
        name="P1", role="prefill", node="a", argv=("vllm", "serve", "a b", "--x", '{"k": 1}', "-1"),
        env={"Z": "1", "A": "it's"},
    )  # fmt: skip
    assert process_lines(process) == [
        "A='it'\"'\"'s' \\",
        "Z=1 \\",
        "vllm serve 'a b' \\",
        "    --x '{\"k\": 1}' -1",
    ]
    text = plans_text([LaunchPlan(run="1", processes=(process,), refused="too old")])
    assert text.startswith("# run 1: cannot be started: too old\n")


def test_profiles_that_are_broken_are_said(tmp_path: Path) -> None:
    broken = tmp_path / "profiles" / "networks" / "bad.yaml"
    broken.parent.mkdir(parents=True)
    broken.write_text("backend: UXC\n")
    chosen = read_chosen(tmp_path, {"network": "bad"})
    assert chosen.network is None
    assert chosen.problems["network"].startswith("profiles/networks/bad.yaml")
    assert dataclasses.replace(draft_on(tmp_path), chosen=chosen).obstacles
