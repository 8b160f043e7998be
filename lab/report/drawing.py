"""The path of a probe as three rows of text: hops with arrows, devices, and times. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from lab.plan.data import Carrier
from lab.plan.where import HOST, WIRE
from lab.report.path import PathHop
from lab.report.result import ResultPath

_ARROWS = {
    Carrier.VHOST: "══vhost══▶",
    Carrier.QEMU: "──QEMU──▶",
    Carrier.VFIO: "══VFIO══▶",
    None: "───▶",
}
_UNSEEN_ARROW = "╌╌╌▷"


@dataclass(frozen=True)
class Cell:
    """One hop as it is drawn; ``arrow`` leads on to the next one and is empty for the last."""

    name: str
    arrow: str
    device: str
    time: str
    seen: bool

    @property
    def width(self) -> int:
        """Columns that the cell takes with the blank behind it."""
        top = f"{self.name} {self.arrow}" if self.arrow else self.name
        return max(len(top), len(self.device), len(self.time)) + 1

    @property
    def rows(self) -> tuple[str, str, str]:
        """The three rows, each as wide as the cell; the arrow's shaft fills its row."""
        gap = self.width - len(self.name) - len(self.arrow) - 2
        shaft = self.arrow[:1] * gap if self.arrow else ""
        top = f"{self.name} {shaft}{self.arrow}"
        return top.ljust(self.width), self.device.ljust(self.width), self.time.ljust(self.width)


def cells(path: ResultPath) -> tuple[Cell, ...]:
    """The hops of one path, in the order in which the probe should pass them."""
    times = ("sent", *_steps(path.hops))
    onward = (*path.hops[1:], None)
    return tuple(
        Cell(
            name=hop.hop,
            arrow=_arrow(path, hop, after) if after else "",
            device=_device(path, hop),
            time=time if hop.seen else "not seen",
            seen=hop.seen,
        )
        for hop, after, time in zip(path.hops, onward, times, strict=True)
    )


def lines(row: tuple[Cell, ...], width: int) -> Iterator[tuple[Cell, ...]]:
    """Break a path that is wider than ``width`` columns between two hops."""
    line: list[Cell] = []
    for cell in row:
        if line and sum(part.width for part in (*line, cell)) > width:
            yield tuple(line)
            line = []
        line.append(cell)
    if line:
        yield tuple(line)


def duration(nanoseconds: int, *, sign: bool = False) -> str:
    """A time in the unit that reads best."""
    plus = "+" if sign else ""
    if abs(nanoseconds) < 1_000_000:
        return f"{nanoseconds / 1000:{plus}.1f} us"
    return f"{nanoseconds / 1_000_000:{plus}.2f} ms"


def _arrow(path: ResultPath, hop: PathHop, after: PathHop) -> str:
    if not (hop.seen and after.seen):
        return _UNSEEN_ARROW
    crosses = _in_guest(hop) != _in_guest(after)
    return _ARROWS[path.carrier if crosses else None]


def _device(path: ResultPath, hop: PathHop) -> str:
    device = "" if hop.device == hop.hop else hop.device
    return f"{device} {path.driver}" if _in_guest(hop) and path.driver else device


def _in_guest(hop: PathHop) -> bool:
    return hop.where not in {HOST, WIRE}


def _steps(hops: tuple[PathHop, ...]) -> Iterator[str]:
    """The time since the last hop that saw the probe, with what the clocks leave open."""
    last = hops[0]
    for hop in hops[1:]:
        if hop.time_ns is None or last.time_ns is None:
            yield "seen"
        else:
            yield _step(last, hop)
        last = hop if hop.seen else last


def _step(sooner: PathHop, later: PathHop) -> str:
    assert sooner.time_ns is not None
    assert later.time_ns is not None
    if later.time_ns == sooner.time_ns:
        # A bridge hands the frame on with the stamp that its port gave it.
        return "same stamp"
    step = duration(later.time_ns - sooner.time_ns, sign=True)
    error = (sooner.error_ns or 0) + (later.error_ns or 0)
    return f"{step} ±{duration(error)}" if error else step
