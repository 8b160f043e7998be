"""One NIC's costs as plots and as a table of the same figures."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from lab.report.costs import Costs, Count, Counted
from lab.report.html.plots import Bar, Plot, Series, figures
from lab.report.quantities import CHANCE, COUNTS, CPU_TIMES

_QUANTILES = ("p50", "p90", "p99", "max")


@dataclass(frozen=True)
class Figure:
    """One row of the table: what it is, and a value for each pattern."""

    label: str
    values: tuple[str, ...]


@dataclass(frozen=True)
class Reasons:
    """What one count is made of, in one pattern."""

    title: str
    parts: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class NicCosts:
    """What the page says of one NIC's costs; ``patterns`` are the columns of ``figures``."""

    name: str
    plots: tuple[Plot, ...]
    patterns: tuple[str, ...]
    figures: tuple[Figure, ...]
    reasons: tuple[Reasons, ...]
    facts: tuple[tuple[str, str], ...]
    not_measured: tuple[tuple[str, str], ...]


def nic_costs(name: str, costs: Costs) -> NicCosts:
    """Everything that was measured, and what was not."""
    return NicCosts(
        name=name,
        plots=tuple(_plots(name, costs)),
        patterns=tuple(_pattern(each) for each in costs.counted),
        figures=tuple(_figures(costs)),
        reasons=tuple(_reasons(costs)),
        facts=tuple(_facts(costs)),
        not_measured=tuple(costs.not_measured.items()),
    )


def _plots(name: str, costs: Costs) -> Iterator[Plot]:
    for key, title, unit, labels in (
        ("counts", "Events per packet", "", COUNTS),
        ("cpu", "CPU time per packet, µs", "µs", CPU_TIMES),
    ):
        wanted = [(count, label) for count, label in labels if _counted(costs, count)]
        if wanted:
            yield Plot(
                key=f"{name}-{key}",
                title=title,
                unit=unit,
                categories=tuple(label for _, label in wanted),
                series=tuple(
                    Series(
                        _pattern(counted),
                        tuple(_bar(counted.counts.get(count)) for count, _ in wanted),
                    )
                    for counted in costs.counted
                ),
            )
    yield from _times(name, costs)


def _times(name: str, costs: Costs) -> Iterator[Plot]:
    if costs.latency:
        seen = costs.latency
        values = (seen.p50_us, seen.p90_us, seen.p99_us, seen.max_us)
        yield _simple(f"{name}-latency", "Round trip, µs", "µs", _QUANTILES, values)
    if costs.zero_loss:
        sizes = tuple(
            f"{each.size} bytes{', at least' * each.tester_limited}" for each in costs.zero_loss
        )
        rates = tuple(each.pps for each in costs.zero_loss)
        yield _simple(f"{name}-loss", "Rate without loss, packets/s", "/s", sizes, rates)
    if costs.tcp:
        ways = (costs.tcp.in_mbit, costs.tcp.out_mbit)
        yield _simple(f"{name}-tcp", "TCP, Mbit/s of payload", "Mbit/s", ("in", "out"), ways)


def _simple(
    key: str, title: str, unit: str, categories: tuple[str, ...], values: tuple[float, ...]
) -> Plot:
    return Plot(key, title, unit, categories, (Series("", tuple(Bar(each) for each in values)),))


def _figures(costs: Costs) -> Iterator[Figure]:
    labels = {**dict(COUNTS), **{count: f"{label}, µs" for count, label in CPU_TIMES}}
    found = dict.fromkeys(count for each in costs.counted for count in each.counts)
    for count in sorted(found, key=list(labels).index if found.keys() <= labels.keys() else None):
        values = tuple(_value(count, each.counts.get(count)) for each in costs.counted)
        yield Figure(labels.get(count, count), values)


def _reasons(costs: Costs) -> Iterator[Reasons]:
    labels = dict(COUNTS)
    for counted in costs.counted:
        for count, parts in counted.reasons.items():
            if parts:
                shown = sorted(parts.items(), key=lambda part: -part[1])
                yield Reasons(
                    f"{labels.get(count, count)}, {_pattern(counted)}",
                    tuple((part, figures(value)) for part, value in shown),
                )


def _facts(costs: Costs) -> Iterator[tuple[str, str]]:
    if costs.host_hops is not None:
        yield "host's devices on the way", str(costs.host_hops)
    if costs.latency:
        seen = costs.latency
        yield "round trips", f"{seen.sent} sent at {seen.rate_pps:.0f}/s, {seen.lost} lost"
    if costs.tcp:
        yield "TCP request and answer", f"{figures(costs.tcp.transactions)}/s"
    if costs.observer is not None:
        yield "observer", f"a round trip takes {costs.observer:.2f} times as long while counted"


def _counted(costs: Costs, count: str) -> bool:
    return any(count in each.counts for each in costs.counted)


def _pattern(counted: Counted) -> str:
    if counted.pattern == "burst":
        return f"bursts of {counted.burst} sent"
    return counted.pattern


def _bar(count: Count | None) -> Bar | None:
    return Bar(count.mean, count.low, count.high) if count else None


def _value(name: str, count: Count | None) -> str:
    """With the sign of chance; times always differ."""
    if count is None:
        return "not counted"
    sign = "" if count.steady or name in dict(CPU_TIMES) else CHANCE
    spread = f" ({figures(count.low)} to {figures(count.high)})"
    return sign + figures(count.mean) + (spread if count.low != count.high else "")
