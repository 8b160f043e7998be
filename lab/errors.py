"""Everything that can go wrong, as one tree; each error knows its exit status.

    LabError
     +-- UsageError        2    the topology file or the command line is wrong
     |    +-- TopologyError     ... every mistake of one file, each with its place
     +-- CannotError       3    this machine cannot do it (and how it could)
     +-- StartError        4    a guest, a lab host or a helper program failed to start
     +-- LeftBehindError   5    something of ours could not be put back
     +-- InterruptedRunError  130   Ctrl-C or SIGTERM

An error is one line (``message``), with an optional ``hint`` line that says what to do next. Only
``lab.cli`` prints them.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass


class LabError(Exception):
    """Root of all expected failures."""

    status = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def lines(self) -> tuple[str, ...]:
        """What the user is shown: the message, then the hint if there is one."""
        return (self.message, f"hint: {self.hint}") if self.hint else (self.message,)


class UsageError(LabError):
    """The command line asks for something that does not exist or does not fit together."""

    status = 2


@dataclass(frozen=True)
class Mistake:
    """One thing wrong in a topology file.

    ``line`` and ``column`` count from 1; 0 means the whole file. ``path`` is the key path in the
    file, such as ``guests[0].nics[0].vhost``.
    """

    file: str
    line: int
    column: int
    path: str
    message: str
    hint: str = ""

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        where = f"{place}: {self.path}" if self.path else place
        return f"{where}: {self.message}" + (f" (hint: {self.hint})" if self.hint else "")


class TopologyError(UsageError):
    """All mistakes found in one topology file."""

    def __init__(self, mistakes: Sequence[Mistake]) -> None:
        super().__init__("\n".join(str(mistake) for mistake in mistakes))
        self.mistakes = tuple(mistakes)


class CannotError(LabError):
    """This machine lacks something that the run needs; never answered by a silent fall-back."""

    status = 3


class StartError(LabError):
    """A program that we started ended early or never became ready.

    ``returncode`` is ``None`` while it still ran at the deadline; ``output`` holds its last lines
    (console or standard error).
    """

    status = 4

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        argv: Sequence[str] = (),
        returncode: int | None = None,
        output: str = "",
    ) -> None:
        super().__init__(message, hint=hint)
        self.argv = tuple(argv)
        self.returncode = returncode
        self.output = output

    def lines(self) -> tuple[str, ...]:
        tail = [f"  | {line}" for line in self.output.rstrip().splitlines()[-12:]]
        command = [f"command: {shlex.join(self.argv)}"] if self.argv else []
        return (*super().lines(), *command, *tail)


class LeftBehindError(LabError):
    """An undo failed, or something of ours is still there after all undos ran."""

    status = 5


class InterruptedRunError(LabError):
    """The user ended the run."""

    status = 130
