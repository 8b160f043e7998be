"""Text that others wrote, made fit to be shown: logs, consoles, command lines.

What a guest writes on its console may hold anything. HTML is escaped by the templates; here go the
control characters, which no template minds and which a reader would not see.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass

_LINES = 120
# ECMA-48 control sequences (CSI, OSC up to its end, and two-character ones): a terminal's, not text
_SEQUENCES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")
# C0 and C1 but for tab and newline; and the characters that turn the direction of writing.
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


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


def plain(text: str) -> str:
    """The text without a terminal's sequences; other control characters as a sign for each."""
    text = _SEQUENCES.sub("", text.replace("\r\n", "\n"))
    return _CONTROLS.sub(_sign, text)


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


def _sign(found: re.Match[str]) -> str:
    """C0 controls have pictures in Unicode (U+2400 on); for the rest there is the replacement."""
    code = ord(found[0])
    return chr(0x2400 + code) if code < 0x20 else "\N{REPLACEMENT CHARACTER}"
