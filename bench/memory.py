"""What a guest and a lab host take of this machine's memory."""

from __future__ import annotations

from collections.abc import Iterator

from bench.figures import Row, row
from bench.places import here, images, resident_bytes, silent, started
from lab.labhost.accelerator import Choice
from lab.labhost.labhost import open_labhost
from lab.rundir import open_rundir

TITLE = "memory (Pss), as soon as it answers"
TIMES = 3
_MIB = 1 << 20


def run() -> Iterator[Row]:
    """Mebibytes of a guest on this machine, and of a lab host out of its snapshot."""
    yield row("one guest of 192 MiB", "MiB", [_guest() / _MIB for _ in range(TIMES)])
    yield row("one lab host of 2048 MiB", "MiB", [_labhost() / _MIB for _ in range(TIMES)])


def _guest() -> int:
    with open_rundir() as rundir, started(here(rundir), rundir) as guest:
        guest.wait_ready()
        return resident_bytes(guest.pid)


def _labhost() -> int:
    with open_rundir() as rundir, open_labhost(images(), Choice.AUTO, rundir, silent) as labhost:
        return resident_bytes(labhost.pid)
