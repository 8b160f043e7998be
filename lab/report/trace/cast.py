"""Who is who in a trace: threads by their part, devices by where they are."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cached_property

from lab.evidence.life import LifeEvidence, LinkState
from lab.evidence.packets import Sighting
from lab.plan.data import Direction, Hop
from lab.plan.where import HOST, WIRE
from lab.report.life import Actor, Step
from lab.report.trace.events import Event, Trace, parse

FRAMES = "net_dev_queue net_dev_start_xmit netif_receive_skb"
"""Events of a frame on its way through devices."""
_VCPU_NUMBER = re.compile(r"vcpu (\d+),")
_ROLE_ACTORS = {"vhost": Actor.VHOST, "qemu": Actor.QEMU, "vcpu": Actor.QEMU}


@dataclass(frozen=True)
class Cast:
    """One life's evidence, ready to be asked.

    ``hops`` are in the order of the way in. ``gate`` is the host's device next to the guest, its
    tap or macvtap; empty where it has none. ``beside`` are devices of the host that may see the
    packet and have nothing to do with it. Stamps of the guest's own clock may be off by
    ``error_ns``, ``None`` where it was never compared.
    """

    evidence: LifeEvidence
    hops: tuple[Hop, ...]
    gate: str
    beside: frozenset[str] = frozenset()
    error_ns: int | None = 0
    trace: Trace = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "trace", parse(self.evidence.events))

    @cached_property
    def links(self) -> dict[str, LinkState]:
        """Devices by name. Where host and wire have one of the same name, it is the wire's."""
        return {link.device: link for link in reversed(self.evidence.before)}

    @cached_property
    def roles(self) -> dict[int, str]:
        """What a thread is to the guest, by its id."""
        return {thread.tid: thread.role for thread in self.evidence.threads}

    @cached_property
    def sent(self) -> Event | None:
        """The tester's sending, the first that the kernel saw of the packet."""
        return self.trace.first("net_dev_queue", 0, match=self.on_wire)

    @cached_property
    def vcpus(self) -> dict[int, str]:
        """The vCPU threads by id, with the number that KVM gives each."""
        found = {
            event.tid: number[1]
            for event in self.trace.events
            if event.name == "kvm_entry" and (number := _VCPU_NUMBER.match(event.text))
        }
        return {tid: found.get(tid, "?") for tid, role in self.roles.items() if role == "vcpu"}

    def where(self, device: str) -> str:
        """``wire`` or ``host``; empty for a device that nobody knows, or that is beside the way."""
        where = self.links[device].where if device in self.links else ""
        return "" if where == HOST and device in self.beside else where

    def on_wire(self, event: Event) -> bool:
        """Whether it names a device of the wire."""
        return self.where(event.device) == WIRE

    def on_host(self, event: Event) -> bool:
        """Whether it names a device of the host."""
        return self.where(event.device) == HOST

    def of_guest(self, event: Event) -> bool:
        """Whether a thread of the guest's QEMU or vhost did it, not an interrupt."""
        return event.tid in self.roles and not event.context

    def actor(self, tid: int) -> Actor:
        """Who carries a packet when this thread does."""
        return _ROLE_ACTORS.get(self.roles.get(tid, ""), Actor.HOST)

    def carrier(self, tid: int) -> str:
        """Who carries a packet when this thread does, in a word; a vCPU's does it for QEMU."""
        return self.thread(tid) if self.actor(tid) is Actor.VHOST else "QEMU"

    def thread(self, tid: int, name: str = "") -> str:
        """What a thread is called."""
        if self.sent and tid == self.sent.tid:
            return "tester"
        if tid in self.vcpus:
            return f"vCPU {self.vcpus[tid]}"
        if self.roles.get(tid) == "qemu":
            return "QEMU"
        return next((each.name for each in self.evidence.threads if each.tid == tid), name)

    @cached_property
    def device(self) -> str:
        """What the guest calls its NIC; empty where it saw nothing of the packet."""
        own = (seen for seen in self.evidence.sightings if seen.where == self.evidence.guest)
        return next((seen.device for seen in own), "")

    def stamp(self, *, outgoing: bool) -> Sighting | None:
        """When the guest's own capture saw the packet, or its answer."""
        return next(
            (
                seen
                for seen in self.evidence.sightings
                if seen.where == self.evidence.guest and seen.outgoing is outgoing
            ),
            None,
        )

    def stamp_ns(self, *, outgoing: bool) -> int | None:
        """The same on the events' clock; None without a stamp, or where the clock is unknown."""
        stamp = self.stamp(outgoing=outgoing)
        if stamp is None or self.error_ns is None:
            return None
        return stamp.time_ns - self.evidence.realtime_ns

    def step(  # noqa: PLR0913  one parameter for each thing that the event does not tell
        self,
        event: Event,
        actor: Actor,
        leg: Direction,
        what: str,
        *,
        device: str = "",
        strong: bool = False,
        count: int = 1,
    ) -> Step:
        """A step of the host's kernel, its time still CLOCK_MONOTONIC."""
        return Step(
            time_ns=event.time_ns,
            actor=actor,
            where=self.where(device) or HOST,
            event=event.name,
            what=what,
            leg=leg,
            device=device,
            cpu=event.cpu,
            thread=event.context or self.thread(event.tid, event.thread),
            tid=event.tid,
            strong=strong,
            count=count,
        )
