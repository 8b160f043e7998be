"""What a ladder says in words and signs, whoever shows it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from lab.report.quantities import CHANCE, QUANTITIES, Group, Quantity
from lab.report.rungs import Comparison, Ladder, Ratio, Rung, Step

SIGNS = {
    Comparison.FEWER: "▼",
    Comparison.MORE: "▲",
    Comparison.SAME: "=",
    Comparison.UNCLEAR: "~",
}
SIGNS_LEGEND = "▼ fewer, ▲ more, = as many, ~ cannot tell"
CHANCE_LEGEND = (
    f"{CHANCE} differs from window to window, or round to round: chance has a part in it"
)


def measured(ladder: Ladder) -> list[Quantity]:
    """The quantities that any rung has."""
    keys = {key for rung in ladder.rungs for key in rung.measures}
    return [quantity for quantity in QUANTITIES if quantity.key in keys]


def told(step: Step, *verdicts: Comparison) -> Iterator[tuple[Quantity, Ratio]]:
    """What became so from one rung to the next."""
    for quantity in QUANTITIES:
        ratio = step.ratios.get(quantity.key)
        if ratio and ratio.verdict in verdicts:
            yield quantity, ratio


def against_upper(ladder: Ladder, rung: Rung, quantity: Quantity) -> Ratio | None:
    """How the rung stands to the one that it is compared with."""
    step = next((step for step in ladder.steps if step.lower == rung.name), None)
    return step.ratios.get(quantity.key) if step else None


def value(rung: Rung | None, quantity: Quantity, number: Callable[[float], str]) -> str:
    """A figure as ``number`` writes it; devices on the way are whole."""
    measure = rung.measures.get(quantity.key) if rung else None
    if measure is None:
        return "-"
    if quantity.group is Group.PATH and measure.mean.is_integer():
        return f"{measure.mean:.0f}"
    return quantity.sign(steady=measure.steady) + number(measure.mean)


def interval(ratio: Ratio) -> str:
    """The ratio and its confidence interval."""
    if ratio.value is None:
        return "from none"
    if ratio.low is None or ratio.high is None:
        return f"{ratio.value:.2f}"
    return f"{ratio.value:.2f} ({ratio.low:.2f} to {ratio.high:.2f})"


def word(quantity: Quantity, verdict: Comparison) -> str:
    """The verdict in a word: times are not few, and rates neither."""
    if verdict in {Comparison.UNCLEAR, Comparison.SAME}:
        return verdict.value
    if quantity.group is Group.RATE:
        return "higher" if verdict is Comparison.MORE else "lower"
    if quantity.timed:
        return "longer" if verdict is Comparison.MORE else "shorter"
    return verdict.value
