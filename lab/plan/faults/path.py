"""Faults on the way between the wire and a guest's tap or macvtap."""

from __future__ import annotations

from lab.plan.data import ECHO_PORT, HOP_PORT, Plan
from lab.plan.faults.alteration import after, with_operations, words
from lab.plan.faults.isolation import macvtap_port
from lab.plan.operations import AddBridge, AddMember, AddTap, AddVeth, Exec, LinkUp, Operation

_SMALL_MTU = 1400


def drop_at_bridge(plan: Plan) -> Plan:
    """Packet sockets on the uplink are served before its tc hook, so the uplink still sees it."""
    return _filter_uplink(plan, HOP_PORT, "drop")


def drop_at_macvtap(plan: Plan) -> Plan:
    """The port's packet sockets come before its tc hook, macvtap after it."""
    return _filter_port(plan, macvtap_port(plan), HOP_PORT, "drop")


def small_mtu(plan: Plan) -> Plan:
    """A bridge drops what is longer than the MTU of the port that it should leave by.

    It allows for 14 bytes of header and 4 of a VLAN tag (is_skb_forwardable, net/core/dev.c), and
    counts nothing.
    """
    taps = {operation.name for operation in plan.operations if isinstance(operation, AddTap)}
    changed = (
        operation.model_copy(update={"mtu": _SMALL_MTU})
        if isinstance(operation, LinkUp) and operation.device in taps
        else operation
        for operation in plan.operations
    )
    return with_operations(plan, tuple(changed))


def bad_checksum(plan: Plan) -> Plan:
    """Inverts the two bytes at 26 of the IP packet: the UDP checksum (RFC 768) after 20 of IP."""
    return _filter_uplink(
        plan, ECHO_PORT, "pedit", "munge", "offset", "26", "u16", "invert", "pipe", "action", "ok"
    )


def unverified(plan: Plan) -> bool:
    """A virtio guest takes the host's word for a checksum that the host has not looked at.

    Any other would drop the packet, and reach would turn red as well.
    """
    virtio = any(word.startswith("virtio-net-pci") for word in words(plan))
    return bridged_taps(plan) and virtio


def extra_hop(plan: Plan) -> Plan:
    """br0 --near--veth--far-- detour --uplink: everything arrives, by one bridge too many."""
    uplink = _uplink_member(plan)
    assert uplink is not None
    detour: tuple[Operation, ...] = (
        AddBridge(name="detour"),
        AddVeth(name="detour-near", peer="detour-far"),
        AddMember(device="detour-near", bridge=uplink.bridge),
        AddMember(device="detour-far", bridge="detour"),
        AddMember(device=uplink.device, bridge="detour"),
        *(LinkUp(device=name) for name in ("detour", "detour-near", "detour-far")),
    )
    place = plan.operations.index(uplink)
    return with_operations(plan, (*plan.operations[:place], *detour, *plan.operations[place + 1 :]))


def bridged(plan: Plan) -> bool:
    """Whether a bridge has the port under test."""
    return _uplink_member(plan) is not None


def bridged_taps(plan: Plan) -> bool:
    """Whether guests sit with their taps on the bridge that has the port under test."""
    return bridged(plan) and any(isinstance(operation, AddTap) for operation in plan.operations)


def on_macvtap(plan: Plan) -> bool:
    """Whether macvtaps sit on one port."""
    return macvtap_port(plan) is not None


def without_bridge(plan: Plan) -> bool:
    """Whether the host is to have no bridge, and says so."""
    return any("bridge" in (expected.absent or ()) for expected in plan.expectations)


def _filter_uplink(plan: Plan, port: int, *action: str) -> Plan:
    """An action of tc(8) for UDP to ``port`` where it comes in from the wire to a bridge."""
    uplink = _uplink_member(plan)
    return _filter_port(plan, uplink.device if uplink else None, port, *action)


def _filter_port(plan: Plan, device: str | None, port: int, *action: str) -> Plan:
    """An action of tc(8) for UDP to ``port`` where it comes in through a device."""
    assert device is not None
    qdisc = ("dev", device, "clsact")
    into = ("dev", device, "ingress", "protocol", "ip")
    match = ("flower", "ip_proto", "udp", "dst_port", str(port))
    return after(
        plan,
        Exec(argv=("tc", "qdisc", "add", *qdisc), undo=("tc", "qdisc", "del", *qdisc)),
        Exec(argv=("tc", "filter", "add", *into, *match, "action", *action)),
    )


def _uplink_member(plan: Plan) -> AddMember | None:
    """How the port under test is joined to a bridge; None where no bridge has it."""
    uplink = next((port.device for port in plan.facts.ports if port.name == "uplink"), None)
    for operation in plan.operations:
        if isinstance(operation, AddMember) and operation.device == uplink:
            return operation
    return None
