"""The highest rate without loss (RFC 2544, section 26.1), by echoes: the same frames come back.

Trials are much shorter than the RFC's sixty seconds. What is found is a rate of this path under
this accelerator and nothing else; where the tester itself cannot send faster, it says so.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator

from lab.evidence.costs import Trial
from lab.probe.echoes import Echoes, Flood

SIZES = (64, 512, 1518)
"""Lengths of frames with their FCS, as RFC 2544 has them."""
_FCS = 4

_TRIAL_SECONDS = 0.25
_FEWEST, _MOST = 100, 1000
_NEAR = 1.08
"""Rates this far apart are the same."""
_LATE = 1.15
"""A trial that took this much longer was not at its rate."""
_LOWER = 0.8
_STEPS = 7

Attempt = Callable[[float], Trial]


def zero_loss_trials(sock: socket.socket) -> tuple[Trial, ...]:
    """All trials of all sizes, in order, on a socket of `open_icmp`."""
    return tuple(trial for size in SIZES for trial in _of_size(Echoes(sock, size - _FCS), size))


def search(attempt: Attempt, highest: float) -> Iterator[Trial]:
    """Trials by bisection, from a rate that is as high as it goes.

    The rate that was found is tried once more, and lower ones if that loses: the last trial is the
    answer, if it is good.
    """
    low, high, rate = 0.0, highest, highest
    for _ in range(_STEPS):
        trial = attempt(rate)
        yield trial
        if good(trial):
            low = rate
        else:
            high = rate
        if low and high / low < _NEAR:
            break
        rate = (low + high) / 2
    for rate in (low * _LOWER**step for step in range(_STEPS if low else 0)):
        trial = attempt(rate)
        yield trial
        if good(trial):
            return


def good(trial: Trial) -> bool:
    """Whether it was at its rate and nothing was lost."""
    return trial.reached and not trial.lost


def trial_of(flood: Flood, number: int, size: int, pps: float) -> Trial:
    """What became of ``number`` echoes; those that never left the tester were not lost."""
    sent = number - flood.refused
    reached = not flood.refused and flood.seconds <= _LATE * number / pps
    return Trial(size=size, pps=pps, sent=sent, lost=sent - flood.answered, reached=reached)


def _of_size(echoes: Echoes, size: int) -> Iterator[Trial]:
    def attempt(pps: float) -> Trial:
        number = round(min(max(pps * _TRIAL_SECONDS, _FEWEST), _MOST))
        return trial_of(echoes.flood(number, round(1e9 / pps)), number, size, pps)

    # Without a pause: the tester's own limit.
    fastest = echoes.flood(_FEWEST, 0)
    yield from search(attempt, _FEWEST / fastest.seconds)
