"""The way of several NICs in one drawing: what they share stands there once. Pure geometry.

Each way has a column, and those that share most stand side by side. With more columns than fit, the
drawing is as wide as it has to be.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean

from lab.report.html.picture import LANES, WIDTH, Lane, Station, Way, groups
from lab.report.life import Actor

_TITLE, _BOX, _GAP, _FOOT, _BESIDE, _BETWEEN = 24, 40, 22, 12, 30, 8
_LEFT, _SPARE, _WIDEST, _APART = 14, 6, 160, 8
# Where a guest's device with its driver fits in.
_COLUMN = 113


@dataclass(frozen=True)
class Spot:
    """A device, a process, or a guest's NIC; equal spots of several ways are one.

    ``guest`` is whose it is: hops, threads and drivers may have the same names in all of them.
    """

    lane: Actor
    actor: Actor
    name: str
    device: str
    guest: str = ""


Chain = tuple[tuple[int, Spot], ...]
"""The spots of one way from the wire to the guest, each with its row in its lane."""


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
    """All of it; ``width`` is `lab.report.html.picture.WIDTH` where that is enough."""

    width: int
    height: int
    lanes: tuple[Lane, ...]
    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    told: str


def topology(ways: Sequence[Way]) -> Topology:
    """Lay out the ways side by side, joined where they pass the same spot."""
    chains = _sorted([tuple(_chain(way)) for way in ways])
    width = max(WIDTH, _LEFT + _COLUMN * len(chains) + _SPARE)
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
    column = (width - _LEFT - _SPARE) / len(chains)
    wide = round(min(_WIDEST, column - _APART), 1)
    nodes = {
        spot: Node(spot, round(x, 1), tops[spot], wide)
        for spot, x in _middles(chains, tops, column).items()
    }
    return Topology(
        width=width,
        height=y - _BETWEEN + 1,
        lanes=tuple(lanes),
        nodes=tuple(nodes.values()),
        edges=tuple(_edges(chains, nodes)),
        told="; ".join(" to ".join(spot.name for _, spot in chain) for chain in chains),
    )


def _sorted(chains: Sequence[Chain]) -> list[Chain]:
    """Those side by side that share most, from the wire on."""
    first: dict[Spot, int] = {}
    for index, chain in enumerate(chains):
        for _, spot in chain:
            first.setdefault(spot, index)
    return sorted(chains, key=lambda chain: [first[spot] for _, spot in chain])


def _chain(way: Way) -> Iterator[tuple[int, Spot]]:
    for lane, stations in groups(way):
        for row, station in enumerate(stations):
            yield row, _spot(lane, station, way)


def _spot(lane: Actor, station: Station, way: Way) -> Spot:
    guest, actor = way.paths[0].guest, station.actor
    if lane is Actor.GUEST:
        return Spot(lane, actor, guest, station.device, guest)
    if lane is Actor.QEMU:
        return Spot(lane, actor, station.name, f"of {guest}", guest)
    owner = guest if actor is Actor.VHOST else ""
    return Spot(lane, actor, station.name, station.device, owner)


def _rows(chains: Sequence[Chain]) -> dict[Spot, int]:
    """The row of each spot: the lowest that any way gives it."""
    rows: dict[Spot, int] = {}
    for chain in chains:
        for row, spot in chain:
            rows[spot] = max(row, rows.get(spot, 0))
    return rows


def _middles(chains: Sequence[Chain], tops: Mapping[Spot, int], column: float) -> dict[Spot, float]:
    """Each spot in the middle of the ways that pass it, as far as its neighbours leave room."""
    through: dict[Spot, list[int]] = {}
    for index, chain in enumerate(chains):
        for _, spot in chain:
            through.setdefault(spot, []).append(index)
    middles = {spot: _LEFT + column * (fmean(ways) + 0.5) for spot, ways in through.items()}
    for y in set(tops.values()):
        row = sorted((spot for spot in middles if tops[spot] == y), key=middles.__getitem__)
        # A row has no more spots than there are columns: pushed right, then left, all of them fit.
        least, most = _LEFT + column / 2, _LEFT + column * (len(chains) - 0.5)
        for spot in row:
            middles[spot] = max(middles[spot], least)
            least = middles[spot] + column
        for spot in reversed(row):
            middles[spot] = min(middles[spot], most)
            most = middles[spot] - column
    return middles


def _edges(chains: Sequence[Chain], nodes: Mapping[Spot, Node]) -> Iterator[Edge]:
    pairs = dict.fromkeys(
        (upper, lower) for chain in chains for (_, upper), (_, lower) in pairwise(chain)
    )
    for above, below in pairs:
        upper, lower = nodes[above], nodes[below]
        yield Edge(upper.x, upper.y + upper.height, lower.x, lower.y)
