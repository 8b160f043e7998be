"""What became of numbered probes: which way each went, and what excuses those lost. Pure."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby, pairwise

from lab.evidence.migration import StreamEvidence

VF = "VF"
# Around a change of hands answers come both ways for a moment, while the guest's driver comes or
# goes; measured: 0.1 s, nested in a lab host under TCG.
SETTLE_NS = 200_000_000


@dataclass(frozen=True)
class Account:
    """The probes of one stream, accounted for. ``stood`` is when the guest stood still, if it did.

    Numbers are indexes into ``stream.sent``.
    """

    stream: StreamEvidence
    stood: tuple[int, int] | None = None

    @cached_property
    def answered(self) -> dict[int, int]:
        """The first answer's time of each probe that was answered, in order of their numbers."""
        first: dict[int, int] = {}
        for number, time_ns in self.stream.answers:
            first.setdefault(number, time_ns)
        return dict(sorted(first.items()))

    @cached_property
    def lost(self) -> tuple[int, ...]:
        """Probes without an answer."""
        return tuple(n for n in range(len(self.stream.sent)) if n not in self.answered)

    @property
    def duplicated(self) -> int:
        """Answers beyond the first of each probe."""
        return len(self.stream.answers) - len(self.answered)

    @property
    def reordered(self) -> int:
        """First answers that came after that of a later probe."""
        highest, late = -1, 0
        for number in dict(self.stream.answers):
            late += number < highest
            highest = max(highest, number)
        return late

    @cached_property
    def silence_ns(self) -> int:
        """The longest time without an answer, from the first probe to the last."""
        times = sorted((self.stream.sent[0], *self.answered.values()))
        times.append(max(times[-1], self.stream.sent[-1]))
        return max((after - before for before, after in pairwise(times)), default=0)

    def way(self, number: int) -> str:
        """Which way the guest sent the first answer: a tap, or the VF.

        A tap may show a second one: a bridge that does not know where the guest is gives a probe to
        the target's tap too, where it waits until the target runs.
        """
        first = self.answered[number]
        taps = (
            tap for tap, times in self._carried.items() if times.get(number, first + 1) <= first
        )
        return next(taps, VF)

    @cached_property
    def handovers(self) -> tuple[tuple[int, int], ...]:
        """Answered probes next to each other that went different ways."""
        return tuple(
            (before, after)
            for before, after in pairwise(self.answered)
            if self.way(before) != self.way(after)
        )

    @cached_property
    def stray(self) -> tuple[int, ...]:
        """Lost while one carrier had the path for itself, or nobody: nothing excuses these.

        What is lost in a row is one outage: where it touches a change of hands it belongs to that,
        however long a busy machine takes over it. How long is `silence_ns`. One that lasts to the
        end of the stream is no change of hands: nobody came to carry on.
        """
        outages = groupby(enumerate(self.lost), lambda pair: pair[1] - pair[0])
        rows = (tuple(number for _, number in row) for _, row in outages)
        return tuple(number for row in rows if not self._excused(row) for number in row)

    def ways(self, numbers: Iterable[int]) -> Counter[str]:
        """How many of these went which way."""
        return Counter(self.way(number) for number in numbers)

    @cached_property
    def _carried(self) -> dict[str, dict[int, int]]:
        return {tap: dict(reversed(seen)) for tap, seen in self.stream.carried.items()}

    @cached_property
    def _periods(self) -> tuple[tuple[int, int], ...]:
        """When the path changed hands or nobody could answer, with a moment to settle.

        It has changed hands when the new one's first answer is there: a probe may wait for that.
        """
        sent, answered = self.stream.sent, self.answered
        spans = [(sent[before], answered[after]) for before, after in self.handovers]
        spans += [self._silent_around(*self.stood)] if self.stood else []
        return tuple((begin - SETTLE_NS, end + SETTLE_NS) for begin, end in spans)

    def _silent_around(self, begin_ns: int, end_ns: int) -> tuple[int, int]:
        """From when the last probe was sent that was answered before, to the first answer after.

        What was sent later was on its way when the guest began to stand still, and QEMU drops what
        its NICs' queues hold then (net/net.c, net_vm_change_state_handler). It moves no packet for
        a while before, and after; how long is `silence_ns`.
        """
        sent = self.stream.sent
        before = (sent[number] for number, time in self.answered.items() if time <= begin_ns)
        after = (time for time in self.answered.values() if time >= end_ns)
        return max(before, default=begin_ns), min(after, default=end_ns)

    def _excused(self, outage: tuple[int, ...]) -> bool:
        if outage[-1] == len(self.stream.sent) - 1:
            return False
        sent = (self.stream.sent[number] for number in outage)
        return any(begin <= when <= end for when in sent for begin, end in self._periods)


def sent_between(stream: StreamEvidence, begin_ns: int, end_ns: int) -> range:
    """The numbers of the probes sent in a period."""
    return range(bisect_left(stream.sent, begin_ns), bisect_left(stream.sent, end_ns))
