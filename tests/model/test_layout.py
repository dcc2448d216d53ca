"""Layout notation: what is printed can be read, and what means the same is the same."""

from typing import get_args

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pdconsole.model.layout import (
    Layout,
    LayoutError,
    LayoutForm,
    ReplicaGroup,
    Role,
    format_layout,
    parse_layout,
)


def groups(role: Role) -> st.SearchStrategy[list[ReplicaGroup]]:
    group = st.builds(
        lambda count, per_node, ep, nodes: ReplicaGroup(role, count, per_node * nodes, ep, nodes),
        st.integers(1, 200),
        st.integers(1, 16),
        st.booleans(),
        st.integers(1, 3),
    )
    return st.lists(group, min_size=1, max_size=3)


layouts = st.one_of(
    groups("collocated").map(lambda c: Layout(tuple(c))),
    st.tuples(groups("prefill"), groups("decode")).map(lambda pd: Layout((*pd[0], *pd[1]))),
)


@settings(deadline=None)
@given(layouts, st.sampled_from(get_args(LayoutForm)), st.sampled_from([str, str.upper, str.lower]))
def test_every_printed_form_is_read_back_in_any_case(layout, form, case):
    assert parse_layout(case(format_layout(layout, form))) == layout


@settings(deadline=None)
@given(layouts)
def test_str_slug_and_json_are_read_back(layout):
    assert parse_layout(str(layout)) == layout
    assert parse_layout(layout.slug) == layout
    assert msgspec.json.decode(msgspec.json.encode(layout), type=Layout) == layout


@settings(deadline=None)
@given(layouts, st.randoms())
def test_the_order_and_splitting_of_groups_do_not_matter(layout, random):
    split = [
        ReplicaGroup(g.role, 1, g.tp, g.ep, g.nodes) for g in layout.groups for _ in range(g.count)
    ]
    random.shuffle(split)
    assert Layout(tuple(split)).slug == layout.slug


@pytest.mark.parametrize(
    ("text", "slug", "printed", "gpus"),
    [
        ("4P-TP2+2D-TP4", "p4xtp2-d2xtp4", "4P-TP2 + 2D-TP4", 16),
        ("4P-TP2 : 2D-TP4", "p4xtp2-d2xtp4", "4P-TP2 + 2D-TP4", 16),
        ("p4xtp2-d2xtp4", "p4xtp2-d2xtp4", "4P-TP2 + 2D-TP4", 16),
        ("4xtp2-2xtp4", "p4xtp2-d2xtp4", "4P-TP2 + 2D-TP4", 16),
        ("4xtp2:2xtp4", "p4xtp2-d2xtp4", "4P-TP2 + 2D-TP4", 16),
        ("2D-TP4 + 4P-TP2", "p4xtp2-d2xtp4", "4P-TP2 + 2D-TP4", 16),
        ("4ptp1-2dtp2", "p4xtp1-d2xtp2", "4P-TP1 + 2D-TP2", 8),
        ("8xTP1", "8xtp1", "8xTP1", 8),
        ("c8xtp1", "8xtp1", "8xTP1", 8),
        (" 8 x TP1\n", "8xtp1", "8xTP1", 8),
        ("8×TP1", "8xtp1", "8xTP1", 8),
        ("1xtpep4-1xtpep4", "p1xtpep4-d1xtpep4", "1P-TPEP4 + 1D-TPEP4", 8),
        ("1xtp4-1xtpep4", "p1xtp4-d1xtpep4", "1P-TP4 + 1D-TPEP4", 8),
        ("4xTP1 + 2xTP2", "c4xtp1-c2xtp2", "4xTP1 + 2xTP2", 8),
        ("4xtp1+2xtp2-1xtp4", "p4xtp1-p2xtp2-d1xtp4", "4P-TP1 + 2P-TP2 + 1D-TP4", 12),
        ("1xTP16N2", "1xtp16n2", "1xTP16N2", 16),
    ],
)
def test_every_form_people_write(text, slug, printed, gpus):
    layout = parse_layout(text)
    assert (layout.slug, str(layout), layout.gpus) == (slug, printed, gpus)
    assert layout.is_pd == (slug[0] == "p")


@pytest.mark.parametrize(
    ("text", "piece"),
    [
        ("", "missing"),
        ("4xtp2-", "missing"),
        ("4P-TP2 + 2Q-TP4", "'2Q-TP4'"),
        ("4xtp2-2xtp4-packed", "'packed'"),
        ("4xtp2 2xtp4", "'2xtp4'"),
        ("p4xtp2-2xtp4", "'2xtp4' lacks its role"),
        ("p4ptp2-d2xtp4", "names its role twice"),
        ("1xtp1-1xtp2-1xtp4", "'1xtp4' is a third part"),
        ("0xtp2", "count of a group of replicas is 0"),
        ("1xtp0", "TP of a group of replicas is 0"),
        ("1xtp9n2", "TP10N2"),
        ("4P-TP2", "only collocated ones; this one has prefill replicas"),
        ("4P-TP2 + 2C-TP2", "prefill and collocated"),
        ("9999999999xtp1", "'9999999999xtp1'"),
        ("٣xtp1", "'٣xtp1'"),
    ],
)
def test_what_cannot_be_read_is_named_beside_what_can(text, piece):
    with pytest.raises(LayoutError) as error:
        parse_layout(text)
    assert piece in str(error.value)
    assert "4P-TP2+2D-TP4" in str(error.value)


@settings(deadline=None)
@given(st.text(alphabet="0123456789pdcxtenTPEN+-: ", max_size=24))
def test_any_text_gives_a_layout_or_a_layout_error(text):
    try:
        layout = parse_layout(text)
    except LayoutError:
        return
    assert parse_layout(layout.slug) == layout
