"""What the packets of a run cost, as a table for the eye: a row for each count, a column a pattern.

Words only; whoever shows them makes the table.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from lab.report.costs import Costs, Count, Counted
from lab.report.quantities import COUNTS, CPU_TIMES
from lab.report.result import Result

_ROWS = (*COUNTS, *((key, f"{name}, us") for key, name in CPU_TIMES))
_MOST_REASONS = 4
EMULATED = "under emulation: compare rows only, never with hardware"


@dataclass(frozen=True)
class Row:
    """One count: its name, a cell for each pattern, and what it is made of in ping-pong."""

    name: str
    cells: tuple[str, ...]
    made_of: str


def titles(costs: Costs) -> tuple[str, ...]:
    """The column of each pattern."""
    return tuple(
        "ping-pong" if each.pattern == "ping-pong" else f"bursts of {each.burst} sent"
        for each in costs.counted
    )


def rows(costs: Costs) -> Iterator[Row]:
    """Whatever was counted in one pattern at least."""
    for key, name in _ROWS:
        counts = [each.counts.get(key) for each in costs.counted]
        if any(count is not None for count in counts):
            cells = tuple(_cell(key, count) for count in counts)
            yield Row(name, cells, _made_of(costs.counted[0], key))


def notes(costs: Costs, result: Result) -> Iterator[str]:
    """Times and what they are worth, a line each."""
    if costs.latency:
        seen = costs.latency
        lost = f", {seen.lost} lost" if seen.lost else ""
        yield (
            f"round trip p50 {_us(seen.p50_us)}, p90 {_us(seen.p90_us)}, p99 {_us(seen.p99_us)}, "
            f"max {_us(seen.max_us)} ({seen.sent} at {seen.rate_pps:.0f}/s{lost})"
        )
    if costs.zero_loss:
        rates = ", ".join(
            f"{'>= ' if each.tester_limited else ''}{each.pps:.0f}/s of {each.size} B"
            for each in costs.zero_loss
        )
        yield f"without loss, there and back: {rates}"
    if costs.tcp:
        yield (
            f"TCP in {costs.tcp.in_mbit:.0f} Mbit/s, out {costs.tcp.out_mbit:.0f} Mbit/s, "
            f"{costs.tcp.transactions:.0f} requests/s"
        )
    if costs.observer:
        yield f"counting made a round trip {costs.observer:.2f} times as long"
    if "tcg" in {result.accelerator.labhost, result.accelerator.guest}:
        yield EMULATED


def _cell(key: str, count: Count | None) -> str:
    if count is None:
        return "-"
    if key.endswith("_us"):
        return f"{count.mean:.0f}"
    return f"{count.mean:.2f}" if count.steady else f"{count.lower:.2f} to {count.upper:.2f}"


def _made_of(counted: Counted, key: str) -> str:
    reasons = counted.reasons.get(key, {})
    shown = [f"{value:.2f} {name}" for name, value in reasons.items() if value >= 0.05]
    return ", ".join(shown[:_MOST_REASONS])


def _us(microseconds: float) -> str:
    if microseconds < 1000:
        return f"{microseconds:.0f} us"
    return f"{microseconds / 1000:.1f} ms"
