"""The ladder: every layer run in turn, several times over, and what that says side by side.

Rounds are interleaved (A B C, A B C): a machine that becomes slower meanwhile does so for all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pydantic import ValidationError

from lab import machine
from lab.artifacts import EVIDENCE_FILE
from lab.evidence.whole import Evidence
from lab.labhost.accelerator import Choice
from lab.plan.data import CostLevel, Place
from lab.report import measured
from lab.report.promises import flags, kept
from lab.report.ratio import steps_of
from lab.report.result import Result, Versions
from lab.report.rungs import Kept, Ladder, Rung
from lab.report.verdict import Outcome
from lab.runs import Run, named, run_all

# Each layer and the one that it takes something away from, or that it spreads.
_ABOVE = {
    "e1000": None,
    "virtio": "e1000",
    "vhost": "virtio",
    "macvtap": "vhost",
    "passthrough": "macvtap",
    "sriov": "passthrough",
    "multiqueue": "vhost",
}
LAYERS = tuple(_ABOVE)
"""The whole ladder, from the top."""

# One guest everywhere: like is compared with like.
_SETTINGS = {"macvtap": ("guests=1",), "sriov": ("guests=1",)}


@dataclass(frozen=True)
class LadderRequest:
    """What is to be climbed: names or files, ``rounds`` times, ``jobs`` runs at a time.

    The results of the runs go to folders below ``out``.
    """

    out: Path
    topologies: tuple[str, ...] = LAYERS
    rounds: int = 2
    jobs: int = 1
    costs: CostLevel = CostLevel.TCP
    place: Place = Place.LABHOST
    accelerator: Choice = Choice.AUTO
    fresh: bool = False


@dataclass(frozen=True)
class Climbed:
    """One run of the ladder as it went: ``round`` counts from 1."""

    name: str
    round: int
    run: Run


def climb(
    request: LadderRequest,
    started: Callable[[Climbed], None],
    ended: Callable[[Climbed, Result], None],
) -> dict[str, list[measured.Run]]:
    """Make all runs; what each measured, by the name of its rung and in the order of the rounds.

    A run that fails stops nothing. Both callbacks come from other threads.
    """
    steps = {each.run: each for each in plan_of(request)}
    results = run_all(
        tuple(steps),
        request.jobs,
        lambda run: started(steps[run]),
        lambda run, result: ended(steps[run], result),
    )
    found: dict[str, list[measured.Run]] = {}
    for each, result in zip(steps.values(), results, strict=True):
        found.setdefault(each.name, []).append(_measured(result, each.run.out))
    return found


def plan_of(request: LadderRequest) -> tuple[Climbed, ...]:
    """All runs in the order in which they begin. Raises UsageError for two rungs of one name."""
    return tuple(
        Climbed(name, number, _run(request, name, topology, number))
        for number in range(1, request.rounds + 1)
        for name, topology in named(request.topologies).items()
    )


def above(names: Sequence[str]) -> dict[str, str | None]:
    """What each rung is compared with: the next layer above that is there, or the one before."""
    before = dict(zip(names, (None, *names), strict=False))
    return {name: _climbed_above(name, names) if name in _ABOVE else before[name] for name in names}


def ladder_of(
    runs: Mapping[str, Sequence[measured.Run]], request: LadderRequest, seconds: float
) -> Ladder:
    """The whole document."""
    uppers = above(tuple(runs))
    rungs = tuple(measured.rung_of(name, each, uppers[name]) for name, each in runs.items())
    promises = kept(rungs)
    return Ladder(
        outcome=_outcome(rungs, promises),
        status=max([*(rung.status for rung in rungs), *(_status(each) for each in promises)]),
        date=datetime.now().astimezone().isoformat(timespec="seconds"),
        cpu=machine.cpu(),
        seconds=round(seconds, 3),
        rounds=request.rounds,
        jobs=request.jobs,
        place=request.place,
        versions=_versions(runs),
        rungs=rungs,
        steps=steps_of(rungs),
        promises=promises,
        flags=flags(rungs),
    )


def _outcome(rungs: Sequence[Rung], promises: Sequence[Kept]) -> Outcome:
    """The worst; what cannot be proved here does not count beside what could."""
    outcomes = {rung.outcome for rung in rungs} | {each.outcome for each in promises}
    if Outcome.PASS in outcomes:
        outcomes.discard(Outcome.SKIP)
    return max(outcomes)


def _status(promise: Kept) -> int:
    return 0 if promise.outcome.green else 1


def _versions(runs: Mapping[str, Sequence[measured.Run]]) -> Versions:
    """Those of the first run that came so far as to know them."""
    known = (run.result.versions for each in runs.values() for run in each)
    return next((versions for versions in known if versions != Versions()), Versions())


def _climbed_above(name: str, names: Sequence[str]) -> str | None:
    upper = _ABOVE[name]
    while upper is not None and upper not in names:
        upper = _ABOVE[upper]
    return upper


def _run(request: LadderRequest, name: str, topology: str, number: int) -> Run:
    # A user's own file has the parameters that it has.
    settings = tuple(word for each in _SETTINGS.get(topology, ()) for word in ("--set", each))
    place = ("--on", request.place.value, "--accel", request.accelerator.value)
    costs = ("--costs", request.costs.value)
    fresh = ("--fresh",) if request.fresh else ()
    out = request.out / f"{number}-{name}"
    return Run(topology, request.place, out, (*place, *costs, *settings, *fresh))


def _measured(result: Result, folder: Path) -> measured.Run:
    """A result with the evidence that its run wrote, and where; one that failed early has none."""
    path = result.artifacts.get(EVIDENCE_FILE)
    try:
        evidence = Evidence.model_validate_json(Path(path).read_bytes()) if path else None
    except (OSError, ValidationError):
        evidence = None
    return measured.Run(result, evidence, str(folder.absolute()))
