"""One NIC's path as a drawing: what stands where. Pure geometry; a template makes SVG of it.

From the wire at the top to the guest at the bottom. Lanes say in whose hands the packet is; what
the path goes past without touching (QEMU beside vhost, the host beside VFIO) is drawn as such. The
way in is on the left, the way out on the right.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise

from lab.plan.data import Carrier, Direction
from lab.plan.where import HOST, WIRE
from lab.report.drawing import Cell, cells
from lab.report.life import Actor
from lab.report.result import ResultPath

WIDTH = 360
_HEAD, _TITLE, _BOX, _GAP, _FOOT, _BESIDE, _BETWEEN = 26, 24, 44, 26, 14, 38, 8

LANES = {
    Actor.TESTER: "Tester",
    Actor.NIC: "NIC",
    Actor.HOST: "Host kernel",
    Actor.QEMU: "QEMU",
    Actor.GUEST: "Guest kernel",
}


class State(StrEnum):
    """What became of the probe at a hop, or between two of them."""

    SEEN = "seen"
    LOST = "lost"
    MISSING = "missing"
    NONE = "none"


@dataclass(frozen=True)
class Side:
    """One direction's words beside a box: the time since the last hop, and the clocks' error."""

    state: State
    lines: tuple[str, ...] = ()


@dataclass(frozen=True)
class Station:
    """A hop, or something that handles the packet where nothing can be captured.

    ``sides`` are way in and way out; a station without them is no hop.
    """

    actor: Actor
    name: str
    device: str
    sides: tuple[Side, Side] | None = None
    wrong: bool = False


@dataclass(frozen=True)
class Lane:
    """A band in one actor's colour; ``beside`` says that the path goes past it."""

    actor: Actor
    word: str
    y: int
    height: int
    beside: bool


@dataclass(frozen=True)
class Box:
    """A station where it stands."""

    station: Station
    y: int
    height: int = _BOX


@dataclass(frozen=True)
class Link:
    """An arrow between two boxes, for one direction."""

    direction: Direction
    state: State
    top: int
    bottom: int
    cross: bool = False


@dataclass(frozen=True)
class Drawing:
    """All of it; ``height`` in the units in which `WIDTH` is the width."""

    height: int
    lanes: tuple[Lane, ...]
    boxes: tuple[Box, ...]
    links: tuple[Link, ...]


@dataclass(frozen=True)
class Hardware:
    """What stands between the cable and whoever takes the packet from it."""

    name: str
    device: str


@dataclass(frozen=True)
class Way:
    """One NIC's path, both directions; ``wrong`` where not the expected carrier moves packets."""

    paths: tuple[ResultPath, ...]
    hardware: Hardware
    worker: str = ""
    wrong: bool = False

    @property
    def carrier(self) -> Carrier | None:
        """Who moved the packets, as counted."""
        return self.paths[0].carrier


def draw(way: Way) -> Drawing:
    """Lay out one NIC's path."""
    lanes, boxes, y = [], [], _HEAD
    for actor, stations in groups(way):
        height = _height(len(stations))
        lanes.append(Lane(actor, LANES[actor], y, height, beside=not stations))
        tops = range(y + _TITLE, y + height, _BOX + _GAP)
        boxes += [Box(station, top) for station, top in zip(stations, tops, strict=False)]
        y += height + _BETWEEN
    return Drawing(y - _BETWEEN + 1, tuple(lanes), tuple(boxes), tuple(_links(boxes)))


def stops(path: ResultPath) -> str:
    """Where the probe was last seen on a way that it did not finish; empty where it did."""
    unseen = [hop.hop for hop in path.hops if not hop.seen]
    if not unseen:
        return ""
    seen = [hop.hop for hop in path.hops if hop.seen]
    last = f"last seen at {seen[-1]}" if seen else "seen nowhere"
    return f"{last}, not seen at {', '.join(unseen)}"


def actor_of(where: str) -> Actor:
    """In whose hands a packet is at a hop."""
    return {WIRE: Actor.TESTER, HOST: Actor.HOST}.get(where, Actor.GUEST)


def _height(stations: int) -> int:
    if not stations:
        return _BESIDE
    return _TITLE + stations * _BOX + (stations - 1) * _GAP + _FOOT


def groups(way: Way) -> Iterator[tuple[Actor, tuple[Station, ...]]]:
    """The lanes from top to bottom with what stands in each."""
    hops = tuple(_stations(way))
    at = {actor: tuple(hop for hop in hops if hop.actor is actor) for actor in Actor}
    if at[Actor.TESTER]:
        yield Actor.TESTER, at[Actor.TESTER]
        yield Actor.NIC, (Station(Actor.NIC, way.hardware.name, way.hardware.device),)
    workers = tuple(_workers(way))
    own = tuple(worker for worker in workers if worker.actor is not Actor.QEMU)
    yield Actor.HOST, (*at[Actor.HOST], *own)
    yield Actor.QEMU, tuple(worker for worker in workers if worker.actor is Actor.QEMU)
    yield Actor.GUEST, at[Actor.GUEST]


def _workers(way: Way) -> Iterator[Station]:
    if way.carrier is Carrier.VHOST:
        yield Station(Actor.VHOST, "vhost-net", way.worker or "kernel thread", wrong=way.wrong)
    elif way.carrier is Carrier.QEMU:
        yield Station(Actor.QEMU, "QEMU", "reads and writes it", wrong=way.wrong)
    elif way.carrier is None:
        yield Station(Actor.HOST, "nobody known", "no carrier was seen", wrong=True)


def _stations(way: Way) -> Iterator[Station]:
    """The hops in the order of the way in, each with what both directions saw of it."""
    found = {path.direction: cells(path) for path in way.paths}
    ins, outs = found.get(Direction.IN, ()), found.get(Direction.OUT, ())[::-1]
    order = next(path.hops for path in way.paths)
    hops = order if way.paths[0].direction is Direction.IN else order[::-1]
    for index, (hop, cell) in enumerate(zip(hops, ins or outs, strict=True)):
        sides = (_side(ins, index), _side(outs, index))
        yield Station(actor_of(hop.where), cell.name, cell.device, sides)


def _side(row: Sequence[Cell], index: int) -> Side:
    if not row:
        return Side(State.NONE)
    cell = row[index]
    time, _, error = cell.time.partition(" ±")
    lines = (time, f"±{error}") if error else (time,)
    return Side(State.SEEN if cell.seen else State.MISSING, lines)


def _links(boxes: Sequence[Box]) -> Iterator[Link]:
    """Arrows between neighbours. What lies between two hops shares their fate."""
    hops = [index for index, box in enumerate(boxes) if box.station.sides]
    for upper, lower in pairwise(hops):
        for side, direction in enumerate(Direction):
            state = _fate(boxes[upper], boxes[lower], side)
            for index in range(upper, lower):
                top = boxes[index].y + boxes[index].height
                first = index == (upper if direction is Direction.IN else lower - 1)
                cross = first and state is State.LOST
                yield Link(direction, state, top, boxes[index + 1].y, cross)


def _fate(upper: Box, lower: Box, side: int) -> State:
    """Whether a probe got from one hop to the next: down on the way in, up on the way out."""
    assert upper.station.sides is not None
    assert lower.station.sides is not None
    ends = upper.station.sides[side].state, lower.station.sides[side].state
    before, after = ends if side == 0 else ends[::-1]
    if State.NONE in ends:
        return State.NONE
    if before is State.SEEN and after is State.SEEN:
        return State.SEEN
    return State.LOST if before is State.SEEN else State.MISSING
