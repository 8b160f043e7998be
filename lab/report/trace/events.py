"""The kernel's trace lines as data (Documentation/trace/ftrace.rst, "Output format")."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

_LINE = re.compile(
    r"\s*(?P<thread>.+)-(?P<tid>\d+)\s+\[(?P<cpu>\d+)\]\s+(?P<flags>\S+)\s+"
    r"(?P<seconds>\d+)\.(?P<micros>\d{6}): (?P<name>\w+): (?P<text>.*)"
)
# The third flag: what has interrupted the thread (trace_print_lat_fmt in trace_output.c).
_CONTEXTS = {"h": "hardirq", "H": "hardirq", "s": "softirq", "Z": "nmi", "z": "nmi"}
_FIELD = re.compile(r"\b(\w+)=(\S+)")


@dataclass(frozen=True)
class Event:
    """One event. ``time_ns`` is of CLOCK_MONOTONIC, to the microsecond as the kernel prints it.

    ``thread`` and ``tid`` are what ran on the CPU. ``context`` is ``softirq``, ``hardirq`` or
    ``nmi`` where that had interrupted the thread and has nothing to do with it, else empty.
    """

    time_ns: int
    cpu: int
    thread: str
    tid: int
    context: str
    name: str
    text: str

    @cached_property
    def fields(self) -> dict[str, str]:
        """The ``key=value`` words of its text."""
        return dict(_FIELD.findall(self.text))

    @property
    def device(self) -> str:
        """The network device that it names, empty where it names none."""
        return self.fields.get("dev", "")

    @property
    def skb(self) -> str:
        """The frame's address in the kernel's memory, as the trace disguises it."""
        return self.fields.get("skbaddr", "")


Match = Callable[[Event], bool]


class Trace:
    """Events in order of time; every search is within [``after``, ``before``] and by name."""

    def __init__(self, events: Iterable[Event]) -> None:
        self.events = tuple(events)

    def all(
        self, names: str, after: int, before: int | None = None, match: Match | None = None
    ) -> Iterator[Event]:
        """Those with one of the ``names`` (separated by blanks)."""
        wanted = names.split()
        for event in self.events:
            inside = after <= event.time_ns and (before is None or event.time_ns <= before)
            if inside and event.name in wanted and (match is None or match(event)):
                yield event

    def first(
        self, names: str, after: int, before: int | None = None, match: Match | None = None
    ) -> Event | None:
        """The first of them."""
        return next(self.all(names, after, before, match), None)

    def last(
        self, names: str, after: int, before: int | None = None, match: Match | None = None
    ) -> Event | None:
        """The last of them, also of those with one stamp."""
        found = tuple(self.all(names, after, before, match))
        return found[-1] if found else None


def parse(lines: Iterable[str]) -> Trace:
    """The events of a trace; lines that are none are left out."""
    return Trace(
        Event(
            time_ns=(int(found["seconds"]) * 1_000_000 + int(found["micros"])) * 1000,
            cpu=int(found["cpu"]),
            thread=found["thread"].strip(),
            tid=int(found["tid"]),
            context=_CONTEXTS.get(found["flags"][2:3], ""),
            name=found["name"],
            text=found["text"],
        )
        for line in lines
        if (found := _LINE.match(line))
    )
