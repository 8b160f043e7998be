"""Plans spoiled on purpose, each so that exactly one check has to turn red: negative controls.

Nothing that a sabotage does is told to the expectations: the plan still claims what it claimed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from lab.plan import failover, giveaway, isolation
from lab.plan.data import (
    ECHO_PORT,
    HOP_PORT,
    AddBridge,
    AddMember,
    AddTap,
    AddVeth,
    Carrier,
    Exec,
    Exits,
    GuestPlan,
    HotplugStep,
    LinkUp,
    NicPlan,
    Operation,
    Plan,
)
from lab.plan.hotplug import as_word, reworded

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


def _no_ioeventfd(plan: Plan) -> Plan:
    """Then a kick goes all the way to QEMU, as the access to a register does."""
    return _with_setting(plan, "ioeventfd", lambda _: "off")


def _no_mq(plan: Plan) -> Plan:
    return _with_setting(plan, "mq", lambda _: "off")


def _few_vectors(plan: Plan) -> Plan:
    """One for the configuration, one for control: the queues have to share what is left."""
    return _with_setting(plan, "vectors", lambda _: "2")


def _one_vcpu(plan: Plan) -> Plan:
    def spoiled(guest: GuestPlan) -> GuestPlan:
        words = list(guest.argv)
        words[words.index("-smp") + 1] = "1"
        return guest.model_copy(update={"argv": tuple(words)})

    return plan.model_copy(update={"guests": tuple(spoiled(guest) for guest in plan.guests)})


def _other_rings(plan: Plan) -> Plan:
    return _with_setting(plan, "packed", lambda old: "off" if old == "on" else "on")


def _with_setting(plan: Plan, name: str, change: Callable[[str], str]) -> Plan:
    """Change a setting of every virtio NIC, or add it."""

    def spoiled(word: str) -> str:
        if not word.startswith("virtio-net-pci,"):
            return word
        model, *settings = word.split(",")
        old = dict(setting.split("=", 1) for setting in settings)
        return ",".join(
            [model, *(f"{k}={v}" for k, v in {**old, name: change(old.get(name, ""))}.items())]
        )

    return _with_argv(plan, spoiled)


def _deaf_guest(plan: Plan) -> Plan:
    """A guest whose vCPUs stand still cannot let anything go."""
    stop = HotplugStep(command="stop", arguments={})
    return _with_unplug(plan, lambda nic: (stop, *nic.unplug))


def _netdev_kept(plan: Plan) -> Plan:
    """The device goes, what stands behind it stays: its tap and its vhost remain open."""

    def steps(nic: NicPlan) -> tuple[HotplugStep, ...]:
        return tuple(step for step in nic.unplug if step.command != "netdev_del")

    return _with_unplug(plan, steps)


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
    """Change the words of all QEMU lines, and of what is plugged in later."""

    def spoiled(guest: GuestPlan) -> GuestPlan:
        return guest.model_copy(
            update={
                "argv": tuple(change(word) for word in guest.argv),
                "nics": tuple(reworded(nic, change) for nic in guest.nics),
            }
        )

    return plan.model_copy(update={"guests": tuple(spoiled(guest) for guest in plan.guests)})


def _words(plan: Plan) -> Iterator[str]:
    for guest in plan.guests:
        yield from guest.argv
        for nic in guest.nics:
            yield from (as_word(step) for step in nic.hotplug)


def _with_unplug(plan: Plan, steps: Callable[[NicPlan], tuple[HotplugStep, ...]]) -> Plan:
    def spoiled(guest: GuestPlan) -> GuestPlan:
        nics = tuple(nic.model_copy(update={"unplug": steps(nic)}) for nic in guest.nics)
        return guest.model_copy(update={"nics": nics})

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


def _virtio_without_exits(plan: Plan) -> bool:
    """With vhost QEMU would give vhost up as well, and the carrier would turn red too."""
    return _expects(plan, exits=Exits.NONE, carrier=Carrier.QEMU)


def _several_queues(plan: Plan) -> bool:
    virtio = any(word.startswith("virtio-net-pci,") for word in _words(plan))
    return virtio and any((expected.queues or 0) > 1 for expected in plan.expectations)


def _several_vcpus(plan: Plan) -> bool:
    return _several_queues(plan) and all(
        guest.argv[guest.argv.index("-smp") + 1] != "1" for guest in plan.guests
    )


def _packed_or_not(plan: Plan) -> bool:
    """vhost has no packed rings: there the carrier would turn red too."""
    packed = any(expected.packed is not None for expected in plan.expectations)
    return packed and not _carried_by_vhost(plan)


def _expects(plan: Plan, **values: object) -> bool:
    return any(
        all(getattr(expected, key) is value for key, value in values.items())
        for expected in plan.expectations
    )


def _plugged_in(plan: Plan) -> bool:
    return any(nic.hotplug for guest in plan.guests for nic in guest.nics)


def _netdev_plugged_in(plan: Plan) -> bool:
    """One round only: the next would find its netdev there already."""
    return _plugged_in(plan) and all(
        nic.netdev and nic.rounds == 1 for guest in plan.guests for nic in guest.nics
    )


def _swappable(plan: Plan) -> bool:
    """Any model but virtio, in whose place another would turn carrier, exits or rings red too."""
    models = {word.partition(",")[0] for word in _words(plan)}
    return "virtio-net-pci" not in models and bool(models & _SWAPS.keys())


def _unverified(plan: Plan) -> bool:
    """A virtio guest takes the host's word for a checksum that the host has not looked at.

    Any other would drop the packet, and reach would turn red as well.
    """
    taps = any(isinstance(operation, AddTap) for operation in plan.operations)
    virtio = any(word.startswith("virtio-net-pci") for word in _words(plan))
    return _bridged(plan) and taps and virtio


_SWAPS = {"e1000": "e1000e", "e1000e": "e1000"}
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
    *(Sabotage(*fault) for fault in failover.FAULTS),
    Sabotage(
        "no-ioeventfd",
        "the guest's kicks go to QEMU as exits instead of to an eventfd",
        "exits",
        _virtio_without_exits,
        _no_ioeventfd,
    ),
    Sabotage(
        "no-mq",
        "the device is not told that its netdev has several queues, and uses one",
        "queues",
        _several_queues,
        _no_mq,
    ),
    Sabotage(
        "few-vectors",
        "the device has too few interrupts, so its queues share one",
        "interrupts",
        _several_queues,
        _few_vectors,
    ),
    Sabotage(
        "one-vcpu",
        "the guest has one vCPU, which serves all queues",
        "vcpus",
        _several_vcpus,
        _one_vcpu,
    ),
    Sabotage(
        "other-rings",
        "the guest gets packed rings instead of split ones, or the reverse",
        "packed",
        _packed_or_not,
        _other_rings,
    ),
    Sabotage(
        "deaf-guest",
        "the guest stands still when it is asked to let its NIC go",
        "unplug",
        _plugged_in,
        _deaf_guest,
    ),
    Sabotage(
        "netdev-kept",
        "the NIC is unplugged, but what stands behind it is left in QEMU",
        "leaks",
        _netdev_plugged_in,
        _netdev_kept,
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
