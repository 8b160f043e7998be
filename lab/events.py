"""What a run says while it goes: one stream of events, several renderers.

The side that carries out a plan (in the lab host, or here) emits these as JSON; an artifact's
bytes travel beside its event.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from lab.data import Data
from lab.evidence.whole import Evidence


class Stage(Data):
    """A stage has begun (``seconds`` is None) or ended (``seconds`` it took)."""

    event: Literal["stage"] = "stage"
    name: str
    seconds: float | None = None
    detail: str = ""


class Note(Data):
    """One sentence for the reader; ``warning`` where it deserves attention."""

    event: Literal["note"] = "note"
    text: str
    warning: bool = False


class Artifact(Data):
    """A file for the results folder; its bytes are the event's attachment."""

    event: Literal["artifact"] = "artifact"
    name: str


class Observed(Data):
    """The whole evidence, once, before the undo."""

    event: Literal["observed"] = "observed"
    evidence: Evidence


class Ready(Data):
    """Network, guests and NICs are up. Nothing goes on until the other side says what to do."""

    event: Literal["ready"] = "ready"


class Alive(Data):
    """The lab host still runs; nothing else is said while a step takes long."""

    event: Literal["alive"] = "alive"


class Held(Data):
    """All is still as it was observed, and stays so until the other side says to go on."""

    event: Literal["held"] = "held"


class Undone(Data):
    """The undo has ended; ``left`` names everything that could not be put back."""

    event: Literal["undone"] = "undone"
    left: tuple[str, ...]


class Failed(Data):
    """The run ended with an error; the exit ``status`` says of which class of `lab.errors`."""

    event: Literal["failed"] = "failed"
    status: int
    message: str
    hint: str = ""
    argv: tuple[str, ...] = ()
    returncode: int | None = None
    output: str = ""


Event = Annotated[
    Stage | Note | Artifact | Observed | Ready | Alive | Held | Undone | Failed,
    Field(discriminator="event"),
]
EVENT: TypeAdapter[Event] = TypeAdapter(Event)

Emit = Callable[[Event, bytes], None]
