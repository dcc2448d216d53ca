"""Feasible layouts against a search that tries every way to fill the nodes."""

from functools import cache
from itertools import product

import pytest

from pdconsole.model.feasible import feasible, rules_for
from pdconsole.model.grid import Grid, GridNode
from pdconsole.model.layout import parse_layout
from pdconsole.model.placement import place

KV_HEADS = 8
NEWEST = rules_for("0.33.0")


def layouts(nodes, slots, degrees, version="0.33.0", **options):
    found = list(feasible(nodes, slots, degrees, rules_for(version), KV_HEADS, **options))
    assert len(set(found)) == len(found)
    return set(found)


@pytest.mark.parametrize(
    ("nodes", "text"),
    [
        (1, "8xTP1, 4xTP2, 2xTP4, 4P-TP1+2D-TP2, 2P-TP2+2D-TP2, 1P-TP2+1D-TP4, 1P-TP4+1D-TP4"),
        (1, "3P-TP2+1D-TP2, 2P-TP2+1D-TP2, 1P-TP2+1D-TP2, 1P-TP2+2D-TP2, 1P-TP2+3D-TP2"),
        (2, "8P-TP1+4D-TP2, 4P-TP2+4D-TP2, 4P-TP2+2D-TP4, 2P-TP4+2D-TP4"),
    ],
)
@pytest.mark.parametrize("version", ["0.11.0", "0.33.0"])
def test_the_configurations_of_the_reference_study_are_found(nodes, text, version):
    wanted = {parse_layout(name) for name in text.split(", ")}
    assert wanted <= layouts(nodes, 8, (1, 2, 4, 8), version)


def test_expert_parallel_layouts_are_an_option():
    split = parse_layout("1xtpep4-1xtpep4")
    mixed = parse_layout("1xtp4-1xtpep4")
    plain = layouts(1, 8, (1, 4))
    assert not {split, mixed} & plain
    with_ep = layouts(1, 8, (1, 4), ep=True)
    assert plain | {split, mixed, parse_layout("2xtpep4")} <= with_ep
    assert not any(g.ep and g.tp == 1 for layout in with_ep for g in layout.groups)


@cache
def fits(nodes, gpus, small, small_tp, large, large_tp):
    """Whether the replicas fit, by trying every number of each on each node in turn."""
    if small <= 0 and large <= 0:
        return True
    return nodes > 0 and any(
        fits(nodes - 1, gpus, max(0, small - (gpus - n * large_tp) // small_tp), small_tp,
             large - n, large_tp)
        for n in range(gpus // large_tp + 1)
    )  # fmt: skip


@pytest.mark.parametrize("nodes", [1, 2, 3])
@pytest.mark.parametrize("gpus", [3, 6, 8])
@pytest.mark.parametrize("degrees", [(1, 2, 4, 8), (2, 3, 6)])
@pytest.mark.parametrize("version", ["0.11.0", "0.14.0", "0.33.0"])
def test_all_that_fit_and_no_others(nodes, gpus, degrees, version):
    rules = rules_for(version)
    wanted = {f"{n}xtp{tp}" for tp in degrees for n in range(1, nodes * (gpus // tp) + 1)}
    for p_tp, d_tp in product(degrees, degrees):
        if rules.refusal(p_tp, d_tp, KV_HEADS):
            continue
        for p, d in product(range(1, nodes * gpus // p_tp + 1), range(1, nodes * gpus // d_tp + 1)):
            small, large = sorted([(p_tp, p), (d_tp, d)])
            if fits(nodes, gpus, small[1], small[0], large[1], large[0]):
                wanted.add(f"p{p}xtp{p_tp}-d{d}xtp{d_tp}")
    found = layouts(nodes, gpus, degrees, version)
    assert {layout.slug for layout in found} == wanted
    grid = Grid(tuple(GridNode(name=f"n{i}", slots=gpus) for i in range(nodes)))
    for layout in found:
        place(layout, grid, "pack")


def test_a_tp8_does_not_fit_in_two_half_free_nodes():
    found = layouts(2, 8, (4, 8))
    assert parse_layout("1P-TP4 + 1D-TP8") in found
    assert parse_layout("2P-TP4 + 1D-TP8") in found
    assert parse_layout("3P-TP4 + 1D-TP8") not in found  # 20 GPUs
    assert layouts(2, 6, (4, 8)) == {
        parse_layout(text) for text in ("1xTP4", "2xTP4", "1P-TP4 + 1D-TP4")
    }


def test_only_layouts_of_that_many_gpus():
    for gpus in range(1, 18):
        everything = layouts(2, 8, (1, 2, 3, 4, 8))
        assert layouts(2, 8, (1, 2, 3, 4, 8), gpus=gpus) == {
            layout for layout in everything if layout.gpus == gpus
        }


@pytest.mark.parametrize(
    ("version", "prefill", "decode", "clause"),
    [
        ("0.11.0", 2, 1, "larger than decode TP1"),
        ("0.11.0", 1, 8, None),
        ("0.11.0", 2, 3, "TP3 is not a multiple of TP2"),
        ("0.13.0", 2, 1, "larger than decode TP1"),
        ("v0.14.0rc2", 4, 2, None),
        ("0.19.1", 8, 4, "not below the model's 8 KV heads"),
        ("0.20.0", 8, 4, None),
        ("0.32.0+cpu", 16, 8, "larger than the model's 8 KV heads"),
        ("0.33.0", 8, 16, None),
        ("0.33.0", 16, 16, None),
        ("0.33.0", 6, 4, "TP6 is not a multiple of TP4"),
        ("1.2", 8, 4, None),
    ],
)
def test_the_rules_of_each_version(version, prefill, decode, clause):
    refusal = rules_for(version).refusal(prefill, decode, KV_HEADS)
    assert refusal is None if clause is None else clause in refusal


def test_without_split_kv_heads_prefill_tp_has_no_limit():
    assert NEWEST.refusal(16, 8, None) is None


def test_a_layout_is_refused_for_any_pair_of_its_groups():
    layout = parse_layout("p1xtp1-p1xtp4-d1xtp2-d1xtp4")
    assert NEWEST.layout_refusal(layout, KV_HEADS) is None
    assert "TP4 is larger than decode TP2" in rules_for("0.11.0").layout_refusal(layout, KV_HEADS)
    assert rules_for("0.11.0").layout_refusal(parse_layout("8xTP1"), KV_HEADS) is None


def test_an_unknown_version_says_which_rules_it_gets():
    assert rules_for("auto").prefill_limit == NEWEST.prefill_limit
    assert "newest" in rules_for("auto").note
    assert "older" in rules_for("0.9.1").note
    assert NEWEST.note == ""
