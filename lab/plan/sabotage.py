"""Plans spoiled on purpose, each so that exactly one check has to turn red: negative controls.

Nothing that a sabotage does is told to the expectations: the plan still claims what it claimed.
What is changed, and where that can be, is said in `lab.plan.faults`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from lab.plan.data import Plan
from lab.plan.faults import giveaway, isolation, move, nic, path, plugging

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


SABOTAGES = (
    Sabotage(
        "vhost-off",
        "QEMU carries the packets itself although vhost is expected",
        "carrier",
        nic.carried_by_vhost,
        nic.vhost_off,
    ),
    Sabotage(
        "vhost-on",
        "vhost carries the packets although QEMU is expected to",
        "carrier",
        nic.carried_by_qemu,
        nic.vhost_on,
    ),
    Sabotage(
        "vhost-idle",
        "QEMU opens vhost-net beside a card that has no use for it",
        "carrier",
        nic.idle_beside_card,
        nic.vhost_on,
    ),
    Sabotage(
        "drop-at-bridge",
        "marked probes from the wire vanish between the uplink and its bridge",
        "hops.in",
        path.bridged,
        path.drop_at_bridge,
    ),
    Sabotage(
        "drop-at-tap",
        "marked probes from the guest vanish between its tap and the bridge",
        "hops.out",
        path.bridged_taps,
        path.drop_at_taps,
    ),
    Sabotage(
        "small-mtu",
        "the guest's tap has a smaller MTU than the guest, so its bridge drops full frames",
        "reach.",
        path.bridged_taps,
        path.small_mtu,
    ),
    Sabotage(
        "wrong-driver",
        "the guest gets another NIC than expected, and binds another driver",
        "driver",
        nic.swappable,
        nic.other_model,
    ),
    Sabotage(
        "virtio-instead",
        "the guest gets a virtio NIC, for which it does not stop, and binds another driver",
        "exits",
        nic.stops_for_packets,
        nic.paravirtual,
    ),
    Sabotage(
        "extra-hop",
        "a second bridge, joined by a veth pair, stands between bridge and uplink",
        "strangers",
        path.bridged,
        path.extra_hop,
    ),
    Sabotage(
        "bad-checksum",
        "the UDP checksum of echo requests from the wire is destroyed on the way",
        "checksum",
        path.unverified,
        path.bad_checksum,
    ),
    Sabotage(
        "no-ioeventfd",
        "the guest's kicks go to QEMU as exits instead of to an eventfd",
        "exits",
        nic.without_exits,
        nic.no_ioeventfd,
    ),
    Sabotage(
        "no-mq",
        "the device is not told that its netdev has several queues, and uses one",
        "queues",
        nic.several_queues,
        nic.no_mq,
    ),
    Sabotage(
        "few-vectors",
        "the device has too few interrupts, so its queues share one",
        "interrupts",
        nic.several_queues,
        nic.few_vectors,
    ),
    Sabotage(
        "one-vcpu",
        "the guest has one vCPU, which serves all queues",
        "vcpus",
        nic.several_vcpus,
        nic.one_vcpu,
    ),
    Sabotage(
        "other-rings",
        "the guest gets packed rings instead of split ones, or the reverse",
        "packed",
        nic.packed_or_not,
        nic.other_rings,
    ),
    Sabotage(
        "small-ring",
        "the guest makes its receive ring half as long as was asked for",
        "rx-ring",
        nic.ring_asked_for,
        nic.small_ring,
    ),
    Sabotage(
        "deaf-guest",
        "the guest stands still when it is asked to let its NIC go",
        "unplug",
        plugging.plugged_in,
        plugging.deaf_guest,
    ),
    Sabotage(
        "netdev-kept",
        "the NIC is unplugged, but what stands behind it is left in QEMU",
        "leaks",
        plugging.netdev_plugged_in,
        plugging.netdev_kept,
    ),
    Sabotage(
        "drop-at-macvtap",
        "marked probes from the wire vanish between the port and its macvtap",
        "hops.in",
        path.on_macvtap,
        path.drop_at_macvtap,
    ),
    Sabotage(
        "drop-at-port",
        "marked probes from the guest vanish between its macvtap and the port",
        "hops.out",
        path.on_macvtap,
        path.drop_at_port,
    ),
    Sabotage(
        "lookout",
        "a device beside the path gets a copy of every frame that leaves the port",
        "strangers",
        path.on_macvtap,
        isolation.lookout,
    ),
    Sabotage(
        "idle-bridge",
        "the host has a bridge, although nothing is joined to it",
        "absent",
        path.without_bridge,
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
        isolation.relayed,
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
        giveaway.given_away,
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
        "line-left",
        "the line in modprobe.d that makes the VFs is written again after all was undone",
        LEFT_BEHIND,
        giveaway.persistent,
        giveaway.line_left,
    ),
    Sabotage(
        "emulated",
        "the guest gets QEMU's own NIC of the same model, on a bridge with the port",
        "pci.given",
        giveaway.given_whole,
        giveaway.emulated,
    ),
    Sabotage(
        "vepa",
        "the port hands what its VFs say to each other to the cable, and the far end sends it back",
        "switched.",
        giveaway.switched,
        giveaway.vepa,
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
        "more-vfs",
        "the port makes one VF more than was asked for",
        "vf.count",
        giveaway.makes_more,
        giveaway.more_vfs,
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
        "trusted",
        "the VF is trusted although it should not be, so its guest may change the MAC address",
        "vf.trust",
        giveaway.claimed("trust", False),
        giveaway.setting(trust=True),
    ),
    Sabotage(
        "no-spoofchk",
        "the port does not check what the VF sends for forged addresses",
        "vf.spoofchk",
        giveaway.claimed("spoofchk", True),
        giveaway.setting(spoofchk=False),
    ),
    Sabotage(
        "spoofchk",
        "the port checks what the VF sends for forged addresses, although it should not",
        "vf.spoofchk",
        giveaway.claimed("spoofchk", False),
        giveaway.setting(spoofchk=True),
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
    Sabotage(
        "no-vf-there",
        "the target is started without the VF that the guest is to get there",
        "primary",
        move.comes_back,
        move.no_vf_there,
    ),
    Sabotage(
        "vf-there",
        "the target is started with a VF although the guest is to get none there",
        "primary",
        move.stays_away,
        move.vf_there,
    ),
    Sabotage(
        "other-mac",
        "the source's VF has another address than its standby, so the guest pairs nothing",
        "pair",
        move.migrates,
        move.other_mac,
    ),
    Sabotage(
        "no-announcement",
        "nobody announces the guest's address after the move",
        "announce",
        move.completes,
        move.silent,
    ),
    Sabotage(
        "standby-cut",
        "the source's standby hangs on a tap that is in no bridge",
        "standby",
        move.migrates,
        move.standby_cut,
    ),
    Sabotage(
        "lossy-standby",
        "every fourth packet to a standby is lost",
        "stream.lost",
        move.completes,
        move.lossy_standby,
    ),
    Sabotage(
        "long-pause",
        "the guest is held still for longer than the path may be silent",
        "stream.downtime",
        move.limited,
        move.held,
    ),
    Sabotage(
        "vf-hidden",
        "the guest that is to be refused has failover too, so its VF is no hindrance",
        "refused",
        move.migrates,
        move.taken,
    ),
    Sabotage(
        "other-end",
        "the migration is aborted where it is to complete, or the other way round",
        "migration",
        move.migrates,
        move.other_end,
    ),
)
_BY_NAME = {sabotage.name: sabotage for sabotage in SABOTAGES}
