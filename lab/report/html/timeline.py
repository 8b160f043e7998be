"""One packet's life as a drawing: a row for each actor, from left to right the time. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from lab.plan.data import Direction
from lab.report.drawing import duration
from lab.report.life import Actor, Life, Step

WIDTH, LEFT, RIGHT = 360, 6, 354
_TOP, _ROW, _BAR, _AXIS = 24, 44, 20, 24
_THINNEST = 1.5
_EDGE = 24
_TICKS = 4


@dataclass(frozen=True)
class Stay:
    """A time in which an actor had the packet."""

    actor: Actor
    x: float
    y: int
    width: float
    words: str


@dataclass(frozen=True)
class Tick:
    """A step that tells the story, with the number that it has in the list below."""

    x: float
    y: int
    number: int


@dataclass(frozen=True)
class Row:
    """One actor's row."""

    actor: Actor
    y: int
    share: str


@dataclass(frozen=True)
class Mark:
    """A time on the axis, or the turn from the way in to the way out."""

    x: float
    words: str
    anchor: str = "middle"


@dataclass(frozen=True)
class Told:
    """One step of the list; ``number`` is 0 for those that only the whole list has."""

    number: int
    step: Step
    when: str


@dataclass(frozen=True)
class Timeline:
    """All of it, with the list of steps."""

    life: Life
    height: int
    rows: tuple[Row, ...]
    stays: tuple[Stay, ...]
    ticks: tuple[Tick, ...]
    axis: tuple[Mark, ...]
    turn: Mark | None
    told: tuple[Told, ...]

    @property
    def bar(self) -> int:
        """The height of a stay."""
        return _BAR

    @property
    def summary(self) -> str:
        """The whole in a line."""
        return f"{self.life.size} bytes, {self.life.kind}, {duration(self.life.duration_ns)}"

    @property
    def words(self) -> str:
        """For who cannot see it."""
        return "; ".join(stay.words for stay in self.stays)


def timeline(life: Life) -> Timeline:
    """Lay out one life."""
    actors = [actor for actor in Actor if _appears(life, actor)]
    top = {actor: _TOP + index * _ROW for index, actor in enumerate(actors)}
    told = tuple(_told(life))
    return Timeline(
        life=life,
        height=_TOP + len(actors) * _ROW + _AXIS,
        rows=tuple(Row(actor, y, _share(life, actor)) for actor, y in top.items()),
        stays=tuple(_stays(life, top)),
        ticks=tuple(
            Tick(_x(life, each.step.time_ns), top[each.step.actor], each.number)
            for each in told
            if each.number
        ),
        axis=tuple(_axis(life)),
        turn=_turn(life),
        told=told,
    )


def _appears(life: Life, actor: Actor) -> bool:
    actors = {span.actor for span in life.spans} | {step.actor for step in life.steps}
    return actor in actors


def _stays(life: Life, top: dict[Actor, int]) -> Iterator[Stay]:
    for span in life.spans:
        x, end = _x(life, span.begin_ns), _x(life, span.end_ns)
        length = duration(span.end_ns - span.begin_ns)
        words = f"{span.actor.value} ({span.leg.value}) {length}"
        yield Stay(span.actor, x, top[span.actor], max(end - x, _THINNEST), words)


def _told(life: Life) -> Iterator[Told]:
    number = 0
    for step in life.steps:
        number += step.strong
        yield Told(number if step.strong else 0, step, duration(step.time_ns, sign=True))


def _share(life: Life, actor: Actor) -> str:
    """How long the packet was in these hands, all together."""
    spans = [span.end_ns - span.begin_ns for span in life.spans if span.actor is actor]
    if not spans:
        return ""
    part = sum(spans) / (_length(life))
    return f"{duration(sum(spans))}, {part:.0%}"


def _axis(life: Life) -> Iterator[Mark]:
    for index in range(_TICKS + 1):
        anchor = {0: "start", _TICKS: "end"}.get(index, "middle")
        time_ns = life.duration_ns * index // _TICKS
        yield Mark(_x(life, time_ns), duration(time_ns) if index else "0", anchor)


def _turn(life: Life) -> Mark | None:
    """Where the answer begins."""
    back = [span.begin_ns for span in life.spans if span.leg is Direction.OUT]
    there = any(span.leg is Direction.IN for span in life.spans)
    if not (back and there):
        return None
    x = _x(life, min(back))
    # Its word stays inside the drawing.
    anchor = "start" if x < _EDGE else "end" if x > WIDTH - _EDGE else "middle"
    return Mark(x, "answer", anchor)


def _x(life: Life, time_ns: int) -> float:
    inside = min(max(time_ns, 0), life.duration_ns)
    return round(LEFT + (RIGHT - LEFT) * inside / _length(life), 1)


def _length(life: Life) -> int:
    return life.duration_ns or 1
