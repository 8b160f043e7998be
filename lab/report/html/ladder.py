"""A ladder as its page tells it: pictures side by side, plots, one table of all figures."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import quote

from lab.report.html.path import NicPath, nic_paths
from lab.report.html.plots import Bar, Plot, Series, figures
from lab.report.ladderwords import SIGNS, against_upper, interval, measured, told, value, word
from lab.report.quantities import COUNTS, CPU_TIMES, HOST_HOPS, QUANTITIES, Group, Quantity
from lab.report.result import Result
from lab.report.rungs import Comparison, Ladder, Measure, Rung, Step
from lab.report.verdict import Outcome

GROUPS = {
    Group.PATH: "On the way",
    Group.PING_PONG: "Ping-pong, a packet",
    Group.BURST: "Bursts, a packet",
    Group.TIME: "Times",
    Group.RATE: "Rates",
}
PROMISES = {
    Outcome.PASS: "kept",
    Outcome.SKIP: "not provable here",
    Outcome.FAIL: "contradicted",
    Outcome.ERROR: "not measured",
}
_COUNTED = (Group.PING_PONG, Group.BURST)


@dataclass(frozen=True)
class Cell:
    """One figure of one rung, and how it stands to the rung above."""

    value: str
    sign: str = ""
    word: str = ""


@dataclass(frozen=True)
class Line:
    """One quantity over all rungs."""

    label: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Lines:
    """The quantities of one group."""

    title: str
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class Change:
    """What became of one quantity from one rung to the next."""

    label: str
    before: str
    after: str
    ratio: str
    sign: str
    word: str


@dataclass(frozen=True)
class Changes:
    """From one rung to the next."""

    upper: str
    lower: str
    changes: tuple[Change, ...]
    same: tuple[str, ...]
    unclear: tuple[str, ...]


@dataclass(frozen=True)
class RungPart:
    """One rung with its picture, and the pages of its runs as seen from this one."""

    rung: Rung
    nic: NicPath | None
    pages: tuple[str, ...]


def rung_parts(ladder: Ladder, folder: str, page: str) -> Iterator[RungPart]:
    """All rungs; there are links only where ``folder``, the page's own, is known."""
    for rung in ladder.rungs:
        links = (quote(os.path.relpath(f"{run}/{page}", folder)) for run in rung.folders if folder)
        yield RungPart(rung, _picture(rung, ladder), tuple(links))


def _picture(rung: Rung, ladder: Ladder) -> NicPath | None:
    """Its first NIC's path, as the last of its runs saw it."""
    run = Result(
        topology=rung.name,
        outcome=rung.outcome,
        status=rung.status,
        place=ladder.place,
        paths=rung.paths,
    )
    return next(nic_paths(run, None), None)


def plots(ladder: Ladder) -> Iterator[Plot]:
    """One plot for each quantity that any rung has; both patterns of a count share one."""
    known = {quantity.key: quantity for quantity in QUANTITIES}
    for name, label in (*COUNTS, *CPU_TIMES):
        parts = [known[key] for group in _COUNTED if (key := f"{group}.{name}") in known]
        unit = f", {parts[0].unit}" if parts[0].unit else ""
        yield from _plot(ladder, name, f"{label}{unit} per packet", parts)
    times = [quantity for quantity in QUANTITIES if quantity.group is Group.TIME]
    yield from _plot(ladder, "time", "Round trip, µs", times[::2])
    for quantity in QUANTITIES:
        if quantity.group is Group.RATE or quantity.key == HOST_HOPS:
            yield from _plot(ladder, quantity.key, _label(quantity), [quantity])


def table(ladder: Ladder) -> Iterator[Lines]:
    """All figures, a column for each rung."""
    quantities = measured(ladder)
    for group in Group:
        lines = tuple(
            Line(_label(quantity), tuple(_cell(ladder, rung, quantity) for rung in ladder.rungs))
            for quantity in quantities
            if quantity.group is group
        )
        if lines:
            yield Lines(GROUPS[group], lines)


def changes(ladder: Ladder) -> Iterator[Changes]:
    """What each rung takes away, and what it adds."""
    for step in ladder.steps:
        yield Changes(
            upper=step.upper,
            lower=step.lower,
            changes=tuple(_changes(ladder, step)),
            same=tuple(_named(step, Comparison.SAME)),
            unclear=tuple(_named(step, Comparison.UNCLEAR)),
        )


def _named(step: Step, verdict: Comparison) -> Iterator[str]:
    return (_full(quantity) for quantity, _ in told(step, verdict))


def _changes(ladder: Ladder, step: Step) -> Iterator[Change]:
    for quantity, ratio in told(step, Comparison.FEWER, Comparison.MORE):
        yield Change(
            label=_full(quantity),
            before=value(ladder.rung(step.upper), quantity, figures),
            after=value(ladder.rung(step.lower), quantity, figures),
            ratio=interval(ratio),
            sign=SIGNS[ratio.verdict],
            word=word(quantity, ratio.verdict),
        )


def _plot(ladder: Ladder, key: str, title: str, parts: list[Quantity]) -> Iterator[Plot]:
    """Nothing where no rung has any of it."""
    parts = [part for part in parts if any(part.key in rung.measures for rung in ladder.rungs)]
    if not parts:
        return
    several = len(parts) > 1
    yield Plot(
        key=f"plot-{key.replace('.', '-')}",
        title=title,
        unit=parts[0].unit,
        categories=tuple(rung.name for rung in ladder.rungs),
        series=tuple(
            Series(
                _series(part) if several else "",
                tuple(_bar(rung.measures.get(part.key)) for rung in ladder.rungs),
            )
            for part in parts
        ),
    )


def _series(quantity: Quantity) -> str:
    if quantity.group is Group.TIME:
        return quantity.label.rpartition(" ")[2]
    return {Group.PING_PONG: "ping-pong", Group.BURST: "bursts"}[quantity.group]


def _bar(measure: Measure | None) -> Bar | None:
    return Bar(measure.mean, measure.low, measure.high) if measure else None


def _cell(ladder: Ladder, rung: Rung, quantity: Quantity) -> Cell:
    shown = value(rung, quantity, figures)
    ratio = against_upper(ladder, rung, quantity)
    if ratio is None or ratio.verdict not in SIGNS:
        return Cell(shown)
    return Cell(shown, SIGNS[ratio.verdict], word(quantity, ratio.verdict))


def _label(quantity: Quantity) -> str:
    return f"{quantity.label}, {quantity.unit}" if quantity.unit else quantity.label


def _full(quantity: Quantity) -> str:
    """With its pattern where two quantities have the same name."""
    burst = ", bursts" if quantity.group is Group.BURST else ""
    return f"{_label(quantity)}{burst}"
