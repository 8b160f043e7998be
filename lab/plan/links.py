"""The host operations of a topology, in the order in which they are carried out.

Links come up after they are joined, so that nothing is sent over half a path.
"""

from __future__ import annotations

from collections.abc import Iterator

from lab.errors import CannotError
from lab.model.topology import Nic, Vf
from lab.plan.data import FunctionPlan, Port
from lab.plan.operations import (
    AddAddress,
    AddBridge,
    AddMacvtap,
    AddMember,
    AddTap,
    AddVfs,
    AddVlan,
    BindVfio,
    LinkUp,
    Operation,
    SetVf,
)
from lab.plan.where import WIRE
from lab.plan.wiring import PREFIX, RELAY, Seat, Wiring


def operations(wiring: Wiring) -> tuple[Operation, ...]:
    """All of them. Raises CannotError where the place lacks a port or what it must be able to."""
    return (
        *_makers(wiring),
        *_relay(wiring),
        *_bridges(wiring),
        *_taps(wiring),
        *_macvtaps(wiring),
        *_functions(wiring),
        *_whole_ports(wiring),
        *_ups(wiring),
        *_vlans(wiring),
        *_addresses(wiring),
    )


def vf_address(port: Port, index: int) -> str:
    """The PCI address of a VF.

    The 82576 has its VFs at routing ID offset 128 with stride 2 (its SR-IOV capability; datasheet
    9.6.4), odd for the second port of a card. Raises CannotError for a port without PCI address.
    """
    if port.driver != "igb" or not port.pci:
        raise CannotError(
            f"port {port.name} ({port.device}) makes no VFs: it is no igb port",
            hint="run this topology in a lab host (--on labhost)",
        )
    domain, bus, slot, function = _pci_numbers(port.pci)
    routing = (bus << 8 | slot << 3 | function) + 128 + 2 * index
    return f"{domain:04x}:{routing >> 8:02x}:{routing >> 3 & 31:02x}.{routing & 7}"


def _pci_numbers(address: str) -> tuple[int, int, int, int]:
    domain, bus, rest = address.split(":")
    slot, function = rest.split(".")
    return int(domain, 16), int(bus, 16), int(slot, 16), int(function)


def _relay(wiring: Wiring) -> Iterator[Operation]:
    if wiring.topology.wire.hairpin:
        yield AddBridge(name=RELAY, where=WIRE)
        yield AddMember(device=wiring.facts.tester, bridge=RELAY, hairpin=True, where=WIRE)


def _vlans(wiring: Wiring) -> Iterator[Operation]:
    """The tester's end of each VLAN."""
    tester = wiring.facts.tester
    vlans = {seat.vlan: seat.tester for seat in wiring.seats}
    for vlan, device in vlans.items():
        if vlan is not None:
            yield AddVlan(name=device, device=tester, vlan=vlan, where=WIRE)
            yield LinkUp(device=device, where=WIRE)


def _addresses(wiring: Wiring) -> Iterator[Operation]:
    """The tester's, one for each network that a NIC is in."""
    pairs = ((seat.peer, seat.tester or wiring.tester) for seat in wiring.lanes)
    for peer, device in dict.fromkeys(pairs):
        yield AddAddress(device=device, cidr=f"{peer}/{PREFIX}", where=WIRE)


def _bridges(wiring: Wiring) -> Iterator[Operation]:
    for bridge in wiring.topology.bridges:
        yield AddBridge(name=bridge.name)
        if bridge.uplink is not None:
            yield AddMember(device=wiring.port(bridge.uplink).device, bridge=bridge.name)


def _taps(wiring: Wiring) -> Iterator[Operation]:
    for seat in (*wiring.seats, *wiring.targets):
        if seat.nic.bridge is not None:
            yield AddTap(name=seat.device, queues=seat.nic.queues)
            yield AddMember(device=seat.device, bridge=seat.nic.bridge)


def _macvtaps(wiring: Wiring) -> Iterator[Operation]:
    for seat in wiring.seats:
        macvtap = seat.nic.macvtap
        if macvtap is not None:
            yield AddMacvtap(
                name=seat.device,
                port=wiring.port(macvtap.port).device,
                mode=macvtap.mode.value,
                mac=seat.mac,
                allmulticast=macvtap.allmulticast,
            )


def _makers(wiring: Wiring) -> Iterator[Operation]:
    """A module that is loaded anew takes all its ports along, so that comes before all else.

    By sysfs, the port is up before its VFs get drivers: a VF takes its link from it.
    """
    for functions in sorted(wiring.topology.vfs, key=lambda each: each.create != "max_vfs"):
        port = wiring.port(functions.port)
        vf_address(port, functions.count - 1)  # refuses a port that makes none
        up = LinkUp(device=port.device)
        make = AddVfs(
            device=port.device,
            pci=port.pci,
            count=functions.count,
            create=functions.create,
            persist=functions.persist,
        )
        # A module that is loaded anew leaves its ports down.
        yield from (up, make) if functions.create == "sysfs" else (make, up)


def _functions(wiring: Wiring) -> Iterator[Operation]:
    for seat in (*wiring.seats, *wiring.targets):
        if seat.nic.vf is not None:
            yield from _function(wiring, seat, seat.nic.vf)


def _function(wiring: Wiring, seat: Seat, vf: Vf) -> Iterator[Operation]:
    """The MAC is set before any driver of the VF loads; later ones would not take it."""
    port = wiring.port(vf.port)
    yield vf_settings(wiring, seat, vf)
    yield BindVfio(pci=vf_address(port, vf.index), memory=seat.guest.memory)


def vf_settings(wiring: Wiring, seat: Seat, vf: Vf) -> SetVf:
    """What the port is told about a VF."""
    return SetVf(
        device=wiring.port(vf.port).device,
        index=vf.index,
        mac=seat.mac,
        vlan=vf.vlan,
        trust=vf.trust,
        spoofchk=vf.spoofchk,
    )


def function_plan(wiring: Wiring, seat: Seat) -> FunctionPlan | None:
    """The PCI function that a NIC is; None where QEMU plays it."""
    vf, whole = seat.nic.vf, seat.nic.passthrough
    if vf is not None:
        address = vf_address(wiring.port(vf.port), vf.index)
        count = next(each.count for each in wiring.topology.vfs if each.port == vf.port)
        return FunctionPlan(pci=address, vf=vf_settings(wiring, seat, vf), vfs=count)
    return None if whole is None else FunctionPlan(pci=wiring.port(whole).pci)


def _whole_ports(wiring: Wiring) -> Iterator[Operation]:
    for seat in wiring.seats:
        if seat.nic.passthrough is not None:
            port = wiring.port(seat.nic.passthrough)
            if not port.pci:
                raise CannotError(
                    f"port {port.name} ({port.device}) is no PCI device to pass through",
                    hint="run this topology in a lab host (--on labhost)",
                )
            yield BindVfio(pci=port.pci, memory=seat.guest.memory)


def _ups(wiring: Wiring) -> Iterator[Operation]:
    for bridge in wiring.topology.bridges:
        if bridge.uplink is not None:
            yield LinkUp(device=wiring.port(bridge.uplink).device)
        yield LinkUp(device=bridge.name)
    lower = {_lower_port(wiring, seat.nic) for seat in wiring.seats if seat.nic.macvtap}
    for device in sorted(lower):
        yield LinkUp(device=device)
    for seat in (*wiring.seats, *wiring.targets):
        if seat.device:
            yield LinkUp(device=seat.device)
    yield LinkUp(device=wiring.facts.tester, where=WIRE)
    if wiring.topology.wire.hairpin:
        yield LinkUp(device=RELAY, where=WIRE)


def _lower_port(wiring: Wiring, nic: Nic) -> str:
    assert nic.macvtap is not None
    return wiring.port(nic.macvtap.port).device
