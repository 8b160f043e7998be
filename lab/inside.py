"""The entry in the lab host: a plan comes in as JSON, events go out as JSON."""

from __future__ import annotations

import json
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lab.events import Alive, Event, Ready
from lab.execute import Pauses, execute
from lab.pci import read_functions
from lab.plan.data import Plan

_FOLDERS = Path("/run")
_ALIVE_SECONDS = 10.0
_CLOCK_SECONDS = 1.0
_CHUNK = 1 << 16


def main(argument: dict[str, Any], emit_raw: Callable[[dict[str, Any], bytes], None]) -> None:
    """Carry out ``argument["plan"]``; ``argument["wall"]`` is the time of day (Unix seconds).

    With ``argument["pause"]`` it rests at the event `Ready` until the argument comes again, as a
    line on the channel: the plan may have changed since in what is to be proved, and this machine
    may be a copy. An empty line asks whether we are there, and `Ready` is the answer. With
    ``argument["keep"]`` all is held before the undo, until a line comes. ``emit_raw`` takes each
    event as JSON data, with its attachment; unless it rests or is held, `Alive` comes every few
    seconds.
    """
    voice = threading.RLock()

    def taken(argument: dict[str, Any]) -> Plan:
        plan = Plan.model_validate(argument["plan"])
        _set_clock(argument["wall"])
        return plan

    def emit(event: Event, attachment: bytes) -> None:
        with voice:
            emit_raw(event.model_dump(mode="json"), attachment)

    def heard() -> bytes:
        with voice:  # nobody listens meanwhile, and what is kept must not speak by itself
            return line()

    def rest() -> Plan:
        with voice:
            emit(Ready(), b"")
            while not (word := heard()):
                emit(Ready(), b"")
        return taken(json.loads(word))

    plan = taken(argument)
    hold = heard if argument.get("keep") else None
    ready = rest if argument.get("pause") else None
    with (
        _every(_ALIVE_SECONDS, lambda: emit(Alive(), b"")),
        tempfile.TemporaryDirectory(prefix="lab-", dir=_FOLDERS) as folder,
    ):
        execute(plan, emit, Path(folder), pauses=Pauses(ready, hold))


@contextmanager
def _every(seconds: float, do: Callable[[], None]) -> Iterator[None]:
    """Do it every so many seconds, in a thread of its own, until the block ends."""
    over = threading.Event()

    def repeat() -> None:
        while not over.wait(seconds):
            do()

    thread = threading.Thread(target=repeat, name="alive")
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def line(descriptors: Path = Path("/proc/self/fd")) -> bytes:
    """A line that the lab has sent (`lab.labhost.channel.Channel.say`). Raises EOFError when the
    lab is gone.

    The lab sends nothing after it until the call has ended. The server, whose child we are, reads
    its port again then.
    """
    port = next(fd for fd in descriptors.iterdir() if os.path.realpath(fd).startswith("/dev/vport"))
    said = b""
    while not said.endswith(b"\n"):
        chunk = os.read(int(port.name), _CHUNK)
        if not chunk:
            raise EOFError("the lab is gone")
        said += chunk
    return said.rstrip(b"\n")


def pci(_argument: dict[str, Any], emit_raw: Callable[[dict[str, Any], bytes], None]) -> None:
    """Tell the lab host's PCI functions (`lab.pci.PciFunction` as JSON data)."""
    emit_raw({"functions": [each.model_dump(mode="json") for each in read_functions()]}, b"")


def _set_clock(wall: float) -> None:
    """A machine restored from a snapshot still has the time of day at which it was saved."""
    if abs(time.time() - wall) > _CLOCK_SECONDS:
        time.clock_settime(time.CLOCK_REALTIME, wall)
