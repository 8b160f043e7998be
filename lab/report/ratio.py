"""Ratios: how a quantity of one rung stands to that of the rung above, and how sure that is.

Rounds are the repetitions: in each, every rung has a boot of its own, so what differs from boot to
boot is in the interval, and a drift of the machine hits both rungs of a round alike. All intervals
are Student's t at 95 %, of two kinds (docs/ladder.md):

- Counts can be zero, and each has its own noise: the interval is that of the ratios of the rounds.
- Times cannot, and have the machine's noise, which all rungs share: the interval is that of the
  logarithms, with the spread that is left of all rungs once rung and round are taken out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import exp, log, sqrt
from statistics import fmean, stdev

from lab.report.quantities import QUANTITIES, Quantity
from lab.report.rungs import Comparison, Measure, Ratio, Rung, Step

GONE = 0.005
"""Events per packet below which there are none: what is shown as 0.00."""

MARGIN = 0.02
"""A change by less than this is not called one, however sure it is; being sure is as many."""

# Student's t, the 97.5th percentile, for 1 to 30 degrees of freedom.
T975 = (
    *(12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228),
    *(2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086),
    *(2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042),
)


@dataclass(frozen=True)
class Noise:
    """The spread of the logarithm of one value, and the degrees of freedom it is known with."""

    deviation: float
    freedom: int


def steps_of(rungs: Sequence[Rung]) -> tuple[Step, ...]:
    """One step for each rung that is compared with another; only what both measured is in it."""
    named = {rung.name: rung for rung in rungs}
    noises = {
        quantity.key: noise
        for quantity in QUANTITIES
        if quantity.timed and (noise := noise_of(_table(rungs, quantity.key)))
    }
    return tuple(
        Step(upper=rung.above, lower=rung.name, ratios=_ratios(named[rung.above], rung, noises))
        for rung in rungs
        if rung.above in named
    )


def count_ratio(upper: Sequence[float | None], lower: Sequence[float | None]) -> Ratio:
    """The ratio of two counts, a value of each for every round."""
    pairs = _pairs(upper, lower)
    if all(value <= GONE for pair in pairs for value in pair):
        return Ratio(value=None, low=None, high=None, verdict=Comparison.NONE)
    if any(above <= GONE for above, _ in pairs):
        return _from_nothing(pairs)
    ratios = [below / above for above, below in pairs]
    value, half = fmean(ratios), _half(ratios)
    return _judged(value, None if half is None else (max(0.0, value - half), value + half))


def time_ratio(
    upper: Sequence[float | None], lower: Sequence[float | None], noise: Noise | None
) -> Ratio:
    """The ratio of two times or rates; without any ``noise`` known nothing can be told."""
    logs = [log(below / above) for above, below in _pairs(upper, lower)]
    centre = fmean(logs)
    if noise is None:
        return _judged(exp(centre), None)
    half = _t(noise.freedom) * noise.deviation * sqrt(2 / len(logs))
    return _judged(exp(centre), (exp(centre - half), exp(centre + half)))


def noise_of(table: Sequence[Sequence[float]]) -> Noise | None:
    """What is left of the values' logarithms (rungs by rounds) without effects of rung and round.

    It is the residual of a two-way layout without interaction: rounds are blocks, each of which
    has every rung once.
    """
    rungs, rounds = len(table), len(table[0]) if table else 0
    if rungs < 2 or rounds < 2:
        return None
    freedom = (rungs - 1) * (rounds - 1)
    logs = [[log(value) for value in row] for row in table]
    grand = fmean(value for row in logs for value in row)
    columns = [fmean(column) for column in zip(*logs, strict=True)]
    squares = sum(
        (value - fmean(row) - column + grand) ** 2
        for row in logs
        for value, column in zip(row, columns, strict=True)
    )
    return Noise(sqrt(squares / freedom), freedom)


def _ratios(upper: Rung, lower: Rung, noises: Mapping[str, Noise]) -> dict[str, Ratio]:
    return {
        quantity.key: _ratio(quantity, upper.measures[quantity.key], lower, noises)
        for quantity in QUANTITIES
        if _comparable(quantity, upper, lower)
    }


def _ratio(quantity: Quantity, upper: Measure, lower: Rung, noises: Mapping[str, Noise]) -> Ratio:
    below = lower.measures[quantity.key].rounds
    noise = noises.get(quantity.key)
    if quantity.timed and _positive((upper.rounds, below)):
        return time_ratio(upper.rounds, below, noise)
    return count_ratio(upper.rounds, below)


def _comparable(quantity: Quantity, upper: Rung, lower: Rung) -> bool:
    if quantity.key not in upper.measures or quantity.key not in lower.measures:
        return False
    return bool(_pairs(upper.measures[quantity.key].rounds, lower.measures[quantity.key].rounds))


def _table(rungs: Sequence[Rung], key: str) -> list[list[float]]:
    """The values of the rungs that have any but zero, in the rounds that are complete."""
    rows = [rung.measures[key].rounds for rung in rungs if key in rung.measures]
    rows = [row for row in rows if _positive((row,))]
    complete = [column for column in zip(*rows, strict=False) if None not in column]
    return [[value for value in row if value is not None] for row in zip(*complete, strict=True)]


def _positive(rows: Sequence[Sequence[float | None]]) -> bool:
    """CPU time is timed and may be none at all, like that of vhost where there is no vhost."""
    return all(value is None or value > GONE for row in rows for value in row)


def _pairs(
    upper: Sequence[float | None], lower: Sequence[float | None]
) -> list[tuple[float, float]]:
    """The rounds that have both."""
    return [
        (above, below)
        for above, below in zip(upper, lower, strict=False)
        if above is not None and below is not None
    ]


def _from_nothing(pairs: Sequence[tuple[float, float]]) -> Ratio:
    """There is no ratio to nothing, but a difference."""
    gains = [below - above for above, below in pairs]
    half = _half(gains)
    sure = half is not None and fmean(gains) - half > GONE
    verdict = Comparison.MORE if sure else Comparison.UNCLEAR
    return Ratio(value=None, low=None, high=None, verdict=verdict)


def _judged(value: float, interval: tuple[float, float] | None) -> Ratio:
    """A word only where the whole interval says so."""
    if interval is None:
        return Ratio(value=value, low=None, high=None, verdict=Comparison.UNCLEAR)
    low, high = interval
    verdict = Comparison.UNCLEAR
    if high < 1 - MARGIN:
        verdict = Comparison.FEWER
    elif low > 1 + MARGIN:
        verdict = Comparison.MORE
    elif low >= 1 - MARGIN and high <= 1 + MARGIN:
        verdict = Comparison.SAME
    return Ratio(value=value, low=low, high=high, verdict=verdict)


def _half(values: Sequence[float]) -> float | None:
    """Half the width of the mean's interval; one value alone tells nothing of its spread."""
    if len(values) < 2:
        return None
    return _t(len(values) - 1) * stdev(values) / sqrt(len(values))


def _t(freedom: int) -> float:
    return T975[min(freedom, len(T975)) - 1]
