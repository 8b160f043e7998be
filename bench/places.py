"""What the benchmarks run on: images, a guest of this machine, the lab's own command line."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from lab.errors import StartError
from lab.events import Event
from lab.guest.qemu import Guest, start
from lab.here.place import final_facts, first_facts
from lab.here.ports import Ports
from lab.host.host import Host
from lab.images import cache as image_cache
from lab.images.build import ensure
from lab.images.progress import Silent
from lab.labhost.accelerator import Choice
from lab.labhost.setup import Images
from lab.model.load import load_topology
from lab.plan.build import build
from lab.plan.data import Facts, GuestPlan
from lab.report.result import Result

_RUN_SECONDS = 600.0


class OwnHost(Host):
    """This machine as it is, for a guest that needs neither namespace nor device."""

    def __init__(self) -> None:
        """Nothing is opened."""

    def inside(self, _where: str) -> AbstractContextManager[None]:
        """Everything is where we are."""
        return nullcontext()


@dataclass(frozen=True)
class Here:
    """A guest of this machine, planned: what the lab starts, and what a hand would."""

    plan: GuestPlan
    facts: Facts


@cache
def images() -> Images:
    """The images, built if need be."""
    return Images(
        labhost=ensure("labhost", Silent()),
        guest=ensure("guest", Silent()),
        cache=image_cache.default().top,
    )


def here(rundir: Path) -> Here:
    """The guest of topology virtio, its tap replaced by QEMU's own network: it needs no root."""
    facts = final_facts(first_facts(Ports()), images(), Choice.AUTO, rundir, silent)
    guest = build(load_topology("virtio", {}), facts).guests[0]
    argv = tuple(_untapped(word) for word in guest.argv)
    return Here(guest.model_copy(update={"argv": argv, "fds": ()}), facts)


@contextmanager
def started(where: Here, folder: Path) -> Iterator[Guest]:
    """A guest as the lab starts it; it answers on QMP and boots."""
    with start(where.plan, where.facts, folder, OwnHost(), _complain) as guest:
        yield guest


def lab_run(topology: str, out: Path, *options: str) -> Result:
    """``lab run`` as a user calls it. Raises StartError where it does not pass."""
    program = [sys.executable, "-P", "-m", "lab"]
    argv = [*program, "run", topology, "--json", "--out", str(out), *options]
    done = subprocess.run(argv, capture_output=True, timeout=_RUN_SECONDS, check=False)
    if done.returncode:
        raise StartError(
            f"lab run {topology} ended with status {done.returncode}",
            argv=tuple(argv),
            returncode=done.returncode,
            output=done.stderr.decode(errors="replace"),
        )
    return Result.model_validate_json(done.stdout)


def resident_bytes(pid: int) -> int:
    """Memory of a process, what it shares counted by share (Pss, proc_pid_smaps(5))."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    words = next(line for line in lines if line.startswith("Pss:")).split()
    return int(words[1]) * 1024


def silent(_event: Event, _attachment: bytes) -> None:
    """Nobody listens."""


def _complain(text: str) -> None:
    print(text, file=sys.stderr)


def _untapped(word: str) -> str:
    """``-netdev tap,id=X,...`` as ``-netdev user,id=X``."""
    if not word.startswith("tap,id="):
        return word
    return f"user,{word.split(',')[1]}"
