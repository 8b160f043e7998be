"""A ladder as its page tells it: pictures side by side, plots, one table of all figures."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import quote

from lab.report.html.path import NicPath, nic_paths
from lab.report.html.plots import Bar, Plot, Series, figures
from lab.report.quantities import COUNTS, CPU_TIMES, HOST_HOPS, QUANTITIES, Group, Quantity
from lab.report.result import Result
from lab.report.rungs import Comparison, Ladder, Measure, Ratio, Rung, Step
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
_SIGNS = {
    Comparison.FEWER: "▼",
    Comparison.MORE: "▲",
    Comparison.SAME: "=",
    Comparison.UNCLEAR: "~",
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
    measured = {key for rung in ladder.rungs for key in rung.measures}
    for group in Group:
        lines = tuple(
            Line(_label(quantity), tuple(_cell(ladder, rung, quantity) for rung in ladder.rungs))
            for quantity in QUANTITIES
            if quantity.group is group and quantity.key in measured
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
    for quantity in QUANTITIES:
        ratio = step.ratios.get(quantity.key)
        if ratio and ratio.verdict is verdict:
            yield _full(quantity)


def _changes(ladder: Ladder, step: Step) -> Iterator[Change]:
    for quantity in QUANTITIES:
        ratio = step.ratios.get(quantity.key)
        if ratio and ratio.verdict in {Comparison.FEWER, Comparison.MORE}:
            yield Change(
                label=_full(quantity),
                before=_value(ladder.rung(step.upper), quantity),
                after=_value(ladder.rung(step.lower), quantity),
                ratio=_ratio(ratio),
                sign=_SIGNS[ratio.verdict],
                word=_word(quantity, ratio),
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
    step = next((step for step in ladder.steps if step.lower == rung.name), None)
    ratio = step.ratios.get(quantity.key) if step else None
    value = _value(rung, quantity)
    if ratio is None or ratio.verdict not in _SIGNS:
        return Cell(value)
    return Cell(value, _SIGNS[ratio.verdict], _word(quantity, ratio))


def _value(rung: Rung | None, quantity: Quantity) -> str:
    measure = rung.measures.get(quantity.key) if rung else None
    if measure is None:
        return "-"
    whole = quantity.group is Group.PATH and measure.mean.is_integer()
    if whole:
        return f"{measure.mean:.0f}"
    return quantity.sign(steady=measure.steady) + figures(measure.mean)


def _label(quantity: Quantity) -> str:
    return f"{quantity.label}, {quantity.unit}" if quantity.unit else quantity.label


def _full(quantity: Quantity) -> str:
    """With its pattern where two quantities have the same name."""
    burst = ", bursts" if quantity.group is Group.BURST else ""
    return f"{_label(quantity)}{burst}"


def _ratio(ratio: Ratio) -> str:
    if ratio.value is None:
        return "from none"
    if ratio.low is None or ratio.high is None:
        return f"{ratio.value:.2f}"
    return f"{ratio.value:.2f} ({ratio.low:.2f} to {ratio.high:.2f})"


def _word(quantity: Quantity, ratio: Ratio) -> str:
    """Times are not few, and rates neither."""
    more = ratio.verdict is Comparison.MORE
    if ratio.verdict in {Comparison.UNCLEAR, Comparison.SAME}:
        return ratio.verdict.value
    if quantity.group is Group.RATE:
        return "higher" if more else "lower"
    if quantity.timed:
        return "longer" if more else "shorter"
    return ratio.verdict.value
