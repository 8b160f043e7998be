"""Faults of the NIC that QEMU shows to its guest: another model, other settings."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from lab.plan.data import Carrier, Exits, GuestPlan, Plan
from lab.plan.faults.alteration import expects, with_guests, with_words, words

_VIRTIO = "virtio-net-pci"
_SWAPS = {"e1000": "e1000e", "e1000e": "e1000"}
_SWAPS |= dict.fromkeys(("rtl8139", "igb", "vmxnet3"), "e1000e")
_COMMON_SETTINGS = ("id=", "netdev=", "mac=", "bus=", "romfile=")
_VHOST_FILES = re.compile(r",vhostfds?=[^,]*")


def vhost_off(plan: Plan) -> Plan:
    """QEMU moves the packets itself. It refuses open files of a vhost that is off."""

    def spoiled(word: str) -> str:
        return _VHOST_FILES.sub("", word.replace("vhost=on", "vhost=off"))

    return with_words(plan, spoiled)


def carried_by_vhost(plan: Plan) -> bool:
    """Whether a NIC's packets are said to be vhost's."""
    return expects(plan, carrier=Carrier.VHOST)


def vhost_on(plan: Plan) -> Plan:
    """The kernel moves the packets, QEMU does not see them."""
    return with_words(plan, lambda word: word.replace("vhost=off", "vhost=on"))


def carried_by_qemu(plan: Plan) -> bool:
    """vhost would take packed rings away, and other models than virtio leave it alone."""
    packed = any(expected.packed for expected in plan.expectations)
    return not packed and _VIRTIO in _models(plan, Carrier.QEMU)


def idle_beside_card(plan: Plan) -> bool:
    """Whose vhost-net an open file is cannot be told of a guest that has several NICs."""
    alone = all(len(guest.nics) == 1 for guest in plan.guests)
    return alone and bool(_models(plan, Carrier.QEMU) & _SWAPS.keys())


def no_ioeventfd(plan: Plan) -> Plan:
    """Then a kick goes all the way to QEMU, as the access to a register does."""
    return _with_setting(plan, "ioeventfd", lambda _: "off")


def without_exits(plan: Plan) -> bool:
    """With vhost QEMU would give vhost up as well, and the carrier would turn red too."""
    return expects(plan, exits=Exits.NONE, carrier=Carrier.QEMU)


def no_mq(plan: Plan) -> Plan:
    """The device is not told of its netdev's queues."""
    return _with_setting(plan, "mq", lambda _: "off")


def few_vectors(plan: Plan) -> Plan:
    """One for the configuration, one for control: the queues have to share what is left."""
    return _with_setting(plan, "vectors", lambda _: "2")


def one_vcpu(plan: Plan) -> Plan:
    """Every guest with one vCPU."""

    def spoiled(guest: GuestPlan) -> GuestPlan:
        argv = list(guest.argv)
        argv[argv.index("-smp") + 1] = "1"
        return guest.model_copy(update={"argv": tuple(argv)})

    return with_guests(plan, spoiled)


def several_queues(plan: Plan) -> bool:
    """Whether a virtio NIC is said to use more than one queue."""
    return _virtio(plan) and any((expected.queues or 0) > 1 for expected in plan.expectations)


def several_vcpus(plan: Plan) -> bool:
    """The same, with a vCPU for more than one of them in every guest."""
    return several_queues(plan) and all(
        guest.argv[guest.argv.index("-smp") + 1] != "1" for guest in plan.guests
    )


def other_rings(plan: Plan) -> Plan:
    """Packed rings instead of split ones, or the reverse."""
    return _with_setting(plan, "packed", lambda old: "off" if old == "on" else "on")


def packed_or_not(plan: Plan) -> bool:
    """vhost has no packed rings: there the carrier would turn red too."""
    packed = any(expected.packed is not None for expected in plan.expectations)
    return packed and not carried_by_vhost(plan)


def small_ring(plan: Plan) -> Plan:
    """The guest halves the receive ring, which is the guest's right (virtio 1.2, 2.6.1)."""
    asked = {(each.guest, each.nic): each.rx_ring for each in plan.expectations}

    def spoiled(guest: GuestPlan) -> GuestPlan:
        lengths = ((nic, asked.get((guest.name, nic.id))) for nic in guest.nics)
        nics = (
            nic.model_copy(update={"rx_ring": length // 2}) if length else nic
            for nic, length in lengths
        )
        return guest.model_copy(update={"nics": tuple(nics)})

    return with_guests(plan, spoiled)


def ring_asked_for(plan: Plan) -> bool:
    """Whether a receive ring is to have a certain length."""
    return any(expected.rx_ring for expected in plan.expectations)


def other_model(plan: Plan) -> Plan:
    """The other of two models that QEMU carries the same way, with a driver of its own."""
    return _as_models(plan, _SWAPS)


def paravirtual(plan: Plan) -> Plan:
    """No other card asks for so little, so its driver is another one too."""
    return _as_models(plan, dict.fromkeys(_SWAPS, _VIRTIO))


def swappable(plan: Plan) -> bool:
    """Any model but virtio, in whose place another would turn carrier, exits or rings red too."""
    models = {word.partition(",")[0] for word in words(*plan.guests)}
    return _VIRTIO not in models and bool(models & _SWAPS.keys())


def stops_for_packets(plan: Plan) -> bool:
    """Whether such a model's guest is said to stop for its packets."""
    return swappable(plan) and expects(plan, exits=Exits.PER_PACKET)


def _as_models(plan: Plan, models: Mapping[str, str]) -> Plan:
    """Cards of other models, with the settings that all of them have."""

    def other(word: str) -> str:
        model, comma, rest = word.partition(",")
        if model not in models:
            return word
        kept = (part for part in rest.split(",") if part.startswith(_COMMON_SETTINGS))
        return f"{models[model]}{comma}{','.join(kept)}"

    return with_words(plan, other)


def _models(plan: Plan, carrier: Carrier) -> set[str]:
    """The models of the NICs whose packets are said to be this carrier's."""
    said = {(each.guest, each.nic) for each in plan.expectations if each.carrier is carrier}
    return {
        word.partition(",")[0]
        for guest in plan.guests
        for nic in guest.nics
        if (guest.name, nic.id) in said
        for word in words(guest)
        if f"id={nic.id}" in word.split(",")
    }


def _virtio(plan: Plan) -> bool:
    return any(word.startswith(f"{_VIRTIO},") for word in words(*plan.guests))


def _with_setting(plan: Plan, name: str, change: Callable[[str], str]) -> Plan:
    """Change a setting of every virtio NIC, or add it."""

    def spoiled(word: str) -> str:
        if not word.startswith(f"{_VIRTIO},"):
            return word
        model, *settings = word.split(",")
        old = dict(setting.split("=", 1) for setting in settings)
        new = {**old, name: change(old.get(name, ""))}
        return ",".join([model, *(f"{key}={value}" for key, value in new.items())])

    return with_words(plan, spoiled)
