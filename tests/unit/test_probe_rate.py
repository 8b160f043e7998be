"""The search for the highest rate without loss, and what iperf3 says."""

from __future__ import annotations

import pytest

from lab.errors import CannotError
from lab.evidence.costs import Trial
from lab.probe.echoes import Flood
from lab.probe.rate import good, search, trial_of
from lab.probe.tcp import bits_per_second


def path(limit: float, tester: float = 10_000) -> list[Trial]:
    """All trials on a path that loses what comes faster than ``limit``."""

    def attempt(pps: float) -> Trial:
        lost = round(max(pps - limit, 0) / 10)
        return Trial(size=64, pps=pps, sent=100, lost=lost, reached=pps <= tester)

    return list(search(attempt, 8000))


@pytest.mark.parametrize("limit", [300, 1234, 5000, 7900])
def test_the_search_ends_near_the_limit_and_below_it(limit: float) -> None:
    found = [trial.pps for trial in path(limit) if good(trial)]
    assert limit / 1.2 <= max(found) <= limit


def test_the_answer_is_tried_again() -> None:
    trials = path(1234)
    assert trials[-1].pps == max(trial.pps for trial in trials if good(trial))
    assert sum(trial.pps == trials[-1].pps for trial in trials) == 2


def test_a_rate_that_loses_when_tried_again_is_given_up() -> None:
    tried: list[float] = []

    def attempt(pps: float) -> Trial:
        tried.append(pps)
        lost = int(pps > 3000 or (pps > 2000 and tried.count(pps) > 1))
        return Trial(size=64, pps=pps, sent=100, lost=lost, reached=True)

    trials = list(search(attempt, 8000))
    assert good(trials[-1])
    assert 1500 < trials[-1].pps <= 2500


def test_a_path_that_loses_nothing_is_tried_at_the_testers_own_rate() -> None:
    trials = path(1e9)
    assert {trial.pps for trial in trials} == {8000}


def test_a_rate_that_the_tester_cannot_reach_is_no_answer() -> None:
    found = [trial.pps for trial in path(1e9, tester=2100) if good(trial)]
    assert 1800 <= max(found) <= 2100


def test_a_path_that_loses_everything_has_no_answer() -> None:
    trials = path(0)
    assert not any(good(trial) for trial in trials)


@pytest.mark.parametrize(
    ("flood", "found"),
    [
        (Flood(answered=100, refused=0, seconds=0.1), (100, 0, True)),
        (Flood(answered=93, refused=0, seconds=0.1), (100, 7, True)),
        (Flood(answered=93, refused=0, seconds=0.2), (100, 7, False)),
        (Flood(answered=90, refused=10, seconds=0.1), (90, 0, False)),
        (Flood(answered=88, refused=10, seconds=0.1), (90, 2, False)),
    ],
    ids=["whole", "lost", "lost, too slow", "refused", "refused and lost"],
)
def test_what_never_left_the_tester_was_not_lost(
    flood: Flood, found: tuple[int, int, bool]
) -> None:
    trial = trial_of(flood, 100, 64, 1000.0)
    assert (trial.sent, trial.lost, trial.reached) == found


def test_what_iperf3_says() -> None:
    assert bits_per_second('{"end": {"sum_received": {"bits_per_second": 5.5e6}}}') == 5.5e6
    for said, words in (
        ('{"start": {}, "error": "unable to connect"}', "unable to connect"),
        ("", "no report"),
        ('{"end": {}}', "no figure"),
    ):
        with pytest.raises(CannotError, match=words):
            bits_per_second(said)
