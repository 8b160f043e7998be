"""Everything that can go wrong, as one tree; each error knows its exit status.

    LabError
     +-- UsageError        2    the topology file or the command line is wrong
     |    +-- TopologyError     ... every mistake of one file, each with its place
     +-- CannotError       3    this machine cannot do it (and how it could)
     +-- StartError        4    a guest, a lab host or a helper program failed to start
     +-- LeftBehindError   5    something of ours could not be put back
     +-- InterruptedRunError  130   Ctrl-C or SIGTERM

An error is one line (``message``), with an optional ``hint`` line that says what to do next. Of a
program that we started it also has ``argv``, ``returncode`` (``None`` while it still ran) and
``output``, its last lines (console or standard error). Only ``lab.cli`` prints them.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass


class LabError(Exception):
    """Root of all expected failures."""

    status = 1

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        argv: Sequence[str] = (),
        returncode: int | None = None,
        output: str = "",
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.argv = tuple(argv)
        self.returncode = returncode
        self.output = output

    def lines(self) -> tuple[str, ...]:
        """What the user is shown: the message, then what else there is."""
        hint = [f"hint: {self.hint}"] if self.hint else []
        command = [f"command: {shlex.join(self.argv)}"] if self.argv else []
        tail = [f"  | {line}" for line in self.output.rstrip().splitlines()[-12:]]
        return (self.message, *hint, *command, *tail)


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
    """A program that we started ended early, never became ready or refused what it was told."""

    status = 4


class LeftBehindError(LabError):
    """An undo failed, or something of ours is still there after all undos ran."""

    status = 5


class InterruptedRunError(LabError):
    """The user ended the run."""

    status = 130
