"""The process that carries out a plan on this machine: ``python -m lab.here.worker FD``.

It speaks the frames of `lab.labhost.frames` on the inherited socket FD and serves one call. It is a
process of its own because its namespaces vanish with it, whichever way it ends. Plans are carried
out on its main thread: the guests die with that thread.
"""

from __future__ import annotations

import signal
import socket
import sys
import traceback
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any, BinaryIO

from lab.events import Event
from lab.execute import execute
from lab.labhost.frames import Message, read_frame, write_frame
from lab.plan.data import Plan


def main() -> None:
    """Serve one call; SIGTERM ends it early, with everything undone."""
    signal.signal(signal.SIGTERM, _interrupt)
    sock = socket.socket(fileno=int(sys.argv[1]))
    with sock, sock.makefile("rb") as reader, sock.makefile("wb") as writer:
        try:
            message, _ = read_frame(reader)
            Teller(writer, message).end(_call(message, writer))
        except (EOFError, KeyboardInterrupt):
            return  # whoever asked has gone


class Teller:
    """Sends what a call has to say, for as long as there is somebody to hear it."""

    def __init__(self, writer: BinaryIO, call: Message) -> None:
        self._writer = writer
        self._id = call["id"]

    def event(self, event: Event, attachment: bytes) -> None:
        """One event of the run."""
        self._tell({"kind": "event", "event": event.model_dump(mode="json")}, attachment)

    def end(self, error: str) -> None:
        """The call is over; ``error`` is a traceback, or empty."""
        self._tell({"kind": "end", "status": int(bool(error)), "error": error})

    def _tell(self, message: dict[str, Any], attachment: bytes = b"") -> None:
        # Where the lab was interrupted, the undo goes on unheard.
        with suppress(BrokenPipeError, ConnectionResetError):
            write_frame(self._writer, {**message, "id": self._id}, attachment)


def _call(message: Message, writer: BinaryIO) -> str:
    """Carry the plan out; the traceback of what should not have happened, or nothing."""
    argument = message["argument"]
    plan = Plan.model_validate(argument["plan"])
    kept = {where: Path(file) for where, file in argument["namespaces"].items()}
    try:
        execute(plan, Teller(writer, message).event, Path(argument["folder"]), kept)
    except Exception:  # noqa: BLE001 - whatever it was, the caller is told
        return traceback.format_exc()
    return ""


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
