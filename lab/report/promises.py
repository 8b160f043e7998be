"""Promises: what theory says that each layer takes away, as data, and whether it was seen.

A promise names two rungs, one quantity, and what must hold of it on either: above, that there is
something to take away; below, that it is gone, or has come. It holds in every round or it does not.

In a round it holds for the whole middle half of the windows, not only for the value that most of
them agree on. What comes in less than a quarter of the windows is the machine's (a timer, somebody
who wakes up) and breaks no promise. In 24 runs of layers without exits, one core kept busy in half
of them, not one of 1575 windows had any, so that is room enough.
"""

from __future__ import annotations

from collections.abc import Sequence

from lab.data import Data
from lab.plan.data import Carrier
from lab.report.quantities import BRIDGES, HOST_HOPS, THREADS
from lab.report.rungs import Flag, Kept, Rung
from lab.report.verdict import Outcome

_EXITS = "ping-pong.exits_to_qemu"
_BURST_EXITS = "burst.exits_to_qemu"
_SYSCALLS = "ping-pong.qemu_syscalls"
_NEEDS_KVM = frozenset({_EXITS, _BURST_EXITS})

FLAGGED = 0.01
"""Exits to QEMU per packet from which on a layer that promises none is flagged."""


class Bound(Data):
    """The least or the most that a quantity may be."""

    least: float | None = None
    most: float | None = None

    def holds(self, low: float, high: float) -> bool:
        """Whether all from ``low`` to ``high`` is within it."""
        enough = self.least is None or low >= self.least
        return enough and (self.most is None or high <= self.most)


class Promise(Data):
    """One sentence of the theory. ``upper`` and ``lower`` are names of topologies."""

    name: str
    says: str
    quantity: str
    upper: str
    above: Bound
    lower: str
    below: Bound


# Per packet, QEMU 10.0 and Linux 6.12: e1000 stops for QEMU about 3 times, virtio not once in a
# thousand; QEMU makes 3 to 5 data-path calls for virtio, none for vhost. The bounds lie far off
# both, as layers differ by nature and not by degree.
_GONE = Bound(most=0.05)
_NONE = Bound(most=0)
_SOME = Bound(least=0.5)
_ONE = Bound(least=1)

PROMISES = (
    Promise(
        name="virtio-exits",
        says="virtio ends the exits to QEMU",
        quantity=_EXITS,
        upper="e1000",
        above=_SOME,
        lower="virtio",
        below=_GONE,
    ),
    Promise(
        name="vhost-syscalls",
        says="vhost ends the system calls of QEMU",
        quantity=_SYSCALLS,
        upper="virtio",
        above=_SOME,
        lower="vhost",
        below=_GONE,
    ),
    Promise(
        name="macvtap-bridge",
        says="macvtap takes the bridge out of the path",
        quantity=BRIDGES,
        upper="vhost",
        above=_ONE,
        lower="macvtap",
        below=_NONE,
    ),
    Promise(
        name="passthrough-hops",
        says="passthrough takes the host out of the path",
        quantity=HOST_HOPS,
        upper="macvtap",
        above=_ONE,
        lower="passthrough",
        below=_NONE,
    ),
    Promise(
        name="sriov-hops",
        says="SR-IOV takes the host out of the path, and others keep the port",
        quantity=HOST_HOPS,
        upper="macvtap",
        above=_ONE,
        lower="sriov",
        below=_NONE,
    ),
    Promise(
        name="multiqueue-threads",
        says="multiqueue spreads the work over several vhost threads",
        quantity=THREADS,
        upper="vhost",
        above=Bound(least=1, most=1),
        lower="multiqueue",
        below=Bound(least=2),
    ),
)


def kept(rungs: Sequence[Rung], promises: Sequence[Promise] = PROMISES) -> tuple[Kept, ...]:
    """Every promise about two rungs that were both climbed, held against what was measured."""
    named = {rung.name: rung for rung in rungs}
    return tuple(
        _held(promise, named[promise.upper], named[promise.lower])
        for promise in promises
        if promise.upper in named and promise.lower in named
    )


def flags(rungs: Sequence[Rung]) -> tuple[Flag, ...]:
    """Layers in which the hardware carries the packets, and the guest stops for QEMU still."""
    return tuple(
        Flag(rung=rung.name, quantity=key, per_packet=most, reasons=_reasons(rung, key))
        for rung in rungs
        for key in (_EXITS, _BURST_EXITS)
        if rung.carrier is Carrier.VFIO
        and (most := max((high for _, high in filter(None, _rounds(rung, key))), default=0.0))
        > FLAGGED
    )


def _held(promise: Promise, upper: Rung, lower: Rung) -> Kept:
    sides = ((upper, promise.above), (lower, promise.below))
    outcome = max(_outcome(rung, promise.quantity, bound) for rung, bound in sides)
    return Kept(
        name=promise.name,
        says=promise.says,
        upper=promise.upper,
        lower=promise.lower,
        quantity=promise.quantity,
        outcome=outcome,
        observed="; ".join(f"{rung.name} {_seen(rung, promise.quantity)}" for rung, _ in sides),
    )


def _outcome(rung: Rung, key: str, bound: Bound) -> Outcome:
    """Of one side: a round that breaks the promise, or has no value, is enough."""
    rounds = _rounds(rung, key)
    if not rounds and key in _NEEDS_KVM and rung.accelerator.guest == "tcg":
        return Outcome.SKIP  # without KVM there is no exit that anybody could count
    if not all(bound.holds(*middle) for middle in rounds if middle is not None):
        return Outcome.FAIL
    return Outcome.PASS if rounds and None not in rounds else Outcome.ERROR


def _rounds(rung: Rung, key: str) -> tuple[tuple[float, float] | None, ...]:
    """The middle half of each round's windows, from where to where."""
    measure = rung.measures.get(key)
    return measure.middles if measure else ()


def _seen(rung: Rung, key: str) -> str:
    """All rounds where they differ, so that the one that breaks a promise is among them."""
    words = [_span(middle) for middle in _rounds(rung, key)]
    if not words:
        return rung.not_measured.get(key.partition(".")[2], "was not measured")
    return words[0] if len(set(words)) == 1 else ", ".join(words)


def _span(middle: tuple[float, float] | None) -> str:
    ends = dict.fromkeys(f"{end:.2f}" for end in middle or ())
    return " to ".join(ends) or "?"


def _reasons(rung: Rung, key: str) -> dict[str, float]:
    return rung.reasons.get(key, {})
