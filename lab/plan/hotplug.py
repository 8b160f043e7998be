"""NICs that come to a running guest: the same options as QMP commands instead of argv words. Pure.

The argv words stay the only place where options are written down: a command's arguments are read
out of them, and can be turned back, so that the two cannot drift apart.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from lab.errors import UsageError
from lab.plan.data import Fd, GuestPlan, HotplugStep, NicPlan, Plan

_ADD = {"-netdev": "netdev_add", "-device": "device_add"}
_KIND = {"netdev_add": "type", "device_add": "driver"}
_SWITCH = {"on": True, "off": False}
_NAMES = frozenset({"id", "netdev", "bus"})
_FD = re.compile(r"\{fd:([^{}]+)\}")

_COLD = "leave out --attach hotplug"

Value = str | int | bool | None


def hotplugged(plan: Plan, rounds: int = 1) -> Plan:
    """The plan with every NIC plugged in once its guest runs; root ports are there from the start.

    ``rounds`` is how often it is plugged in and out again: the first time with all proofs between.
    Raises UsageError for a guest that migrates: its NICs would have to leave another QEMU than the
    one they came to; and for a failover pair, of which QEMU hides one until the guest knows pairs.
    """
    if plan.migration is not None:
        raise UsageError(
            f"{plan.topology} migrates its guest, whose NICs are there from the start",
            hint=_COLD,
        )
    if any(nic.failover for guest in plan.guests for nic in guest.nics):
        raise UsageError(
            f"{plan.topology} has a failover pair, whose NICs are there from the start", hint=_COLD
        )
    guests = tuple(_without_nics(guest, rounds) for guest in plan.guests)
    return plan.model_copy(update={"guests": guests})


def as_step(command: str, word: str) -> HotplugStep:
    """The QMP command for an argv word, as ``tap,id=net0,vhost=on`` is one.

    QMP wants switches and numbers as such, names as text, be it that of a NIC called ``on``. A file
    descriptor is given by the name under which getfd has put it into QEMU.
    """
    kind, *settings = word.split(",")
    pairs = (setting.partition("=") for setting in settings)
    arguments: dict[str, Value] = {_KIND[command]: kind}
    arguments |= {name: _typed(name, _FD.sub(r"\1", value)) for name, _, value in pairs}
    return HotplugStep(command=command, arguments=arguments, fds=tuple(_FD.findall(word)))


def as_word(step: HotplugStep) -> str:
    """The argv word that `as_step` makes the command of."""
    kind = _KIND[step.command]
    settings = (
        f"{name}={_text(value, step.fds)}" for name, value in step.arguments.items() if name != kind
    )
    return ",".join([str(step.arguments[kind]), *settings])


def reworded(nic: NicPlan, change: Callable[[str], str]) -> NicPlan:
    """The NIC with every word that it is plugged in by changed."""
    steps = tuple(as_step(step.command, change(as_word(step))) for step in nic.hotplug)
    return nic.model_copy(update={"hotplug": steps})


def _without_nics(guest: GuestPlan, rounds: int) -> GuestPlan:
    argv, fds, nics = list(guest.argv), list(guest.fds), []
    for nic in guest.nics:
        netdev = _taken(argv, "-netdev", nic.netdev)
        steps = [as_step("netdev_add", _with_vhost_fds(netdev, fds))] if netdev else []
        steps.append(as_step("device_add", _taken(argv, "-device", nic.id)))
        update = {"hotplug": tuple(steps), "unplug": _unplug(nic), "rounds": rounds}
        nics.append(nic.model_copy(update=update))
    return guest.model_copy(update={"argv": tuple(argv), "fds": tuple(fds), "nics": tuple(nics)})


def _taken(argv: list[str], option: str, name: str) -> str:
    """The word of the option with that id, taken out of the argv; empty where there is none."""
    for index, word in enumerate(argv[:-1]):
        value = argv[index + 1]
        if word == option and f"id={name}" in value.split(","):
            del argv[index : index + 2]
            return value
    return ""


def _with_vhost_fds(word: str, fds: list[Fd]) -> str:
    """A QEMU that is given its devices as descriptors is given vhost-net that way too."""
    handles = _FD.findall(word)
    if not handles or "vhost=on" not in word.split(","):
        return word
    names = [f"{handle}vhost" for handle in handles]
    fds += [Fd(name=name, kind="vhost") for name in names]
    plural = "s" if ",fds=" in word else ""
    return f"{word},vhostfd{plural}={':'.join(f'{{fd:{name}}}' for name in names)}"


def _unplug(nic: NicPlan) -> tuple[HotplugStep, ...]:
    device = HotplugStep(command="device_del", arguments={"id": nic.id})
    if not nic.netdev:
        return (device,)
    return device, HotplugStep(command="netdev_del", arguments={"id": nic.netdev})


def _typed(name: str, value: str) -> Value:
    if name in _NAMES:
        return value
    if value in _SWITCH:
        return _SWITCH[value]
    return int(value) if value.isdecimal() else value


def _text(value: Value, fds: tuple[str, ...]) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    parts = str(value).split(":")
    return ":".join(f"{{fd:{part}}}" if part in fds else part for part in parts)
