"""Ratios with their intervals: what is told, and what is left open."""

from __future__ import annotations

from math import gamma, log, pi, sqrt

import pytest

from lab.report.ratio import T975, Noise, count_ratio, noise_of, steps_of, time_ratio
from lab.report.rungs import Comparison, Measure, Rung
from lab.report.verdict import Outcome


def density(t: float, freedom: int) -> float:
    scale = gamma((freedom + 1) / 2) / (sqrt(freedom * pi) * gamma(freedom / 2))
    return scale * float((1 + t * t / freedom) ** (-(freedom + 1) / 2))


@pytest.mark.parametrize("freedom", range(1, len(T975) + 1))
def test_the_table_is_that_of_students_t(freedom: int) -> None:
    """Its distribution function, integrated from 0 by Simpson's rule."""
    steps = 2000
    width = T975[freedom - 1] / steps
    inner = sum((4 if n % 2 else 2) * density(n * width, freedom) for n in range(1, steps))
    area = (density(0, freedom) + inner + density(T975[freedom - 1], freedom)) * width / 3
    assert 0.5 + area == pytest.approx(0.975, abs=3e-5)


@pytest.mark.parametrize(
    ("upper", "lower", "verdict"),
    [
        ((3.0, 3.1, 2.95), (0.0, 0.0, 0.0), Comparison.FEWER),
        ((4.5, 4.51, 4.49), (4.2, 4.21, 4.2), Comparison.FEWER),
        ((0.5, 0.5, 0.5), (0.9, 0.92, 0.91), Comparison.MORE),
        ((0.0, 0.0, 0.0), (0.5, 0.51, 0.5), Comparison.MORE),
        ((0.0, 0.0, 0.0), (0.0, 0.4, 0.0), Comparison.UNCLEAR),
        ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5), Comparison.SAME),
        ((1.0, 1.0, 1.0), (0.99, 0.99, 0.99), Comparison.SAME),
        ((1.0, 1.2, 0.8), (0.9, 1.3, 0.7), Comparison.UNCLEAR),
        ((0.0, 0.001, 0.0), (0.004, 0.0, 0.0), Comparison.NONE),
        ((3.0,), (0.0,), Comparison.UNCLEAR),
        ((3.0, None), (0.0, 0.0), Comparison.UNCLEAR),
        ((3.0, None, 3.0), (0.0, 0.0, 0.0), Comparison.FEWER),
        ((0.0,), (3.0,), Comparison.UNCLEAR),
    ],
)
def test_counts_are_told_apart_only_where_all_rounds_say_so(
    upper: tuple[float | None, ...], lower: tuple[float | None, ...], verdict: Comparison
) -> None:
    assert count_ratio(upper, lower).verdict is verdict


def test_what_is_gone_is_a_ratio_of_0_and_never_below() -> None:
    ratio = count_ratio((3.0, 3.0, 3.0), (0.0, 0.003, 0.0))
    assert ratio.value == pytest.approx(0.0, abs=1e-3)
    assert ratio.low == 0.0


def test_the_interval_of_a_count_is_that_of_its_ratios() -> None:
    """By hand: ratios 0.4, 0.5, 0.6 have mean 0.5 and deviation 0.1."""
    ratio = count_ratio((1.0, 2.0, 10.0), (0.4, 1.0, 6.0))
    assert ratio.value == pytest.approx(0.5)
    assert ratio.high == pytest.approx(0.5 + 4.303 * 0.1 / sqrt(3))


def test_noise_is_what_rung_and_round_do_not_explain() -> None:
    explained = [[1.0, 2.0, 4.0], [3.0, 6.0, 12.0]]
    noise = noise_of(explained)
    assert noise is not None
    assert noise.deviation == pytest.approx(0.0, abs=1e-9)
    assert noise.freedom == 2


def test_noise_by_hand() -> None:
    """Two rungs, two rounds: residuals are a quarter of the interaction, with one freedom."""
    noise = noise_of([[1.0, 1.0], [1.0, 1.21]])
    assert noise is not None
    assert noise.freedom == 1
    assert noise.deviation == pytest.approx(log(1.21) / 2)


@pytest.mark.parametrize("table", [[], [[1.0, 2.0]], [[1.0], [2.0]]], ids=["none", "row", "column"])
def test_one_rung_or_one_round_tells_nothing_of_noise(table: list[list[float]]) -> None:
    assert noise_of(table) is None


@pytest.mark.parametrize(
    ("deviation", "verdict"),
    [(0.01, Comparison.FEWER), (0.5, Comparison.UNCLEAR)],
    ids=["quiet", "noisy"],
)
def test_a_time_is_told_apart_beyond_the_noise_of_all(
    deviation: float, verdict: Comparison
) -> None:
    ratio = time_ratio((1000.0, 1100.0), (800.0, 820.0), Noise(deviation, 12))
    assert ratio.verdict is verdict
    assert ratio.low is not None
    assert ratio.high is not None
    assert ratio.value == pytest.approx(sqrt(ratio.low * ratio.high))


def test_without_noise_known_no_time_is_told_apart() -> None:
    ratio = time_ratio((1000.0,), (10.0,), None)
    assert ratio.value == pytest.approx(0.01)
    assert ratio.low is None
    assert ratio.verdict is Comparison.UNCLEAR


def rung(name: str, above: str | None, **measures: tuple[float | None, ...]) -> Rung:
    return Rung(
        name=name,
        above=above,
        outcome=Outcome.PASS,
        status=0,
        measures={
            key.replace("__", ".").replace("ping_pong", "ping-pong"): Measure(
                rounds=rounds, mean=1.0, low=1.0, high=1.0
            )
            for key, rounds in measures.items()
        },
    )


def test_a_step_compares_what_both_rungs_measured() -> None:
    upper = rung("upper", None, ping_pong__kicks=(1.0, 1.0), time__p50_us=(9.0, 9.0))
    lower = rung("lower", "upper", ping_pong__kicks=(0.5, 0.5), burst__kicks=(1.0, 1.0))
    (step,) = steps_of((upper, lower))
    assert (step.upper, step.lower) == ("upper", "lower")
    assert set(step.ratios) == {"ping-pong.kicks"}


def test_times_use_the_noise_of_all_rungs_and_only_complete_rounds() -> None:
    """The third rung wanders: what would be sure between the first two is not any more."""
    calm = rung("a", None, time__p50_us=(1000.0, 1000.0, 1000.0))
    faster = rung("b", "a", time__p50_us=(900.0, 900.0, None))
    wild = rung("c", "b", time__p50_us=(100.0, 900.0, 300.0))
    verdicts = [
        step.ratios["time.p50_us"].verdict
        for rungs in ((calm, faster), (calm, faster, wild))
        for step in steps_of(rungs)[:1]
    ]
    assert verdicts == [Comparison.FEWER, Comparison.UNCLEAR]


def test_cpu_time_that_one_rung_has_none_of_is_compared_as_a_count_is() -> None:
    upper = rung("upper", None, ping_pong__cpu_vhost_us=(0.0, 0.0, 0.0))
    lower = rung("lower", "upper", ping_pong__cpu_vhost_us=(9.0, 9.1, 9.0))
    (step,) = steps_of((upper, lower))
    assert step.ratios["ping-pong.cpu_vhost_us"].verdict is Comparison.MORE
