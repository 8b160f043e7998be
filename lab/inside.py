"""The entry in the lab host: a plan comes in as JSON, events go out as JSON."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lab.events import Event
from lab.execute import execute
from lab.pci import read_functions
from lab.plan.data import Plan

_CLOCK_SECONDS = 1.0


def main(argument: dict[str, Any], emit_raw: Callable[[dict[str, Any], bytes], None]) -> None:
    """Carry out ``argument["plan"]``; ``argument["wall"]`` is the time of day (Unix seconds).

    ``emit_raw`` takes each event as JSON data, with its attachment.
    """
    plan = Plan.model_validate(argument["plan"])
    _set_clock(argument["wall"])

    def emit(event: Event, attachment: bytes) -> None:
        emit_raw(event.model_dump(mode="json"), attachment)

    with tempfile.TemporaryDirectory(prefix="lab-", dir="/run") as folder:
        execute(plan, emit, Path(folder))


def pci(_argument: dict[str, Any], emit_raw: Callable[[dict[str, Any], bytes], None]) -> None:
    """Tell the lab host's PCI functions (`lab.pci.PciFunction` as JSON data)."""
    emit_raw({"functions": [each.model_dump(mode="json") for each in read_functions()]}, b"")


def _set_clock(wall: float) -> None:
    """A machine restored from a snapshot still has the time of day at which it was saved."""
    if abs(time.time() - wall) > _CLOCK_SECONDS:
        time.clock_settime(time.CLOCK_REALTIME, wall)
