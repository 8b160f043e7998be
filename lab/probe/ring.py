"""The kernel's trace buffer as it lies in memory: each event's time, thread and fields.

Reading it as text costs a lab host without hardware virtualisation a tenth of a millisecond a line.
The layout of a page is told by the kernel (``events/header_page``, ``events/header_event``) and has
not changed since Linux 2.6.39; that of each event is in its ``format`` file.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from lab.errors import CannotError

_FIELD = re.compile(r"\bfield:[^;]*?(\w+)(?:\[[^;]*\])?;\s*offset:(\d+);\s*size:(\d+);")
_ID = re.compile(r"^ID: (\d+)$", re.MULTILINE)
_LONG = "q"
_CODES = {1: "b", 2: "h", 4: "i", 8: _LONG}

_PAGE = struct.Struct("=QQ")  # time of the first event; bytes in use, and flags
_WORD = struct.Struct("=I")
_TYPE = struct.Struct("=H")
_IN_USE = (1 << 20) - 1
_MISSED = 1 << 31
_PADDING, _TIME_EXTEND, _TIME_STAMP = 29, 30, 31
_STAMP_TOP = 0xF8 << 56


@dataclass(frozen=True)
class Event:
    """One event: nanoseconds of the instance's clock, its kind (``system/name``), and its fields.

    The first of ``values`` is the thread that it happened in, then come those that were asked for.
    """

    time_ns: int
    kind: str
    values: tuple[int, ...]


@dataclass(frozen=True)
class Layout:
    """Where the wanted fields of one kind of event lie."""

    kind: str
    number: int
    values: struct.Struct


def layout(kind: str, text: str, fields: Sequence[str]) -> Layout:
    """Read a ``format`` file; ``fields`` are wanted in the order in which they lie.

    Of an array of longs the first one is taken. Raises CannotError where the kernel has no such
    field.
    """
    known = {name: (int(at), int(size)) for name, at, size in _FIELD.findall(text)}
    number = _ID.search(text)
    code, at = "=", 0
    for name in ("common_pid", *fields):
        if number is None or name not in known:
            raise CannotError(f"the kernel's event {kind} has no field {name}")
        offset, size = known[name]
        code += f"{offset - at}x{_CODES.get(size, _LONG)}"
        at = offset + min(size, struct.calcsize(_LONG))
    assert number is not None
    return Layout(kind, int(number[1]), struct.Struct(code))


def events(page: bytes, layouts: Mapping[int, Layout]) -> Iterator[Event]:
    """The events in one page of a buffer, oldest first. Raises CannotError if some were lost."""
    clock, state = _PAGE.unpack_from(page)
    if state & _MISSED:
        raise CannotError("the kernel's trace buffer overflowed: events are lost")
    at = _PAGE.size
    end = at + (state & _IN_USE)
    while at < end:
        (head,) = _WORD.unpack_from(page, at)
        kind, passed = head & 31, head >> 5
        body = at + 4
        (first,) = _WORD.unpack_from(page, body)
        if kind == _TIME_EXTEND:
            clock += (first << 27) + passed
            at += 8
        elif kind == _TIME_STAMP:
            clock = (clock & _STAMP_TOP) | ((first << 27) + passed)
            at += 8
        elif kind == _PADDING:
            if not passed:
                return  # nothing follows
            clock += passed
            at = body + first
        else:
            clock += passed
            # A long event has its length in the word before its body, that word included.
            start, at = (body, body + 4 * kind) if kind else (body + 4, body + first)
            if found := layouts.get(_TYPE.unpack_from(page, start)[0]):
                yield Event(clock, found.kind, found.values.unpack_from(page, start))
