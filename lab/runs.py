"""Several runs, each a process as ``lab run`` is one, some of them at the same time.

Every run has a lab host of its own: restoring one costs half a second, sharing one would let a run
that fails disturb the next. A guest boots on one core, so two lab hosts side by side use two.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from lab.errors import StartError, UsageError
from lab.labhost.process import guarded
from lab.model.load import read_source
from lab.paths import python_path
from lab.plan.data import Place
from lab.report.result import Result, failed_result


@dataclass(frozen=True)
class Run:
    """One run to be made: ``options`` are those of ``lab run``, ``out`` is where its results go."""

    topology: str
    place: Place
    out: Path
    options: tuple[str, ...] = ()

    @property
    def argv(self) -> tuple[str, ...]:
        """The command line."""
        program = (sys.executable, "-P", "-m", "lab", "run", self.topology, "--json")
        return (*program, "--out", str(self.out), *self.options)


def named(topologies: Sequence[str]) -> dict[str, str]:
    """Names or files by the names of their results' folders.

    Raises UsageError where two would have one folder.
    """
    found: dict[str, str] = {}
    for topology in topologies:
        name = _name(topology, topologies)
        if name in found:
            raise UsageError(
                f"the results of {found[name]} and {topology} would have one name: {name}",
                hint="rename one of the files, or leave it out",
            )
        found[name] = topology
    return found


def check(topologies: Sequence[str]) -> None:
    """What can be refused before the first run. Raises UsageError, TopologyError.

    A mistake in a file is told by its run.
    """
    named(topologies)
    for topology in topologies:
        if os.sep in topology and Path(topology).is_fifo():
            raise UsageError(
                f"{topology} can be read only once, and every run reads it",
                hint="write it to a file, or use `lab run`",
            )
        read_source(topology)


def run_all(
    runs: Sequence[Run],
    jobs: int,
    started: Callable[[Run], None],
    ended: Callable[[Run, Result], None],
) -> list[Result]:
    """Make them all in their order, ``jobs`` at a time; a failure stops nothing.

    Both callbacks come from other threads. After KeyboardInterrupt every run has ended and put back
    what it had changed.
    """
    processes = _Processes()

    def one(run: Run) -> Result:
        started(run)
        result = _result(run, processes)
        ended(run, result)
        return result

    with processes.ended(), ThreadPoolExecutor(jobs, "run") as workers:
        futures = [workers.submit(one, run) for run in runs]
        try:
            return [future.result() for future in futures]
        except BaseException:
            workers.shutdown(wait=False, cancel_futures=True)
            processes.stop()
            raise


class _Processes:
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


def _name(topology: str, others: Sequence[str]) -> str:
    """A file takes the place of what comes with the lab, unless that was asked for as well."""
    file = Path(topology)
    return file.name if topology != file.stem and file.stem in others else file.stem


def _result(run: Run, processes: _Processes) -> Result:
    status, out, err = processes.run(run.argv)
    try:
        return Result.model_validate_json(out)
    except ValidationError:
        error = StartError(
            f"the run of {run.topology} ended with status {status} and no result",
            argv=run.argv,
            returncode=status,
            output=err,
        )
        return failed_result(run.topology, run.place, error)
