"""Steps of a packet at the guest: interrupt, vCPU, the guest's own stamps, and its stops."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby

from lab.plan.data import Direction
from lab.report.life import Actor, Step
from lab.report.trace.anchors import Anchors
from lab.report.trace.cast import Cast
from lab.report.trace.events import Event
from lab.report.trace.outside import wake
from lab.report.trace.stops import Stop, stops

_VECTOR = re.compile(r"\bvec (\d+)")
_RAISED = re.compile(r"gsi (\d+) level 1")
_INJECTED = re.compile(r"IRQ (0x[0-9a-f]+)")
_SHOWN = 3


@dataclass(frozen=True)
class Visit:
    """The packet's time at the guest.

    ``entry`` is the vCPU's going on with the interrupt, ``kick`` its stop by which it said that
    there is an answer, ``stops`` are those between. ``arrived_ns`` and ``answered_ns`` are the
    guest's own stamps, ``None`` where its capture has none.
    """

    interrupt: Event | None
    injected: Event | None
    entry: Event | None
    stops: tuple[Stop, ...]
    kick: Stop | None
    arrived_ns: int | None
    answered_ns: int | None


def visit(cast: Cast, found: Anchors) -> Visit | None:
    """None where the packet did not come so far."""
    if found.given is None:
        return None
    interrupt = _interrupt(cast, found.given)
    begin = interrupt.time_ns if interrupt else found.given.time_ns
    end = found.back.time_ns if found.back else _latest(cast, begin)
    injected = _injected(cast, interrupt, begin, end)
    entry = _entry(cast, injected, end)
    begin = entry.time_ns if entry else begin
    seen = sorted(
        (stop for tid in cast.vcpus for stop in stops(cast.trace, tid, begin, end)), key=_begin
    )
    kick = None
    if found.back and cast.gate:
        kick = next((stop for stop in reversed(seen) if stop.written), None)
    arrived, answered = _stamps(cast, begin, kick.begin_ns if kick else end)
    last = kick.begin_ns if kick else answered or arrived or end
    between = tuple(stop for stop in seen if stop.begin_ns < last)
    return Visit(interrupt, injected, entry, between, kick, arrived, answered)


def _latest(cast: Cast, begin: int) -> int:
    """When a packet that nobody saw come back can have been in the guest at the latest."""
    stamps = (cast.stamp_ns(outgoing=way) for way in (True, False))
    stamp = next((stamp for stamp in stamps if stamp is not None), None)
    return begin if stamp is None else max(begin, stamp + (cast.error_ns or 0))


def _entry(cast: Cast, injected: Event | None, end: int) -> Event | None:
    if injected is None:
        return None
    tid = injected.tid
    return cast.trace.first("kvm_entry", injected.time_ns, end, lambda e: e.tid == tid)


def _stamps(cast: Cast, earliest: int, latest: int) -> tuple[int | None, int | None]:
    """The guest's own stamps of the packet and of its answer.

    Its clock is known to some error only, but it cannot have the packet before it runs, nor answer
    after its kick.
    """
    found: list[int | None] = []
    for outgoing in (False, True):
        stamp = cast.stamp_ns(outgoing=outgoing)
        earliest = earliest if stamp is None else min(max(stamp, earliest), latest)
        found.append(None if stamp is None else earliest)
    return found[0], found[1]


def at_guest(cast: Cast, found: Anchors, at: Visit) -> Iterator[Step]:
    """All steps between the packet's being given to the guest and its answer's coming back."""
    if at.interrupt:
        yield from _raised(cast, at.interrupt, found)
    if at.injected:
        yield from wake_vcpu(cast, at)
        what = f"KVM injects interrupt {int(_INJECTED.findall(at.injected.text)[0], 16)}"
        yield cast.step(at.injected, Actor.KVM, Direction.IN, what, strong=True)
    if at.entry:
        yield cast.step(at.entry, Actor.GUEST, Direction.IN, "the guest runs", strong=True)
    if at.arrived_ns is not None:
        what = "the guest's kernel has it"
        yield _stamp(cast, at.arrived_ns, Actor.GUEST, Direction.IN, what)
    if at.answered_ns is not None:
        actor = Actor.GUEST if cast.gate else Actor.NIC
        yield _stamp(cast, at.answered_ns, actor, Direction.OUT, "the guest's kernel answers")
    yield from _stops(cast, at)
    if at.kick and found.back:
        yield _kick(cast, at.kick)
        yield from wake(cast, found.back, at.kick.begin_ns, Direction.OUT)


def wake_vcpu(cast: Cast, at: Visit) -> Iterator[Step]:
    """How the vCPU came to run; whatever carries the packet meanwhile is KVM."""
    assert at.injected is not None
    begin = at.interrupt.time_ns if at.interrupt else at.injected.time_ns
    for step in wake(cast, at.injected, begin, Direction.IN):
        yield step.model_copy(update={"actor": Actor.KVM})


def _interrupt(cast: Cast, given: Event) -> Event | None:
    """By the thread that gave the packet to the guest, or by the NIC's own interrupt."""

    def ours(event: Event) -> bool:
        raised = event.name == "kvm_msi_set_irq" or _RAISED.match(event.text)
        return bool(raised) and (not cast.gate or event.tid == given.tid)

    after = given.time_ns
    if not cast.gate:
        vfio = cast.trace.first("irq_handler_entry", after, match=_by_vfio)
        if vfio is None:
            return None
        after = vfio.time_ns
    return cast.trace.first("kvm_msi_set_irq kvm_set_irq", after, match=ours)


def _by_vfio(event: Event) -> bool:
    return event.fields["name"].startswith("vfio-")


def _injected(cast: Cast, interrupt: Event | None, begin: int, end: int) -> Event | None:
    """The injection of that vector; a GSI does not tell which one it becomes."""
    vector = _VECTOR.search(interrupt.text) if interrupt else None

    def ours(event: Event) -> bool:
        injected = _INJECTED.findall(event.text)
        return bool(injected) and (vector is None or int(injected[0], 16) == int(vector[1]))

    return cast.trace.first("kvm_inj_virq", begin, end, ours)


def _raised(cast: Cast, event: Event, found: Anchors) -> Iterator[Step]:
    if not cast.gate and found.given:
        vfio = cast.trace.last("irq_handler_entry", found.given.time_ns, event.time_ns, _by_vfio)
        if vfio:
            yield cast.step(
                vfio, Actor.HOST, Direction.IN, f"interrupt {vfio.fields['name']}", strong=True
            )
    vector, line = _VECTOR.search(event.text), _RAISED.match(event.text)
    name = f"MSI vector {vector[1]}" if vector else f"line {line[1]}" if line else ""
    yield cast.step(event, Actor.KVM, Direction.IN, f"interrupt for the guest: {name}")


def _stamp(cast: Cast, time_ns: int, actor: Actor, leg: Direction, what: str) -> Step:
    return Step(
        time_ns=time_ns,
        actor=actor,
        where=cast.evidence.guest,
        event="capture",
        what=what,
        leg=leg,
        device=cast.device,
        strong=True,
        error_ns=cast.error_ns or 0,
    )


def _stops(cast: Cast, at: Visit) -> Iterator[Step]:
    """Like stops in a row become one step."""

    def alike(stop: Stop) -> tuple[str, Direction]:
        kind = "qemu" if stop.access and stop.to_qemu else "kvm" if stop.access else "other"
        late = at.answered_ns is not None and stop.begin_ns > at.answered_ns
        return kind, Direction.OUT if late else Direction.IN

    for (kind, leg), group in groupby(at.stops, alike):
        members = tuple(group)
        yield cast.step(
            members[0].event,
            Actor.GUEST,
            leg,
            _words(kind, members),
            strong=kind == "qemu",
            count=len(members),
        )


def _words(kind: str, members: tuple[Stop, ...]) -> str:
    one = len(members) == 1
    if kind == "other":
        reasons = Counter(stop.reason for stop in members)
        told = ", ".join(f"{count} {reason}" for reason, count in reasons.items())
        return f"another exit ({members[0].reason})" if one else f"other exits ({told})"
    more = "" if len(members) <= _SHOWN else ", ..."
    registers = ", ".join(stop.access for stop in members[:_SHOWN]) + more
    number = "exit" if one else f"{len(members)} exits"
    return f"{number} to {'QEMU' if kind == 'qemu' else 'KVM'}: {registers}"


def _kick(cast: Cast, kick: Stop) -> Step:
    served = "to QEMU" if kick.to_qemu else "to an eventfd"
    actor = Actor.QEMU if kick.to_qemu else Actor.KVM
    what = f"kick: {kick.access}, {served}"
    return cast.step(kick.event, actor, Direction.OUT, what, strong=True)


def _begin(stop: Stop) -> int:
    return stop.begin_ns
