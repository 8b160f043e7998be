"""The undo stack: every change says at once how it is put back."""

from __future__ import annotations

from collections.abc import Callable

from pyroute2.netlink.exceptions import NetlinkError

from lab.errors import LabError

Undo = Callable[[], object]


class UndoStack:
    """Undos in the order in which they were made; run in reverse, all of them, each once."""

    def __init__(self) -> None:
        self._undos: list[tuple[str, Undo]] = []

    def push(self, what: str, undo: Undo) -> None:
        """``what`` names the thing that stays behind if ``undo`` fails."""
        self._undos.append((what, undo))

    def run(self) -> tuple[str, ...]:
        """Run all undos; returns what could not be put back, and why."""
        failures = []
        while self._undos:
            what, undo = self._undos.pop()
            try:
                undo()
            except (LabError, NetlinkError, OSError) as error:
                failures.append(f"{what}: {reason(error)}")
        return tuple(failures)


def reason(error: LabError | NetlinkError | OSError) -> str:
    """The cause in words, without the numbers."""
    if isinstance(error, LabError):
        return error.message
    if isinstance(error, NetlinkError):
        return str(error.args[1] if len(error.args) > 1 else error)
    return error.strerror or str(error)
