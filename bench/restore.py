"""How long a lab host takes from its snapshot to its first answer."""

from __future__ import annotations

import time
from collections.abc import Iterator

from bench.figures import Row, row
from bench.places import images, silent
from lab.errors import StartError
from lab.labhost.accelerator import Choice
from lab.labhost.labhost import Labhost, open_labhost
from lab.rundir import open_rundir

TITLE = "a lab host out of its snapshot"
TIMES = 10


def run() -> Iterator[Row]:
    """Seconds of each part, and all of it; the first one may have to boot and does not count."""
    _restore()
    found = [_restore() for _ in range(TIMES)]
    for _, labhost in found:
        if not labhost.restored:
            raise StartError("a lab host booted although it has a snapshot")
    for part in ("start", "restore", "hello"):
        yield row(part, "s", [labhost.timings[part] for _, labhost in found])
    yield row("all, decisions included", "s", [seconds for seconds, _ in found])


def _restore() -> tuple[float, Labhost]:
    with open_rundir() as rundir:
        began = time.monotonic()
        with open_labhost(images(), Choice.AUTO, rundir, silent) as labhost:
            return time.monotonic() - began, labhost
