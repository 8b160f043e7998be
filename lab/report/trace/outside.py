"""Steps of a packet outside the guest: through the devices of wire and host."""

from __future__ import annotations

import re
from collections.abc import Iterator

from lab.plan.data import Direction
from lab.report.life import Actor, Step
from lab.report.trace.anchors import Anchors
from lab.report.trace.cast import FRAMES, Cast
from lab.report.trace.events import Event

_ICMP = "icmp"
_NET_RX = "action=NET_RX"


def way_in(cast: Cast, found: Anchors) -> Iterator[Step]:
    """From the tester to the guest's threads, or as far as it came."""
    end = found.given.time_ns if found.given else None
    yield from _frames(cast, found.sent.time_ns, end, Direction.IN)
    if found.given and cast.gate:
        yield from wake(cast, found.given, found.sent.time_ns, Direction.IN)
        yield _copied(cast, found.given)


def way_back(cast: Cast, found: Anchors) -> Iterator[Step]:
    """From the guest's threads to the tester, or as far as it came."""
    if found.back and found.given:
        end = found.home.time_ns if found.home else None
        begin = found.back.time_ns if cast.gate else found.given.time_ns + 1
        yield from _frames(cast, begin, end, Direction.OUT)


def wake(cast: Cast, ran: Event, after: int, leg: Direction) -> Iterator[Step]:
    """How the thread of an event was woken for it, where it had been asleep."""
    tid = ran.tid
    waking = cast.trace.last("sched_waking", after, ran.time_ns, lambda e: _pid(e, "pid") == tid)
    if waking is None:
        return
    actor, name = cast.actor(tid), cast.thread(tid)
    # A vCPU wakes others from inside KVM: an eventfd that it has written to.
    by_vcpu = waking.tid in cast.vcpus and not waking.context
    yield cast.step(waking, Actor.KVM if by_vcpu else Actor.HOST, leg, f"wakes {name}")
    switch = cast.trace.first(
        "sched_switch", waking.time_ns, ran.time_ns, lambda e: _pid(e, "next_pid") == tid
    )
    if switch:
        step = cast.step(switch, actor, leg, f"{name} gets the CPU")
        yield step.model_copy(update={"thread": name, "tid": tid})


def _pid(event: Event, key: str) -> int:
    return int(event.fields.get(key, "-1"))


def _copied(cast: Cast, event: Event) -> Step:
    who, actor = cast.carrier(event.tid), cast.actor(event.tid)
    what = f"{who} reads it from {cast.gate}"
    if actor is Actor.VHOST:
        what = f"{who} copies it into guest memory"
    return cast.step(event, actor, Direction.IN, what, device=cast.gate, strong=True)


def _frames(cast: Cast, after: int, before: int | None, leg: Direction) -> Iterator[Step]:
    last = after
    for event in cast.trace.all(FRAMES, after, before):
        if not cast.where(event.device):
            continue
        if event.name == "netif_receive_skb":
            yield from _received(cast, event, last, leg)
        elif event.name == "net_dev_queue":
            yield _queued(cast, event, leg)
        elif event.device != cast.gate:
            what = "its driver gives it to the NIC"
            yield cast.step(event, Actor.NIC, leg, what, device=event.device, strong=True)
        last = event.time_ns


def _received(cast: Cast, event: Event, after: int, leg: Direction) -> Iterator[Step]:
    """With the interrupt that told of it and the softirq that fetched it, where it is a NIC."""
    actor = Actor.TESTER if cast.on_wire(event) else Actor.HOST
    device = event.device
    name = re.compile(rf"{re.escape(device)}(-(?!tx-).*)?")
    interrupt = cast.trace.last(
        "irq_handler_entry",
        after,
        event.time_ns,
        lambda e: name.fullmatch(e.fields["name"]) is not None,
    )
    if interrupt:
        what = f"interrupt {interrupt.fields['name']}"
        yield cast.step(interrupt, actor, leg, what, device=device)
        polling = cast.trace.last(
            "softirq_entry",
            interrupt.time_ns,
            event.time_ns,
            lambda e: _NET_RX in e.text and e.cpu == event.cpu,
        )
        if polling:
            yield cast.step(polling, actor, leg, f"NAPI polls {device}", device=device)
    yield cast.step(event, actor, leg, _arrival(cast, event), device=device, strong=True)


def _arrival(cast: Cast, event: Event) -> str:
    thing = "the answer" if cast.evidence.kind == _ICMP else "it"
    if cast.on_wire(event):
        return f"the tester's kernel has {thing}"
    if event.device == cast.gate and cast.of_guest(event):
        return f"{cast.carrier(event.tid)} writes {thing} into {event.device}"
    return f"{event.device}: the kernel has it"


def _queued(cast: Cast, event: Event, leg: Direction) -> Step:
    device = event.device
    if cast.on_wire(event):
        what, actor = f"the tester sends {event.fields['len']} bytes", Actor.TESTER
    else:
        what, actor = _handed_on(cast, event), Actor.HOST
    return cast.step(event, actor, leg, what, device=device, strong=True)


def _handed_on(cast: Cast, event: Event) -> str:
    device = event.device
    if device == cast.gate and cast.of_guest(event):
        return f"{cast.carrier(event.tid)} sends the answer through {device}"
    bridge = cast.links[device].bridge
    return f"{bridge} forwards it to {device}" if bridge else f"it goes out through {device}"
