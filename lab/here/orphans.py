"""What killed runs leave in this machine's kernel, besides ports (`lab.host.lend`)."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from lab.errors import CannotError
from lab.host.host import open_host
from lab.plan.data import Place
from lab.probe.trace import sweep


def sweep_traces() -> int:
    """Remove the tracing instances of processes that were killed; how many there were."""
    # In a thread of its own: where no tracefs is mounted it is mounted for nobody else to see.
    with ThreadPoolExecutor(1) as worker:
        return worker.submit(_swept).result()


def _swept() -> int:
    with suppress(CannotError), open_host(Place.HERE):  # a kernel that cannot trace keeps none
        return len(sweep())
    return 0
