"""Plans spoiled on purpose, each so that exactly one check has to turn red: negative controls.

Nothing that a sabotage does is told to the expectations: the plan still claims what it claimed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from lab.plan import giveaway, isolation
from lab.plan.data import (
    AddBridge,
    AddMember,
    AddTap,
    AddVeth,
    Carrier,
    Exec,
    GuestPlan,
    LinkUp,
    Operation,
    Plan,
)

HOP_PORT = 9477
"""UDP destination port of the marked hop probes, and of nothing else."""
ECHO_PORT = 7
"""UDP destination port of the echo exchanges (RFC 862)."""
LEFT_BEHIND = "left-behind"


@dataclass(frozen=True)
class Sabotage:
    """One alteration. ``check`` is the check that must turn red, or the start of its name."""

    name: str
    sentence: str
    check: str
    _applicable: Callable[[Plan], bool]
    _spoil: Callable[[Plan], Plan]

    def applicable(self, plan: Plan) -> bool:
        """Whether this plan can be spoiled so that only ``check`` notices."""
        return self._applicable(plan)

    def spoil(self, plan: Plan) -> Plan:
        """The spoiled plan; the plan must be one that this is `applicable` to."""
        return self._spoil(plan)


def applicable(plan: Plan) -> tuple[Sabotage, ...]:
    """The sabotages that fit this plan."""
    return tuple(sabotage for sabotage in SABOTAGES if sabotage.applicable(plan))


def by_name(name: str) -> Sabotage:
    """Raises KeyError when there is none of that name."""
    return _BY_NAME[name]


def _vhost_off(plan: Plan) -> Plan:
    return _with_argv(plan, lambda word: word.replace("vhost=on", "vhost=off"))


def _drop_at_bridge(plan: Plan) -> Plan:
    """Packet sockets on the uplink are served before its tc hook, so the uplink still sees it."""
    return _filter_uplink(plan, HOP_PORT, "drop")


def _wrong_driver(plan: Plan) -> Plan:
    """The other of two models that QEMU carries the same way, with a driver of its own."""

    def other(word: str) -> str:
        model, comma, rest = word.partition(",")
        if model not in _SWAPS:
            return word
        kept = (part for part in rest.split(",") if part.startswith(_COMMON_SETTINGS))
        return f"{_SWAPS[model]}{comma}{','.join(kept)}"

    return _with_argv(plan, other)


def _extra_hop(plan: Plan) -> Plan:
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
    return _with_operations(
        plan, (*plan.operations[:place], *detour, *plan.operations[place + 1 :])
    )


def _drop_at_macvtap(plan: Plan) -> Plan:
    """The port's packet sockets come before its tc hook, macvtap after it."""
    return _filter_port(plan, isolation.macvtap_port(plan), HOP_PORT, "drop")


def _bad_checksum(plan: Plan) -> Plan:
    """Inverts the two bytes at 26 of the IP packet: the UDP checksum (RFC 768) after 20 of IP."""
    return _filter_uplink(
        plan, ECHO_PORT, "pedit", "munge", "offset", "26", "u16", "invert", "pipe", "action", "ok"
    )


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
    added: tuple[Operation, ...] = (
        Exec(argv=("tc", "qdisc", "add", *qdisc), undo=("tc", "qdisc", "del", *qdisc)),
        Exec(argv=("tc", "filter", "add", *into, *match, "action", *action)),
    )
    return _with_operations(plan, (*plan.operations, *added))


def _with_operations(plan: Plan, operations: tuple[Operation, ...]) -> Plan:
    return plan.model_copy(update={"operations": operations})


def _with_argv(plan: Plan, change: Callable[[str], str]) -> Plan:
    def spoiled(guest: GuestPlan) -> GuestPlan:
        return guest.model_copy(update={"argv": tuple(change(word) for word in guest.argv)})

    return plan.model_copy(update={"guests": tuple(spoiled(guest) for guest in plan.guests)})


def _uplink_member(plan: Plan) -> AddMember | None:
    """How the port under test is joined to a bridge; None where no bridge has it."""
    uplink = next((port.device for port in plan.facts.ports if port.name == "uplink"), None)
    for operation in plan.operations:
        if isinstance(operation, AddMember) and operation.device == uplink:
            return operation
    return None


def _bridged(plan: Plan) -> bool:
    return _uplink_member(plan) is not None


def _on_macvtap(plan: Plan) -> bool:
    return isolation.macvtap_port(plan) is not None


def _without_bridge(plan: Plan) -> bool:
    """Whether the host is to have no bridge, and says so."""
    return any("bridge" in (expected.absent or ()) for expected in plan.expectations)


def _relayed_guests(plan: Plan) -> bool:
    return _on_macvtap(plan) and isolation.relay(plan)


def _carried_by_vhost(plan: Plan) -> bool:
    return any(expected.carrier is Carrier.VHOST for expected in plan.expectations)


def _swappable(plan: Plan) -> bool:
    """Only vhost carries virtio alone: any other model there would turn the carrier red too."""
    models = {word.partition(",")[0] for guest in plan.guests for word in guest.argv}
    return not _carried_by_vhost(plan) and bool(models & _SWAPS.keys())


def _unverified(plan: Plan) -> bool:
    """A virtio guest takes the host's word for a checksum that the host has not looked at.

    Any other would drop the packet, and reach would turn red as well.
    """
    taps = any(isinstance(operation, AddTap) for operation in plan.operations)
    virtio = any(word.startswith("virtio-net-pci") for g in plan.guests for word in g.argv)
    return _bridged(plan) and taps and virtio


_SWAPS = {"e1000": "e1000e", "e1000e": "e1000", "virtio-net-pci": "e1000e"}
_SWAPS |= dict.fromkeys(("rtl8139", "igb", "vmxnet3"), "e1000e")
_COMMON_SETTINGS = ("id=", "netdev=", "mac=", "bus=", "romfile=")

SABOTAGES = (
    Sabotage(
        "vhost-off",
        "QEMU carries the packets itself although vhost is expected",
        "carrier",
        _carried_by_vhost,
        _vhost_off,
    ),
    Sabotage(
        "drop-at-bridge",
        "marked probes from the wire vanish between the uplink and its bridge",
        "hops.in",
        _bridged,
        _drop_at_bridge,
    ),
    Sabotage(
        "wrong-driver",
        "the guest gets another NIC than expected, and binds another driver",
        "driver",
        _swappable,
        _wrong_driver,
    ),
    Sabotage(
        "extra-hop",
        "a second bridge, joined by a veth pair, stands between bridge and uplink",
        "strangers",
        _bridged,
        _extra_hop,
    ),
    Sabotage(
        "bad-checksum",
        "the UDP checksum of echo requests from the wire is destroyed on the way",
        "checksum",
        _unverified,
        _bad_checksum,
    ),
    Sabotage(
        "drop-at-macvtap",
        "marked probes from the wire vanish between the port and its macvtap",
        "hops.in",
        _on_macvtap,
        _drop_at_macvtap,
    ),
    Sabotage(
        "lookout",
        "a device beside the path gets a copy of every frame that leaves the port",
        "strangers",
        _on_macvtap,
        isolation.lookout,
    ),
    Sabotage(
        "idle-bridge",
        "the host has a bridge, although nothing is joined to it",
        "absent",
        _without_bridge,
        isolation.idle_bridge,
    ),
    Sabotage(
        "no-isolation",
        "the macvtaps are in mode bridge, so guests that must not meet do",
        "meet.",
        isolation.keeps_apart,
        isolation.mode("bridge"),
    ),
    Sabotage(
        "isolation",
        "the macvtaps are in mode private, so guests that should meet do not",
        "meet.",
        isolation.brings_together,
        isolation.mode("private"),
    ),
    Sabotage(
        "no-hairpin",
        "the far end does not send back what has to come back to where it came from",
        "meet.",
        _relayed_guests,
        isolation.no_hairpin,
    ),
    Sabotage(
        "host-leak",
        "what the host sends to its own guest comes back in through the port",
        "meet.",
        lambda plan: isolation.host_question(plan) is not None,
        isolation.host_leak,
    ),
    Sabotage(
        "other-groups",
        "macvtap takes the groups that it should not take, or none where it should take all",
        "meet.",
        isolation.asks_for_groups,
        isolation.groups,
    ),
    Sabotage(
        "mirror",
        "the host gets a copy of the echo requests that the wire sends",
        "pci.unseen",
        lambda plan: bool(giveaway.functions(plan)),
        giveaway.mirror,
    ),
    Sabotage(
        "driver-lost",
        "the port loses its driver again after it was given back",
        LEFT_BEHIND,
        lambda plan: giveaway.whole(plan) is not None,
        giveaway.driver_lost,
    ),
    Sabotage(
        "vfs-left",
        "a VF is made again after all were removed",
        LEFT_BEHIND,
        giveaway.claimed("mac"),
        giveaway.vfs_left,
    ),
    Sabotage(
        "emulated",
        "the guest gets QEMU's own NIC of the same model, on a bridge with the port",
        "pci.given",
        lambda plan: giveaway.whole(plan) is not None,
        giveaway.emulated,
    ),
    Sabotage(
        "other-vf",
        "another VF carries the packets than the one that should",
        "carrier",
        giveaway.has_spare_vf,
        giveaway.other_vf(),
    ),
    Sabotage(
        "vf-kept",
        "the same, and the VF that should carry them is left without a driver",
        "pci.given",
        giveaway.has_spare_vf,
        giveaway.other_vf(bound=False),
    ),
    Sabotage(
        "wrong-mac",
        "the same, and the VF that should carry them has another MAC address",
        "vf.mac",
        giveaway.has_spare_vf,
        giveaway.other_vf(mac="52:54:00:0b:ad:01"),
    ),
    Sabotage(
        "free-mac",
        "the VF is trusted, so its guest may change the MAC address",
        "vf.mac-fixed",
        giveaway.can_be_trusted,
        giveaway.setting(trust=True),
    ),
    Sabotage(
        "no-trust",
        "the VF is not trusted although it should be",
        "vf.trust",
        giveaway.claimed("trust", True),
        giveaway.setting(trust=False),
    ),
    Sabotage(
        "no-spoofchk",
        "the port does not check what the VF sends for forged addresses",
        "vf.spoofchk",
        giveaway.claimed("spoofchk", True),
        giveaway.setting(spoofchk=False),
    ),
    Sabotage(
        "native-vlan",
        "the far end puts frames without a tag into the VF's VLAN",
        "vf.untagged",
        giveaway.claimed("vlan"),
        giveaway.native_vlan,
    ),
    Sabotage(
        "other-vlan",
        "VF and tester are in another VLAN than the one that was asked for",
        "vf.tagged",
        giveaway.claimed("vlan"),
        giveaway.other_vlan,
    ),
)
_BY_NAME = {sabotage.name: sabotage for sabotage in SABOTAGES}
