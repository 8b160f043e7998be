"""What must fit together between the values of one topology. Each rule yields its findings."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from lab.model import failover
from lab.model.bridges import check_bridge
from lab.model.places import Finding, Path
from lab.model.reach import attachments, check_reach
from lab.model.topology import ATTACHMENTS, Nic, Topology, nic_name
from lab.model.wording import close_to
from lab.model.words import HopWord, PortName

_RESERVED = frozenset({*HopWord, *PortName, "host"})
# Whose logs lie beside those of the guests: labhost-console.log, worker-console.log.
_LOGGED = frozenset({"labhost", "worker"})
_KERNEL = frozenset({"tap", "macvtap", "eth", "lo"})
# The kernel's words beside the devices in /proc/sys/net: it refuses devices that are called so.
_SYSCTL = frozenset({"all", "default"})
_VIRTIO_ONLY = ("queues", "active", "mq", "vectors", "packed", "rx_queue_size")
_EMULATED_ONLY = ("model", "vhost", *_VIRTIO_ONLY)
# QEMU's ids of the root ports that a guest's NICs sit behind: rp0, rp1, ...
_ROOT_PORT = re.compile(r"rp[0-9]+")
_WITHOUT_VFS = frozenset({PortName.SPARE3})


@dataclass(frozen=True)
class _Placed:
    """A NIC with where it stands in the file."""

    path: Path
    nic: Nic


def check(topology: Topology) -> list[Finding]:
    """Everything in the topology that does not fit together."""
    nics = list(_nics(topology))
    return [
        *_names(topology),
        *_attachments(topology, nics),
        *_settings(nics),
        *_macs(nics),
        *_ports(topology, nics),
        *_functions(topology, nics),
        *_expectations(topology),
        *failover.check(topology),
        *check_reach(topology),
    ]


def _nics(topology: Topology) -> Iterator[_Placed]:
    for number, guest in enumerate(topology.guests):
        for index, nic in enumerate(guest.nics):
            yield _Placed(("guests", number, "nics", index), nic)


def _names(topology: Topology) -> Iterator[Finding]:
    """Names are the words of ``expect`` and the files of a run: each means one thing."""
    bridges = [(("bridges", i, "name"), item.name) for i, item in enumerate(topology.bridges)]
    guests = [(("guests", i, "name"), item.name) for i, item in enumerate(topology.guests)]
    yield from _repeated([*bridges, *guests])
    for path, name in bridges:
        if name in _RESERVED | _SYSCTL or name.rstrip("0123456789") in _KERNEL:
            yield Finding(path, f"{name!r} is taken: the lab or the kernel uses this name")
    for path, name in guests:
        if name in _RESERVED - {HopWord.GUEST} | _LOGGED:
            yield Finding(path, f"{name!r} is taken: the lab uses this word")
    for number, guest in enumerate(topology.guests):
        nics = [
            (("guests", number, "nics", index, "name"), nic_name(nic, index))
            for index, nic in enumerate(guest.nics)
        ]
        yield from _repeated(nics)
        for where, name in nics:
            if _ROOT_PORT.fullmatch(name):
                yield Finding(where, f"{name!r} is taken: the guest's PCIe root port is called so")


def _repeated(named: Iterable[tuple[Path, str]]) -> Iterator[Finding]:
    first: dict[str, Path] = {}
    for path, name in named:
        if name in first:
            message = f"{name!r} is already the name of {{other}}"
            yield Finding(path, message, other=first[name][:-1])
        first.setdefault(name, path)


def _attachments(topology: Topology, nics: Iterable[_Placed]) -> Iterator[Finding]:
    for placed in nics:
        given = [key for key in ATTACHMENTS if getattr(placed.nic, key) is not None]
        if len(given) != 1:
            what = f"has {' and '.join(given)}" if given else "is attached to nothing"
            yield Finding(placed.path, f"{what}: exactly one of {', '.join(ATTACHMENTS)} is needed")
        if placed.nic.bridge is not None:
            yield from check_bridge(topology, (*placed.path, "bridge"), placed.nic.bridge)


def _settings(nics: Iterable[_Placed]) -> Iterator[Finding]:
    """Settings that QEMU would accept for such a NIC and ignore without a word."""
    for placed in nics:
        nic, path = placed.nic, placed.path
        given = nic.model_fields_set
        if not nic.emulated:
            refused = _EMULATED_ONLY if nic.vf else (*_EMULATED_ONLY, "mac")
            for key in refused:
                if key in given:
                    yield Finding((*path, key), "means nothing here: the guest gets a real device")
        elif not nic.model.virtio:
            yield from _not_virtio(placed)
        if nic.packed and nic.vhost:
            message = "vhost has no packed rings; QEMU would give split ones without a word"
            yield Finding((*path, "packed"), message, "leave out one of packed and vhost")
        if nic.active is not None and nic.active > nic.queues:
            message = f"{nic.active} queues cannot be active where queues is {nic.queues}"
            yield Finding((*path, "active"), message, rests_on=((*path, "queues"),))


def _not_virtio(placed: _Placed) -> Iterator[Finding]:
    nic, path = placed.nic, placed.path
    hint = "use model: virtio-net-pci"
    if nic.vhost:
        message = f"{nic.model} cannot be carried by vhost; QEMU would ignore it without a word"
        yield Finding((*path, "vhost"), message, hint)
    for key in _VIRTIO_ONLY:
        value = getattr(nic, key)
        if value is not None and (key, value) != ("queues", 1):
            yield Finding((*path, key), f"{nic.model} has no such setting", hint)


def _macs(nics: Iterable[_Placed]) -> Iterator[Finding]:
    first: dict[str, Path] = {}
    for placed in nics:
        mac, path = placed.nic.mac, (*placed.path, "mac")
        if mac is None:
            continue
        if mac in first:
            message = f"{mac} is already the address of {{other}}"
            yield Finding(path, message, other=first[mac][:-1])
        first.setdefault(mac, path)


def _ports(topology: Topology, nics: Iterable[_Placed]) -> Iterator[Finding]:
    """A port has one user; only several macvtap devices share one."""
    users: dict[PortName, tuple[Path, str]] = {}
    for path, port, kind in _port_uses(topology, nics):
        other = users.setdefault(port, (path, kind))
        if other[0] == path or (kind == other[1] == "macvtap"):
            continue
        message = f"port {port} is already used by {{other}} ({other[1]})"
        hint = f"ports: {', '.join(PortName)}"
        yield Finding(path, message, hint, other=other[0][:-1])


def _port_uses(topology: Topology, nics: Iterable[_Placed]) -> Iterator[tuple[Path, PortName, str]]:
    for number, bridge in enumerate(topology.bridges):
        if bridge.uplink is not None:
            yield ("bridges", number, "uplink"), bridge.uplink, "bridge"
    for number, functions in enumerate(topology.vfs):
        yield ("vfs", number, "port"), functions.port, "vfs"
    for placed in nics:
        macvtap, whole = placed.nic.macvtap, placed.nic.passthrough
        if macvtap is not None:
            kind = "macvtap in mode passthru" if macvtap.mode.exclusive else "macvtap"
            yield (*placed.path, "macvtap", "port"), macvtap.port, kind
        if whole is not None:
            yield (*placed.path, "passthrough"), whole, "passthrough"


def _functions(topology: Topology, nics: Iterable[_Placed]) -> Iterator[Finding]:
    """A VF must have been made, and belongs to one NIC."""
    yield from _makers(topology)
    counts = {functions.port: functions.count for functions in topology.vfs}
    first: dict[tuple[PortName, int], Path] = {}
    for placed in nics:
        vf = placed.nic.vf
        if vf is None:
            continue
        path = (*placed.path, "vf")
        if vf.port not in counts:
            hint = "make them with a list vfs: at the top of the file"
            message = f"no VFs are made on port {vf.port}"
            yield Finding((*path, "port"), message, hint, looks_in="vfs")
        elif vf.index >= counts[vf.port]:
            message = (
                f"there is no VF {vf.index}: port {vf.port} makes {counts[vf.port]}, the first is 0"
            )
            yield Finding((*path, "index"), message, looks_in="vfs")
        if (vf.port, vf.index) in first:
            message = f"VF {vf.index} already belongs to {{other}}"
            yield Finding((*path, "index"), message, other=first[vf.port, vf.index][:-1])
        first.setdefault((vf.port, vf.index), path)


def _makers(topology: Topology) -> Iterator[Finding]:
    reloading = [number for number, each in enumerate(topology.vfs) if each.create == "max_vfs"]
    for number, functions in enumerate(topology.vfs):
        if functions.persist and functions.create == "sysfs":
            message = "sysfs keeps nothing over a restart"
            path: Path = ("vfs", number)
            hint = "use create: max_vfs"
            yield Finding((*path, "persist"), message, hint, rests_on=((*path, "create"),))
        if functions.create == "max_vfs" and number > reloading[0]:
            message, first = "the driver is loaded anew once only, for {other}", reloading[0]
            hint = "use create: sysfs"
            yield Finding(("vfs", number, "create"), message, hint, other=("vfs", first))
        if functions.port in _WITHOUT_VFS:
            message = f"{functions.port} is an e1000e, which makes no VFs"
            yield Finding(("vfs", number, "port"), message, "take one of the igb ports")


def _expectations(topology: Topology) -> Iterator[Finding]:
    pairs = failover.pairs(topology)
    known = {key: nic for key, nic in topology.nics().items() if key not in pairs}
    for key, expect in topology.expect.items():
        if key in pairs:
            yield failover.named_as_pair(("expect", key), pairs[key])
        elif key not in known:
            hint = close_to(key, known) or f"known here: {', '.join(known)}"
            message = "is no guest (or GUEST.NIC where a guest has several NICs)"
            yield Finding(("expect", key), message, hint, looks_in="guests")
        elif expect.hops is not None:
            yield from _hops(topology, key, expect.hops)


def _hops(topology: Topology, key: str, hops: tuple[str, ...]) -> Iterator[Finding]:
    path: Path = ("expect", key, "hops")
    nic = topology.nics()[key]
    own = HopWord.MACVTAP if nic.macvtap else HopWord.TAP if nic.bridge else None
    hung = attachments(topology, [key]) if own is None else ()
    words: list[str] = [HopWord.WIRE, HopWord.GUEST, *PortName, *([own] if own else [])]
    words += [bridge.name for bridge in topology.bridges]
    for index, hop in enumerate(hops):
        if hop not in words:
            hint = close_to(hop, words) or f"hops of this NIC: {', '.join(words)}"
            message = f"there is no hop {hop!r}"
            yield Finding((*path, index), message, hint, looks_in="bridges", rests_on=hung)
        elif hop in hops[:index]:
            yield Finding((*path, index), f"{hop!r} is named twice")
    for index, word in ((0, HopWord.WIRE), (len(hops) - 1, HopWord.GUEST)):
        if word in words and hops[index] != word:
            place = "first" if index == 0 else "last"
            message = f"the {place} hop is always {word.value!r}"
            yield Finding((*path, index), message, rests_on=(path,))
