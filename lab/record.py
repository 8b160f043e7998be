"""The record of a run: every event, told to the listener and kept for the verdict."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Protocol

from lab.artifacts import EVIDENCE_FILE
from lab.errors import (
    CannotError,
    InterruptedRunError,
    LabError,
    LeftBehindError,
    StartError,
    UsageError,
)
from lab.events import Artifact, Event, Failed, Held, Observed, Stage, Undone
from lab.evidence.whole import Evidence
from lab.images.progress import Progress
from lab.results import ResultsFolder

_BY_STATUS: dict[int, type[LabError]] = {
    kind.status: kind
    for kind in (UsageError, CannotError, StartError, LeftBehindError, InterruptedRunError)
}


class Listener(Progress, Protocol):
    """Whoever shows a run while it goes; ``stage`` and ``bytes`` come from image builds."""

    def event(self, event: Event) -> None:
        """One event of the run."""


class Record:
    """What has happened so far."""

    def __init__(self, listener: Listener) -> None:
        self.listener = listener
        self.timings: dict[str, float] = {}
        self.evidence: Evidence | None = None
        self.left: tuple[str, ...] | None = None
        self.date = datetime.now().astimezone().isoformat(timespec="seconds")
        self._failed: Failed | None = None
        self._open: list[str] = []
        self._began = time.monotonic()

    @property
    def where(self) -> str:
        """The innermost stage that has begun and not ended."""
        return self._open[-1] if self._open else "planning"

    @property
    def seconds(self) -> float:
        """How long the run has lasted."""
        return time.monotonic() - self._began

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """A stage of our own. One that raises never ends, so that `where` can say its name."""
        began = time.monotonic()
        self.emit(Stage(name=name))
        yield
        self.emit(Stage(name=name, seconds=time.monotonic() - began))

    def emit(self, event: Event, _attachment: bytes = b"") -> None:
        """Take an event, tell the listener."""
        if isinstance(event, Stage):
            self._note_stage(event)
        elif isinstance(event, Observed):
            self.evidence = event.evidence
        elif isinstance(event, Undone):
            self.left = event.left
        elif isinstance(event, Failed):
            self._failed = event
        self.listener.event(event)

    def follow(
        self,
        stream: Iterable[tuple[Event, bytes]],
        folder: ResultsFolder,
        held: Callable[[], None] | None = None,
    ) -> Evidence:
        """Take all events of a carried plan; artifacts go into ``folder`` as they come.

        ``held`` is called while all is held for a look. Raises the error that the run reports, or
        StartError when it ends without evidence.
        """
        for event, attachment in stream:
            if isinstance(event, Artifact):
                folder.write(event.name, attachment)
            elif isinstance(event, Observed):
                folder.write(EVIDENCE_FILE, event.evidence.model_dump_json(indent=1).encode())
            self.emit(event)
            if held and isinstance(event, Held):
                held()
        if self._failed:
            raise error_of(self._failed, self.left or ())
        if self.evidence is None:
            raise StartError("the run ended without a word of what it saw")
        return self.evidence

    def _note_stage(self, stage: Stage) -> None:
        if stage.seconds is None:
            self._open.append(stage.name)
            return
        self.timings[stage.name] = round(stage.seconds, 3)
        if stage.name in self._open:
            self._open.remove(stage.name)


def error_of(failed: Failed, left: tuple[str, ...]) -> LabError:
    """The error that a `Failed` event reports; what was left behind as well is worse than it."""
    kind = LeftBehindError if left else _BY_STATUS.get(failed.status, LabError)
    behind = f"; left behind: {', '.join(left)}" if left else ""
    return kind(
        failed.message + behind,
        hint=failed.hint,
        argv=failed.argv,
        returncode=failed.returncode,
        output=failed.output,
    )
