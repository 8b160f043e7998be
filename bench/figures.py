"""What a benchmark finds: rows of figures, kept as JSON and shown as a Markdown table."""

from __future__ import annotations

from collections.abc import Sequence
from math import comb
from statistics import median

from pydantic import Field

from lab.data import Data

_BEGIN, _END = "<!-- figures -->", "<!-- /figures -->"


class Row(Data):
    """One figure: the median of ``samples`` values from ``low`` to ``high``.

    ``aim`` is what it should be in words, ``met`` whether it is; ``None`` where nothing is aimed
    at, or the figures do not tell.
    """

    what: str
    value: float
    unit: str
    low: float
    high: float
    samples: int
    aim: str = ""
    met: bool | None = None


class Finding(Data):
    """One benchmark: its rows, when it was run, and on what."""

    title: str
    date: str
    machine: str
    seconds: float
    rows: tuple[Row, ...]


class Findings(Data):
    """The newest finding of every benchmark, by its name."""

    findings: dict[str, Finding] = Field(default_factory=dict)


def row(what: str, unit: str, values: Sequence[float]) -> Row:
    """A figure that was taken several times."""
    return Row(
        what=what,
        value=median(values),
        unit=unit,
        low=min(values),
        high=max(values),
        samples=len(values),
    )


def difference(what: str, unit: str, pairs: Sequence[tuple[float, float]]) -> Row:
    """How much more the first of each pair is than the second: the median and its interval.

    The interval is that of the sign test, at least 95 %: it takes no shape of the noise for
    granted, and one pair that something disturbed does not move it.
    """
    gains = sorted(first - second for first, second in pairs)
    skipped = _skipped(len(gains))
    return Row(
        what=what,
        value=median(gains),
        unit=unit,
        low=gains[skipped],
        high=gains[-1 - skipped],
        samples=len(gains),
    )


def at_most(found: Row, most: float) -> Row:
    """An interval held against the most that it should be; ``None`` where it lies on both sides."""
    met = True if found.high <= most else False if found.low > most else None
    return aimed(found, f"<= {most:g} {found.unit}", met=met)


def _skipped(number: int) -> int:
    """How many of the least and of the largest values lie outside of the median's interval."""
    tail, skipped = 0.0, -1
    while tail + comb(number, skipped + 1) / 2**number <= 0.025:
        skipped += 1
        tail += comb(number, skipped) / 2**number
    return max(skipped, 0)


def aimed(found: Row, aim: str, *, met: bool | None) -> Row:
    """The same with what it should be."""
    return found.model_copy(update={"aim": aim, "met": met})


def markdown(findings: Findings) -> str:
    """A table for each benchmark."""
    parts = [
        f"### {name}: {finding.title}\n\n"
        f"{finding.date}, {finding.machine}; {finding.seconds:.0f} s\n\n"
        f"| what | median | from | to | samples | aim |\n|---|---:|---:|---:|---:|---|\n"
        + "".join(map(_line, finding.rows))
        for name, finding in findings.findings.items()
    ]
    return "\n".join(parts)


def placed(page: str, table: str) -> str:
    """The page with the table between its two marks. Raises ValueError for a page without them."""
    head, begin, rest = page.partition(_BEGIN)
    _, end, tail = rest.partition(_END)
    if not (begin and end):
        raise ValueError(f"the page has no {_BEGIN} and {_END}")
    return f"{head}{begin}\n\n{table}\n{end}{tail}"


def _line(found: Row) -> str:
    numbers = (_number(value) for value in (found.value, found.low, found.high))
    met = {None: ": cannot tell", True: ": met", False: ": **missed**"}[found.met]
    value, low, high = numbers
    aim = f"{found.aim}{met}" if found.aim else ""
    return f"| {found.what} | {value} {found.unit} | {low} | {high} | {found.samples} | {aim} |\n"


def _number(value: float) -> str:
    """Three digits that count, and no exponent."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
