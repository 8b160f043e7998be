"""Several topologies, each run as ``lab run`` runs it, some of them at the same time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import ConfigDict, Field

from lab.data import Data
from lab.errors import LabError
from lab.labhost.accelerator import Choice
from lab.model.load import load_topology
from lab.plan.data import Place
from lab.report.result import Result
from lab.report.verdict import Outcome
from lab.runs import Run, named, run_all


class Batch(Data):
    """All results, in the order asked for. ``status`` is the worst of theirs."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    version: Literal[1] = Field(default=1, alias="schema")
    outcome: Outcome
    status: int
    seconds: float
    results: tuple[Result, ...]

    def document(self) -> str:
        """The JSON text."""
        return self.model_dump_json(by_alias=True, indent=2)


@dataclass(frozen=True)
class BatchRequest:
    """What is to be run; ``jobs`` at a time, results in folders below ``out``."""

    topologies: tuple[str, ...]
    out: Path
    place: Place = Place.LABHOST
    accelerator: Choice = Choice.AUTO
    jobs: int = 2
    fresh: bool = False


def run_batch(
    request: BatchRequest, started: Callable[[str], None], ended: Callable[[str, Result], None]
) -> list[Result]:
    """Run them all, a failure stops nothing.

    Both callbacks come from other threads, with the topology as it was asked for. After
    KeyboardInterrupt every run has ended and put back what it had changed.
    """
    folders = {topology: name for name, topology in named(request.topologies).items()}
    runs = [_run(request, each, folders[each]) for each in _longest_first(request.topologies)]
    results = run_all(
        runs,
        request.jobs,
        lambda run: started(run.topology),
        lambda run, result: ended(run.topology, result),
    )
    found = {run.topology: result for run, result in zip(runs, results, strict=True)}
    return [found[name] for name in request.topologies]


def batch_of(results: Sequence[Result], seconds: float) -> Batch:
    """The results as one document."""
    return Batch(
        outcome=max((result.outcome for result in results), default=Outcome.ERROR),
        status=max((result.status for result in results), default=1),
        seconds=round(seconds, 3),
        results=tuple(results),
    )


def _longest_first(topologies: tuple[str, ...]) -> list[str]:
    """Guests boot one after the other: who has more of them takes longer."""

    def guests(name: str) -> int:
        try:
            return len(load_topology(name, {}).guests)
        except LabError:
            return 0  # its run tells what is wrong

    return sorted(topologies, key=guests, reverse=True)


def _run(request: BatchRequest, topology: str, folder: str) -> Run:
    place = ("--on", request.place.value, "--accel", request.accelerator.value)
    fresh = ("--fresh",) if request.fresh else ()
    return Run(topology, request.place, request.out / folder, (*place, *fresh))
