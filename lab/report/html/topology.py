"""The way of several NICs in one drawing: what they share stands there once. Pure geometry."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from lab.report.html.picture import LANES, Lane, Station, Way, groups
from lab.report.life import Actor

_TITLE, _BOX, _GAP, _FOOT, _BESIDE, _BETWEEN = 24, 40, 22, 12, 30, 8
_LEFT, _RIGHT, _WIDEST, _APART = 14, 354, 160, 8


@dataclass(frozen=True)
class Spot:
    """A device, a process, or a guest's NIC; equal spots of several ways are one."""

    lane: Actor
    actor: Actor
    name: str
    device: str


@dataclass(frozen=True)
class Node:
    """A spot where it stands; ``x`` is its middle."""

    spot: Spot
    x: float
    y: int
    width: float
    height: int = _BOX


@dataclass(frozen=True)
class Edge:
    """From the bottom of one node to the top of another."""

    x1: float
    y1: int
    x2: float
    y2: int


@dataclass(frozen=True)
class Topology:
    """All of it; ``height`` in the units in which the width is 360."""

    height: int
    lanes: tuple[Lane, ...]
    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    told: str


def topology(ways: Sequence[Way]) -> Topology:
    """Lay out the ways side by side, joined where they pass the same spot."""
    chains = [tuple(_chain(way)) for way in ways]
    rows = _rows(chains)
    lanes: list[Lane] = []
    tops: dict[Spot, int] = {}
    y = 1
    for actor, word in LANES.items():
        spots = [spot for spot in rows if spot.lane is actor]
        deep = max((rows[spot] + 1 for spot in spots), default=0)
        height = _TITLE + deep * (_BOX + _GAP) - _GAP + _FOOT if deep else _BESIDE
        lanes.append(Lane(actor, word, y, height, beside=not deep))
        tops |= {spot: y + _TITLE + rows[spot] * (_BOX + _GAP) for spot in spots}
        y += height + _BETWEEN
    nodes = {spot: _node(spot, chains, top) for spot, top in tops.items()}
    return Topology(
        height=y - _BETWEEN + 1,
        lanes=tuple(lanes),
        nodes=tuple(nodes.values()),
        edges=tuple(_edges(chains, nodes)),
        told="; ".join(" to ".join(spot.name for _, spot in chain) for chain in chains),
    )


def _chain(way: Way) -> Iterator[tuple[int, Spot]]:
    """The spots of one way from the wire to the guest, each with its row in its lane."""
    for lane, stations in groups(way):
        for row, station in enumerate(stations):
            yield row, _spot(lane, station, way)


def _spot(lane: Actor, station: Station, way: Way) -> Spot:
    """A guest, and its QEMU, is a spot of its own: hops and drivers have the same names in all."""
    guest = way.paths[0].guest
    if lane is Actor.GUEST:
        return Spot(lane, station.actor, guest, station.device)
    device = f"of {guest}" if lane is Actor.QEMU else station.device
    return Spot(lane, station.actor, station.name, device)


def _rows(chains: Sequence[tuple[tuple[int, Spot], ...]]) -> dict[Spot, int]:
    """The row of each spot: the lowest that any way gives it."""
    rows: dict[Spot, int] = {}
    for chain in chains:
        for row, spot in chain:
            rows[spot] = max(row, rows.get(spot, 0))
    return rows


def _node(spot: Spot, chains: Sequence[tuple[tuple[int, Spot], ...]], y: int) -> Node:
    """In the middle of the ways that pass it."""
    slot = (_RIGHT - _LEFT) / len(chains)
    through = [
        index for index, chain in enumerate(chains) if any(other == spot for _, other in chain)
    ]
    middle = _LEFT + slot * (sum(through) / len(through) + 0.5)
    return Node(spot, round(middle, 1), y, round(min(_WIDEST, slot - _APART), 1))


def _edges(
    chains: Sequence[tuple[tuple[int, Spot], ...]], nodes: Mapping[Spot, Node]
) -> Iterator[Edge]:
    pairs = dict.fromkeys(
        (upper, lower) for chain in chains for (_, upper), (_, lower) in pairwise(chain)
    )
    for above, below in pairs:
        upper, lower = nodes[above], nodes[below]
        yield Edge(upper.x, upper.y + upper.height, lower.x, lower.y)
