"""Devices that see a packet only because the cable is a hub: it hands every frame to all ports.

A port that somebody else uses takes in what is not for it: a bridge on it learns and drops, a port
with VFs hands it to its own driver. That says nothing of the packet's own way, as long as the port
sent none of it on.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator

from lab.evidence.packets import MarkedProbe
from lab.plan.data import Expectation, GuestPlan, NicPlan, Plan
from lab.plan.hotplug import as_word
from lab.plan.operations import AddMacvtap, AddMember, AddVfs
from lab.plan.where import HOST

_IFNAME = re.compile(r",ifname=([^,]+)")


def bystanders(plan: Plan, senders: Collection[str], own: Collection[str]) -> frozenset[str]:
    """Devices of the host that hang on ports which have nothing to do with a packet.

    ``senders`` are the devices that were seen to send it, ``own`` those that have to do with it: a
    port, or what stands on one.
    """
    ports = {port.device for port in plan.facts.ports} - {*senders}
    stacks = {port: frozenset(_stack(plan, port)) for port in ports}
    others = (stack for port, stack in stacks.items() if not (stack | {port}) & {*own})
    return frozenset(device for stack in others for device in stack)


def beside(plan: Plan, expectation: Expectation, probes: Iterable[MarkedProbe]) -> frozenset[str]:
    """The same for one NIC: ``probes`` are those that were sent towards it or from it."""
    sightings = (each for probe in probes for each in probe.sightings if each.where == HOST)
    own = {hop.device for hop in expectation.hops or () if hop.where == HOST}
    senders = {each.device for each in sightings if each.outgoing}
    return bystanders(plan, senders, {*own, vf_port(expectation)})


def vf_port(expectation: Expectation) -> str:
    """The port that makes the VF which a NIC is; empty where it is none."""
    function = expectation.function
    return function.vf.device if function and function.vf else ""


def tap_of(guest: GuestPlan, nic: NicPlan) -> str:
    """The host's device behind a guest's NIC, its tap or macvtap; empty where it has none."""
    words = (*guest.argv, *map(as_word, nic.hotplug))
    netdev = next((word for word in words if f"id={nic.netdev}" in word.split(",")), "")
    if found := _IFNAME.search(netdev):
        return found[1]
    return next((fd.device for fd in guest.fds if fd.device and f"{{fd:{fd.name}}}" in netdev), "")


def _stack(plan: Plan, port: str) -> Iterator[str]:
    """A port with what stands on it; nothing where nobody uses it."""
    members = [
        each for each in plan.operations if isinstance(each, AddMember) and each.where == HOST
    ]
    for bridge in (each.bridge for each in members if each.device == port):
        yield bridge
        yield from (each.device for each in members if each.bridge == bridge)
    for each in plan.operations:
        if isinstance(each, AddMacvtap) and each.port == port:
            yield from (port, each.name)
        if isinstance(each, AddVfs) and each.device == port:
            yield port
