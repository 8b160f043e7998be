"""Several topologies, each run as ``lab run`` runs it, some of them at the same time.

Every run is a process with a lab host of its own: restoring one costs half a second, sharing one
would let a run that fails disturb the next. A guest boots on one core, so two lab hosts side by
side use two.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import ConfigDict, Field, ValidationError

from lab.data import Data
from lab.errors import LabError, StartError
from lab.labhost.accelerator import Choice
from lab.labhost.process import guarded
from lab.model.load import load_topology
from lab.paths import python_path
from lab.plan.data import Place
from lab.report.result import Result, failed_result
from lab.report.verdict import Outcome
from lab.results import fresh_folder

Told = Callable[[Result], None]


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
    place: Place = Place.LABHOST
    accelerator: Choice = Choice.AUTO
    jobs: int = 2
    out: Path | None = None


def run_batch(request: BatchRequest, started: Callable[[str], None], ended: Told) -> list[Result]:
    """Run them all, a failure stops nothing; both callbacks come from other threads.

    After KeyboardInterrupt every run has ended and put back what it had changed.
    """
    out = request.out or fresh_folder("all")
    runs = _Runs()

    def one(topology: str) -> Result:
        started(topology)
        result = _result(topology, request.place, runs, _argv(request, topology, out))
        ended(result)
        return result

    with runs.ended(), ThreadPoolExecutor(request.jobs, "run") as workers:
        futures = {workers.submit(one, name): name for name in _longest_first(request.topologies)}
        try:
            found = _collected(futures)
        except BaseException:
            workers.shutdown(wait=False, cancel_futures=True)
            runs.stop()
            raise
    return [found[name] for name in request.topologies]


def batch_of(results: Sequence[Result], seconds: float) -> Batch:
    """The results as one document."""
    return Batch(
        outcome=max((result.outcome for result in results), default=Outcome.ERROR),
        status=max((result.status for result in results), default=1),
        seconds=round(seconds, 3),
        results=tuple(results),
    )


def _collected(futures: dict[Future[Result], str]) -> dict[str, Result]:
    return {futures[future]: future.result() for future in as_completed(futures)}


def _longest_first(topologies: tuple[str, ...]) -> list[str]:
    """Guests boot one after the other: who has more of them takes longer."""

    def guests(name: str) -> int:
        try:
            return len(load_topology(name, {}).guests)
        except LabError:
            return 0  # its run tells what is wrong

    return sorted(topologies, key=guests, reverse=True)


class _Runs:
    """The processes that run now."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._alive: set[subprocess.Popen[str]] = set()
        self._stopped = False

    @contextmanager
    def ended(self) -> Iterator[None]:
        """None of them outlives the block."""
        try:
            yield
        finally:
            self.stop()

    def run(self, argv: tuple[str, ...]) -> tuple[int, str, str]:
        """Exit status, standard output and error of a program. It ends with this thread."""
        with self._lock:
            if self._stopped:
                return 130, "", ""
            process = subprocess.Popen(
                guarded(argv, "TERM"),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env={**os.environ, "PYTHONPATH": python_path()},
                start_new_session=True,
            )
            self._alive.add(process)
        try:
            out, err = process.communicate()
        finally:
            with self._lock:
                self._alive.discard(process)
        return process.returncode, out, err

    def stop(self) -> None:
        """Interrupt all of them, as Ctrl-C does; whoever started them waits for their end."""
        with self._lock:
            self._stopped = True
            for process in self._alive:
                process.terminate()


def _argv(request: BatchRequest, topology: str, out: Path) -> tuple[str, ...]:
    return (
        *(sys.executable, "-m", "lab", "run", topology, "--json"),
        *("--on", request.place.value, "--accel", request.accelerator.value),
        *("--out", str(out / Path(topology).stem)),
    )


def _result(topology: str, place: Place, runs: _Runs, argv: tuple[str, ...]) -> Result:
    status, out, err = runs.run(argv)
    try:
        return Result.model_validate_json(out)
    except ValidationError:
        error = StartError(
            f"the run of {topology} ended with status {status} and no result",
            argv=argv,
            returncode=status,
            output=err,
        )
        return failed_result(topology, place, error)
