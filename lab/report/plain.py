"""Text that others wrote, made fit to be shown: guests, consoles, whoever is at the other end.

What a guest calls its driver may hold anything. A control character changes what a reader, or his
terminal, makes of all the rest, and no template minds it.
"""

from __future__ import annotations

import re
from typing import Any, TypeVar

from lab.data import Data

# ECMA-48 control sequences (CSI, OSC up to its end, and two-character ones): a terminal's, not text
_SEQUENCES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")
# C0 and C1 but for tab and newline; what turns the direction of writing; Unicode's own line ends.
_CONTROLS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]"
)

Record = TypeVar("Record", bound=Data)


def plain(text: str) -> str:
    """The text without a terminal's sequences; other control characters as a sign for each."""
    text = _SEQUENCES.sub("", text.replace("\r\n", "\n"))
    return _CONTROLS.sub(_sign, text)


def plainly(record: Record) -> Record:
    """The same record with every text in it made plain, whoever wrote it."""
    changed = {name: _plain(getattr(record, name)) for name in type(record).model_fields}
    return record.model_copy(update=changed)


def _plain(value: Any) -> Any:
    if isinstance(value, Data):
        return plainly(value)
    if isinstance(value, tuple):
        return tuple(_plain(each) for each in value)
    if isinstance(value, dict):
        return {_plain(key): _plain(each) for key, each in value.items()}
    # A word of a closed set stays what it is.
    return plain(value) if type(value) is str else value


def _sign(found: re.Match[str]) -> str:
    """C0 controls have pictures in Unicode (U+2400 on); for the rest there is the replacement."""
    code = ord(found[0])
    return chr(0x2400 + code) if code < 0x20 else "\N{REPLACEMENT CHARACTER}"
