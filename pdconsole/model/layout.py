"""Layouts: how many replicas of which role and TP, without saying where; and their notation."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Literal

import msgspec

from pdconsole.model.grid import GeometryError

Role = Literal["prefill", "decode", "collocated"]
# plus: 4P-TP2 + 2D-TP4    colon: 4P-TP2 : 2D-TP4    slug: p4xtp2-d2xtp4
# pair: 4xtp2-2xtp4        compact: 4ptp2-2dtp4
LayoutForm = Literal["plus", "colon", "slug", "pair", "compact"]

LAYOUT_FORMS = (
    "4P-TP2+2D-TP4, 4P-TP2 : 2D-TP4, p4xtp2-d2xtp4, 4xtp2-2xtp4 (prefill-decode), 4ptp1-2dtp2, "
    "8xTP1 or 4xTP1+2xTP2 (collocated), 1xtpep4-1xtpep4 (expert parallel), "
    "1xTP16N2 (each replica over 2 nodes)"
)

_ROLES: tuple[Role, ...] = ("prefill", "decode", "collocated")
_LETTERS: dict[Role, str] = {"prefill": "p", "decode": "d", "collocated": "c"}
_ROLE_OF: dict[str, Role] = {letter: role for role, letter in _LETTERS.items()}

_GROUP = re.compile(
    r"(?:(?P<before>[pdc]) ?)?(?P<count>\d{1,6}) ?"
    r"(?:[x×]|(?P<after>[pdc])(?: ?[x×-])?) ?"
    r"tp(?P<ep>ep)?(?P<tp>\d{1,6})(?:n(?P<nodes>\d{1,6}))?",
    re.ASCII | re.IGNORECASE,
)
_SEPARATOR = re.compile(r" ?([+:-]) ?")


class LayoutError(GeometryError):
    """A layout that cannot be read or cannot be."""


class ReplicaGroup(msgspec.Struct, frozen=True):
    """`count` equal replicas; each occupies `tp` slots, evenly over `nodes` nodes.

    `ep`: the experts of a mixture-of-experts model are split over the TP group.
    """

    role: Role
    count: int
    tp: int
    ep: bool = False
    nodes: int = 1

    def __post_init__(self) -> None:
        for what, value in (("count", self.count), ("TP", self.tp), ("nodes", self.nodes)):
            if value < 1:
                raise LayoutError(f"The {what} of a group of replicas is {value}; write 1 or more.")
        if self.tp % self.nodes:
            raise LayoutError(
                f"TP{self.tp} cannot be split evenly over {self.nodes} nodes: "
                f"write a TP that is a multiple of {self.nodes}, such as "
                f"TP{self.nodes * (self.tp // self.nodes + 1)}N{self.nodes}."
            )

    @property
    def gpus(self) -> int:
        return self.count * self.tp

    @property
    def tp_per_node(self) -> int:
        """Slots that one replica needs on each of its nodes."""
        return self.tp // self.nodes

    @property
    def letter(self) -> str:
        """`P`, `D` or `C`, as in replica names."""
        return _LETTERS[self.role].upper()

    @property
    def size(self) -> str:
        """`tp2`, `tpep4`, `tp16n2`."""
        span = f"n{self.nodes}" if self.nodes > 1 else ""
        return f"tp{'ep' if self.ep else ''}{self.tp}{span}"


class Layout(msgspec.Struct, frozen=True):
    """Groups of replicas: prefill and decode, or collocated ones.

    Always canonical (prefill first, then by TP; equal groups merged), so that layouts that mean
    the same are equal and have one slug.
    """

    groups: tuple[ReplicaGroup, ...]

    def __post_init__(self) -> None:
        roles = {group.role for group in self.groups}
        if roles not in ({"collocated"}, {"prefill", "decode"}):
            raise LayoutError(
                "A layout has prefill and decode replicas, or only collocated ones; this one has "
                f"{' and '.join(r for r in _ROLES if r in roles) or 'no'} replicas."
            )
        msgspec.structs.force_setattr(self, "groups", _canonical(self.groups))

    @property
    def is_pd(self) -> bool:
        return self.groups[0].role != "collocated"

    @property
    def gpus(self) -> int:
        return sum(group.gpus for group in self.groups)

    @property
    def slug(self) -> str:
        """The one name for files: `p4xtp2-d2xtp4`, `8xtp1`."""
        return format_layout(self, "slug")

    def of(self, role: Role) -> tuple[ReplicaGroup, ...]:
        return tuple(group for group in self.groups if group.role == role)

    def __str__(self) -> str:
        return format_layout(self, "plus")


def format_layout(layout: Layout, form: LayoutForm) -> str:
    """The layout in one of the notations that `parse_layout` reads."""
    lone = len(layout.groups) == 1
    match form:
        case "plus" | "colon":
            plain = lone or (form == "plus" and not layout.is_pd)
            return (" + " if form == "plus" else " : ").join(
                f"{g.count}{'x' if plain else f'{g.letter}-'}{g.size.upper()}"
                for g in layout.groups
            )
        case "slug":
            return "-".join(
                f"{'' if lone else g.letter.lower()}{g.count}x{g.size}" for g in layout.groups
            )
        case "compact":
            return "-".join(
                f"{g.count}{'x' if lone else g.letter.lower()}{g.size}" for g in layout.groups
            )
        case "pair":
            sides = ["+".join(f"{g.count}x{g.size}" for g in layout.of(role)) for role in _ROLES]
            return "-".join(side for side in sides if side)


def parse_layout(text: str) -> Layout:
    """The layout that `text` names, in any of LAYOUT_FORMS and in every form printed here.

    Without P, D or C the groups left of `-` or `:` are prefill and those right of it decode;
    `+` joins groups of one role. Raises LayoutError naming the piece that cannot be read.
    """
    try:
        return Layout(tuple(_with_roles(*_scan(text))))
    except LayoutError as error:
        raise LayoutError(f"Layout {text!r}: {error} Accepted: {LAYOUT_FORMS}.") from None


def _canonical(groups: Iterable[ReplicaGroup]) -> tuple[ReplicaGroup, ...]:
    counts: dict[tuple[int, int, bool, int], int] = {}
    for group in groups:
        key = (_ROLES.index(group.role), group.tp, group.ep, group.nodes)
        counts[key] = counts.get(key, 0) + group.count
    return tuple(
        ReplicaGroup(_ROLES[role], counts[role, tp, ep, nodes], tp, ep, nodes)
        for role, tp, ep, nodes in sorted(counts)
    )


def _scan(text: str) -> tuple[list[re.Match[str]], list[str]]:
    """The groups of a layout text and the separators between them."""
    rest = " ".join(text.split())
    groups: list[re.Match[str]] = []
    separators: list[str] = []
    while True:
        group = _GROUP.match(rest)
        if group is None:
            raise LayoutError(
                f"cannot read {rest!r}." if rest else "a group is missing at its end."
            )
        groups.append(group)
        rest = rest[group.end() :]
        if not rest:
            return groups, separators
        separator = _SEPARATOR.match(rest)
        if separator is None:
            raise LayoutError(f"cannot read {rest.strip()!r} after {group.group()!r}.")
        separators.append(separator.group(1))
        rest = rest[separator.end() :]


def _with_roles(groups: list[re.Match[str]], separators: list[str]) -> Iterable[ReplicaGroup]:
    labels = [_label(group) for group in groups]
    if not any(labels):
        yield from _unlabelled(groups, separators)
        return
    if not all(labels):
        piece = groups[labels.index("")].group()
        raise LayoutError(f"{piece!r} lacks its role; write P, D or C on every group or on none.")
    for group, label in zip(groups, labels, strict=True):
        yield _group(group, _ROLE_OF[label])


def _unlabelled(groups: list[re.Match[str]], separators: list[str]) -> Iterable[ReplicaGroup]:
    dividers = [i for i, separator in enumerate(separators) if separator != "+"]
    if len(dividers) > 1:
        raise LayoutError(
            f"{groups[dividers[1] + 1].group()!r} is a third part where only prefill and decode "
            "can be; write P, D or C on every group."
        )
    for i, group in enumerate(groups):
        if not dividers:
            yield _group(group, "collocated")
        else:
            yield _group(group, "prefill" if i <= dividers[0] else "decode")


def _label(group: re.Match[str]) -> str:
    before, after = group["before"], group["after"]
    if before and after:
        raise LayoutError(f"{group.group()!r} names its role twice.")
    return str(before or after or "").lower()


def _group(match: re.Match[str], role: Role) -> ReplicaGroup:
    nodes = int(match["nodes"] or 1)
    return ReplicaGroup(role, int(match["count"]), int(match["tp"]), bool(match["ep"]), nodes)
