"""The entry in the lab host: a plan comes in as JSON, events go out as JSON."""

from __future__ import annotations

import os
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

    With ``argument["keep"]`` all is held before the undo, until a line comes on the channel.
    ``emit_raw`` takes each event as JSON data, with its attachment.
    """
    plan = Plan.model_validate(argument["plan"])
    _set_clock(argument["wall"])

    def emit(event: Event, attachment: bytes) -> None:
        emit_raw(event.model_dump(mode="json"), attachment)

    hold = wait_for_word if argument.get("keep") else None
    with tempfile.TemporaryDirectory(prefix="lab-", dir="/run") as folder:
        execute(plan, emit, Path(folder), hold=hold)


def wait_for_word(descriptors: Path = Path("/proc/self/fd")) -> None:
    """Return when the lab has sent a line (`lab.labhost.channel.Channel.say`), or is gone.

    The server, whose child we are, reads its port again when we have ended.
    """
    port = next(fd for fd in descriptors.iterdir() if os.path.realpath(fd).startswith("/dev/vport"))
    while os.read(int(port.name), 1) not in {b"\n", b""}:
        pass


def pci(_argument: dict[str, Any], emit_raw: Callable[[dict[str, Any], bytes], None]) -> None:
    """Tell the lab host's PCI functions (`lab.pci.PciFunction` as JSON data)."""
    emit_raw({"functions": [each.model_dump(mode="json") for each in read_functions()]}, b"")


def _set_clock(wall: float) -> None:
    """A machine restored from a snapshot still has the time of day at which it was saved."""
    if abs(time.time() - wall) > _CLOCK_SECONDS:
        time.clock_settime(time.CLOCK_REALTIME, wall)
