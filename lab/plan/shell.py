"""Host operations as shell lines, for those who want to do by hand what the lab does."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from functools import singledispatch

from lab.plan.operations import (
    AddAddress,
    AddBridge,
    AddMacvtap,
    AddMember,
    AddTap,
    AddVeth,
    AddVfs,
    AddVlan,
    BindVfio,
    Exec,
    FillChecksums,
    LinkUp,
    Operation,
    SetVf,
)
from lab.plan.where import HOST, WIRE


@dataclass(frozen=True)
class Step:
    """Shell lines that do one operation, and one line that undoes it (empty: nothing to undo).

    A line may call ``later LINE...`` itself, for an undo that depends on how things were.
    """

    do: tuple[str, ...]
    undo: str = ""


@singledispatch
def step(operation: Operation) -> Step:
    """One operation with ip(8), bridge(8) and sysfs."""
    raise AssertionError(f"no shell lines for {operation!r}")


@step.register
def _(operation: AddBridge) -> Step:
    ip, name = _ip(operation.where), shlex.quote(operation.name)
    kind = "type bridge stp_state 0 forward_delay 0 mcast_snooping 0"
    return Step((f"{ip} link add name {name} {kind}",), f"{ip} link del dev {name}")


@step.register
def _(operation: AddMember) -> Step:
    ip, device = _ip(operation.where), shlex.quote(operation.device)
    lines = [f"{ip} link set dev {device} master {shlex.quote(operation.bridge)}"]
    if operation.hairpin:
        lines.append(f"{_inside(operation.where)}bridge link set dev {device} hairpin on")
    return Step(tuple(lines), f"{ip} link set dev {device} nomaster")


@step.register
def _(operation: AddTap) -> Step:
    ip, name = _ip(operation.where), shlex.quote(operation.name)
    queues = " multi_queue" if operation.queues > 1 else ""
    return Step(
        (f"{ip} tuntap add dev {name} mode tap{queues}",),
        f"{ip} tuntap del dev {name} mode tap{queues}",
    )


@step.register
def _(operation: AddMacvtap) -> Step:
    ip, name = _ip(operation.where), shlex.quote(operation.name)
    kind = f"address {operation.mac} type macvtap mode {operation.mode}"
    lines = [f"{ip} link add link {shlex.quote(operation.port)} name {name} {kind}"]
    if operation.allmulticast:
        lines.append(f"{ip} link set dev {name} allmulticast on")
    return Step(tuple(lines), f"{ip} link del dev {name}")


@step.register
def _(operation: AddVeth) -> Step:
    ip, name, peer = _ip(operation.where), operation.name, shlex.quote(operation.peer)
    netns = "" if operation.peer_where == operation.where else f" netns {_netns(operation)}"
    return Step(
        (f"{ip} link add name {shlex.quote(name)} type veth peer name {peer}{netns}",),
        f"{ip} link del dev {shlex.quote(name)}",
    )


@step.register
def _(operation: AddVlan) -> Step:
    ip, name = _ip(operation.where), shlex.quote(operation.name)
    kind = f"type vlan id {operation.vlan}"
    return Step(
        (f"{ip} link add link {shlex.quote(operation.device)} name {name} {kind}",),
        f"{ip} link del dev {name}",
    )


@step.register
def _(operation: AddVfs) -> Step:
    sysfs = _sysfs(operation.pci)
    if operation.create == "sysfs":
        number = f"{sysfs}/sriov_numvfs"
        return Step((f"echo {operation.count} > {number}",), f"echo 0 > {number}")
    # All ports of the driver vanish and come back in this namespace; only one is to have VFs.
    setting = f"max_vfs={operation.count}"
    conf = '"/etc/modprobe.d/hoplab-$driver.conf"'
    lines = [
        f'driver=$(basename "$(readlink {sysfs}/driver)")',
        f"away=$(ip netns exec {WIRE} ls /sys/class/net)",
        "reload() {",
        '    modprobe -r "$driver" && modprobe "$driver" "$@"',
        '    for file in /sys/bus/pci/drivers/"$driver"/*/sriov_numvfs; do',
        f'        [ "$file" -ef {sysfs}/sriov_numvfs ] || echo 0 > "$file"',
        "    done",
        "    for device in $away; do",
        f"        [ -e /sys/class/net/$device/device ] && ip link set dev $device netns {WIRE} up",
        "    done",
        "    true",
        "}",
    ]
    if operation.persist:
        lines += [f'echo "options $driver {setting}" > {conf}', "reload"]
        return Step(tuple(lines), f"rm {conf} && reload")
    return Step((*lines, f"reload {setting}"), "reload")


@step.register
def _(operation: SetVf) -> Step:
    words = [_ip(operation.where), "link set dev", shlex.quote(operation.device)]
    words += [f"vf {operation.index} mac {operation.mac}"]
    if operation.vlan is not None:
        words.append(f"vlan {operation.vlan}")
    for key, value in (("trust", operation.trust), ("spoofchk", operation.spoofchk)):
        if value is not None:
            words.append(f"{key} {'on' if value else 'off'}")
    return Step((" ".join(words),))


@step.register
def _(operation: BindVfio) -> Step:
    pci, sysfs = shlex.quote(operation.pci), _sysfs(operation.pci)
    return Step(
        (
            "modprobe vfio-pci",
            f"if [ -e {sysfs}/driver ]; then echo {pci} > {sysfs}/driver/unbind; fi",
            f"echo vfio-pci > {sysfs}/driver_override",
            f"echo {pci} > /sys/bus/pci/drivers_probe",
        ),
        f"echo > {sysfs}/driver_override"
        f" && echo {pci} > /sys/bus/pci/drivers/vfio-pci/unbind"
        f" && echo {pci} > /sys/bus/pci/drivers_probe",
    )


@step.register
def _(operation: FillChecksums) -> Step:
    command = f"{_inside(operation.where)}ethtool -K {shlex.quote(operation.device)} tx"
    return Step((f"{command} off",), f"{command} on")


@step.register
def _(operation: LinkUp) -> Step:
    ip, device = _ip(operation.where), shlex.quote(operation.device)
    lines = [f"{ip} link show dev {device} up | grep -q . || later {ip} link set dev {device} down"]
    if operation.mtu is not None:
        show = f"{_inside(operation.where)}cat /sys/class/net/{device}/mtu"
        lines.append(f'later {ip} link set dev {device} mtu "$({show})"')
        lines.append(f"{ip} link set dev {device} mtu {operation.mtu}")
    return Step((*lines, f"{ip} link set dev {device} up"))


@step.register
def _(operation: AddAddress) -> Step:
    ip, device = _ip(operation.where), shlex.quote(operation.device)
    return Step(
        (f"{ip} address add {operation.cidr} dev {device}",),
        f"{ip} address del {operation.cidr} dev {device}",
    )


@step.register
def _(operation: Exec) -> Step:
    inside = _inside(operation.where)
    undo = f"{inside}{shlex.join(operation.undo)}" if operation.undo else ""
    return Step((f"{inside}{shlex.join(operation.argv)}",), undo)


def _ip(where: str) -> str:
    return "ip" if where == HOST else f"ip -n {shlex.quote(where)}"


def _inside(where: str) -> str:
    return "" if where == HOST else f"ip netns exec {shlex.quote(where)} "


def _netns(operation: AddVeth) -> str:
    """The peer's namespace as ip(8) takes it; the host's own is that of the script."""
    return "$$" if operation.peer_where == HOST else shlex.quote(operation.peer_where)


def _sysfs(pci: str) -> str:
    return f"/sys/bus/pci/devices/{shlex.quote(pci)}"
