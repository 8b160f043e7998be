"""Faults of the NIC that QEMU shows to its guest: another model, other settings."""

from __future__ import annotations

from collections.abc import Callable

from lab.plan.data import Carrier, Exits, GuestPlan, Plan
from lab.plan.faults.alteration import expects, with_guests, with_words, words

_VIRTIO = "virtio-net-pci"
_SWAPS = {"e1000": "e1000e", "e1000e": "e1000"}
_SWAPS |= dict.fromkeys(("rtl8139", "igb", "vmxnet3"), "e1000e")
_COMMON_SETTINGS = ("id=", "netdev=", "mac=", "bus=", "romfile=")


def vhost_off(plan: Plan) -> Plan:
    """QEMU moves the packets itself."""
    return with_words(plan, lambda word: word.replace("vhost=on", "vhost=off"))


def carried_by_vhost(plan: Plan) -> bool:
    """Whether a NIC's packets are said to be vhost's."""
    return expects(plan, carrier=Carrier.VHOST)


def vhost_on(plan: Plan) -> Plan:
    """The kernel moves the packets, QEMU does not see them."""
    return with_words(plan, lambda word: word.replace("vhost=off", "vhost=on"))


def carried_by_qemu(plan: Plan) -> bool:
    """vhost would take packed rings away, and other models than virtio leave it alone."""
    packed = any(expected.packed for expected in plan.expectations)
    return _virtio(plan) and not packed and expects(plan, carrier=Carrier.QEMU)


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


def other_model(plan: Plan) -> Plan:
    """The other of two models that QEMU carries the same way, with a driver of its own."""

    def other(word: str) -> str:
        model, comma, rest = word.partition(",")
        if model not in _SWAPS:
            return word
        kept = (part for part in rest.split(",") if part.startswith(_COMMON_SETTINGS))
        return f"{_SWAPS[model]}{comma}{','.join(kept)}"

    return with_words(plan, other)


def swappable(plan: Plan) -> bool:
    """Any model but virtio, in whose place another would turn carrier, exits or rings red too."""
    models = {word.partition(",")[0] for word in words(plan)}
    return _VIRTIO not in models and bool(models & _SWAPS.keys())


def _virtio(plan: Plan) -> bool:
    return any(word.startswith(f"{_VIRTIO},") for word in words(plan))


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
