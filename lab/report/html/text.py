"""Long texts made fit to be shown: the ends of logs, command lines on several lines."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from lab.report.plain import plain

_LINES = 120


@dataclass(frozen=True)
class Tail:
    """The end of a log; ``lines`` of ``total`` are shown."""

    name: str
    text: str
    lines: int
    total: int


def tail(name: str, text: str) -> Tail:
    """The last lines of a log, with nothing invisible in them."""
    lines = plain(text).rstrip("\n").split("\n")
    shown = lines[-_LINES:]
    return Tail(name, "\n".join(shown), len(shown), len(lines))


def folded(command: str) -> str:
    """A command line with one option on each line, still the same to a shell."""
    try:
        words = shlex.split(command)
    except ValueError:
        return command
    lines: list[list[str]] = [[]]
    for word in words:
        if word.startswith("-") and lines[-1]:
            lines.append([])
        lines[-1].append(word)
    return " \\\n  ".join(shlex.join(line) for line in lines)
