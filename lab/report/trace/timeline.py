"""From a trace to a packet's life: pure, the same for every kind of path.

Four events are looked for first (`lab.report.trace.anchors`); what lies between them becomes steps,
and the steps say who had the packet when.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from lab.evidence.life import LifeEvidence
from lab.evidence.whole import Evidence
from lab.plan.data import Direction, Plan
from lab.plan.where import HOST
from lab.report.bystanders import bystanders, tap_of
from lab.report.life import Actor, Life, Loss, Span, Step
from lab.report.trace.anchors import Anchors, anchors
from lab.report.trace.cast import Cast
from lab.report.trace.loss import drop_step, loss_of
from lab.report.trace.outside import way_back, way_in
from lab.report.trace.within import Visit, at_guest, visit

_BY_VFIO = "name=vfio-"


def lives_in(plan: Plan, evidence: Evidence) -> tuple[Life, ...]:
    """The lives of all packets that were traced, in the order in which they were sent."""
    emulated = {guest.name for guest in evidence.guests if guest.accelerator == "tcg"}
    return tuple(
        life
        for each in evidence.lives
        if (life := _life(_cast(plan, evidence, each), emulated=each.guest in emulated))
    )


def _cast(plan: Plan, evidence: Evidence, seen: LifeEvidence) -> Cast:
    hops = plan.trace.hops if plan.trace else ()
    on_host = [hop.device for hop in hops if hop.where == HOST]
    gate = on_host[-1] if on_host else "" if hops else _unnamed_gate(plan, evidence, seen)
    sent = (each for each in seen.sightings if each.where == HOST and each.outgoing)
    errors = {clock.guest: clock.error_ns for clock in evidence.clocks}
    return Cast(
        evidence=seen,
        hops=hops,
        gate=gate,
        beside=bystanders(plan, {each.device for each in sent}, {*on_host, gate}),
        error_ns=errors.get(seen.guest),
    )


def _unnamed_gate(plan: Plan, evidence: Evidence, seen: LifeEvidence) -> str:
    """By the plan, where the topology names no hops: a packet may be lost before it gets there.

    Which half of a failover pair carries is told by the interrupts of the VF.
    """
    guest, moved = next(each for each in plan.guests if each.name == seen.guest), evidence.migration
    if plan.migration and moved and (moved.guest, moved.outcome) == (seen.guest, "completed"):
        guest = plan.migration.target
    nic = next(each for each in guest.nics if each.id == seen.nic)
    if nic.failover and any(_BY_VFIO in line for line in seen.events):
        return ""
    return tap_of(guest, nic)


def _life(cast: Cast, *, emulated: bool) -> Life | None:
    found = anchors(cast)
    if found is None:
        return None
    at = visit(cast, found)
    loss = loss_of(cast, found)
    steps = sorted(_steps(cast, found, at, loss), key=lambda step: step.time_ns)
    begin = found.sent.time_ns
    marks = sorted((*_marks(steps), *_served(at)), key=lambda mark: mark[0])
    seen = cast.evidence
    return Life(
        guest=seen.guest,
        nic=seen.nic,
        probe=seen.probe,
        kind=seen.kind,
        size=seen.size,
        start_ns=begin + seen.realtime_ns,
        duration_ns=steps[-1].time_ns - begin,
        steps=tuple(step.model_copy(update={"time_ns": step.time_ns - begin}) for step in steps),
        spans=tuple(_spans(marks, begin, steps)),
        loss=loss,
        notes=tuple(_notes(cast, emulated=emulated)),
    )


def _steps(cast: Cast, found: Anchors, at: Visit | None, loss: Loss | None) -> Iterator[Step]:
    yield from way_in(cast, found)
    if at:
        yield from at_guest(cast, found, at)
    yield from way_back(cast, found)
    if loss:
        yield from drop_step(cast, found, loss)


_Mark = tuple[int, Actor]


def _marks(steps: Iterable[Step]) -> Iterator[_Mark]:
    return ((step.time_ns, step.actor) for step in steps)


def _served(at: Visit | None) -> Iterator[_Mark]:
    """While QEMU plays a register for it, the guest stands still."""
    for stop in at.stops if at else ():
        if stop.to_qemu and stop.end_ns:
            yield stop.begin_ns, Actor.QEMU
            yield stop.end_ns, Actor.GUEST


def _spans(marks: Sequence[_Mark], begin: int, steps: Sequence[Step]) -> Iterator[Span]:
    """Marks of one actor in a row are one span, which the turn of the direction divides."""
    last = steps[-1].time_ns
    turn = next((step.time_ns for step in steps if step.leg is Direction.OUT), last)
    began, actor = marks[0]
    for time_ns, after in (*marks[1:], (last, None)):
        if after is not actor:
            for start, end, leg in (
                (began, min(time_ns, turn), Direction.IN),
                (max(began, turn), min(time_ns, last), Direction.OUT),
            ):
                if end > start:
                    yield Span(actor=actor, leg=leg, begin_ns=start - begin, end_ns=end - begin)
            began, actor = time_ns, after or actor


def _notes(cast: Cast, *, emulated: bool) -> Iterator[str]:
    seen = cast.evidence
    on_host = (each.device for each in seen.sightings if each.where == HOST)
    if not cast.gate and cast.beside.issuperset(on_host):
        yield (
            "the guest has the NIC to itself: of its packets the host's kernel sees nothing "
            "but the interrupts, which VFIO hands on"
        )
    if emulated:
        yield "no exits and no injections are seen: the guest runs without KVM"
