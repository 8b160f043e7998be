"""Devices that see a packet only because the cable is a hub: it hands every frame to all ports.

A port that somebody else uses takes in what is not for it, and a bridge on it learns and drops.
That says nothing of the packet's own way, as long as the port sent none of it on.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from lab.plan.data import HOST, AddMacvtap, AddMember, Plan


def bystanders(plan: Plan, senders: Collection[str], own: Collection[str]) -> frozenset[str]:
    """Devices of the host that hang on ports which have nothing to do with a packet.

    ``senders`` are the devices that were seen to send it, ``own`` those on its way.
    """
    ports = {port.device for port in plan.facts.ports} - {*senders, *own}
    return frozenset(device for port in ports for device in _stack(plan, port))


def _stack(plan: Plan, port: str) -> Iterator[str]:
    """A port with what bridge and macvtaps put on it; nothing where neither has it."""
    members = [
        each for each in plan.operations if isinstance(each, AddMember) and each.where == HOST
    ]
    for bridge in (each.bridge for each in members if each.device == port):
        yield bridge
        yield from (each.device for each in members if each.bridge == bridge)
    for each in plan.operations:
        if isinstance(each, AddMacvtap) and each.port == port:
            yield from (port, each.name)
