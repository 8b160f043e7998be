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


def drop_at_taps(plan: Plan) -> Plan:
    """Packet sockets on a tap are served before its tc hook, its bridge after it."""
    for tap in _taps(plan):
        plan = _filter_port(plan, tap, HOP_PORT, "drop")
    return plan


def drop_at_port(plan: Plan) -> Plan:
    """Packet sockets on a macvtap come before the port's tc hook, those on the port after it."""
    return _filter_port(plan, macvtap_port(plan), HOP_PORT, "drop", way="egress")


def small_mtu(plan: Plan) -> Plan:
    """A bridge drops what is longer than the MTU of the port that it should leave by.

    It allows for 14 bytes of header and 4 of a VLAN tag (is_skb_forwardable, net/core/dev.c), and
    counts nothing.
    """
    taps = _taps(plan)
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
    virtio = any(word.startswith("virtio-net-pci") for word in words(*plan.guests))
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
    """Whether the way to a guest is said to lead from a port into a bridge."""
    return _uplink_member(plan) is not None


def bridged_taps(plan: Plan) -> bool:
    """The same, and guests sit on bridges with taps."""
    return bridged(plan) and bool(_taps(plan))


def on_macvtap(plan: Plan) -> bool:
    """Whether the way to a guest is said to lead through the one port that macvtaps sit on."""
    return macvtap_port(plan) in _hops(plan)


def without_bridge(plan: Plan) -> bool:
    """Whether the host is to have no bridge, and says so."""
    return any("bridge" in (expected.absent or ()) for expected in plan.expectations)


def _filter_uplink(plan: Plan, port: int, *action: str) -> Plan:
    """An action of tc(8) for UDP to ``port`` where it comes in from the wire to a bridge."""
    uplink = _uplink_member(plan)
    return _filter_port(plan, uplink.device if uplink else None, port, *action)


def _filter_port(
    plan: Plan, device: str | None, port: int, *action: str, way: str = "ingress"
) -> Plan:
    """An action of tc(8) for UDP to ``port`` where it comes in through a device, or goes out."""
    assert device is not None
    qdisc = ("dev", device, "clsact")
    into = ("dev", device, way, "protocol", "ip")
    match = ("flower", "ip_proto", "udp", "dst_port", str(port))
    return after(
        plan,
        Exec(argv=("tc", "qdisc", "add", *qdisc), undo=("tc", "qdisc", "del", *qdisc)),
        Exec(argv=("tc", "filter", "add", *into, *match, "action", *action)),
    )


def _uplink_member(plan: Plan) -> AddMember | None:
    """How the first port that is said to be a hop is joined to a bridge; None where none is."""
    ports = {port.device for port in plan.facts.ports}
    members = {
        operation.device: operation
        for operation in plan.operations
        if isinstance(operation, AddMember) and operation.device in ports
    }
    return next((members[device] for device in _hops(plan) if device in members), None)


def _hops(plan: Plan) -> tuple[str, ...]:
    """The devices of all ways, each in the order of the way in."""
    return tuple(hop.device for each in plan.expectations for hop in each.hops or ())


def _taps(plan: Plan) -> tuple[str, ...]:
    return tuple(each.name for each in plan.operations if isinstance(each, AddTap))
