"""What a topology file says, as frozen records. Described for its users in docs/topology-format.md.

Rules about one value stand at its field; rules between several are in `lab.model.rules`.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from lab.data import Data
from lab.model.words import (
    LABHOST_MACS,
    DeviceKind,
    Driver,
    FrameKind,
    MacvtapMode,
    NicModel,
    PortName,
)

ATTACHMENTS = ("bridge", "macvtap", "passthrough", "vf")
"""The keys of which a NIC has one."""
MAX_QUEUES = 8
MAX_DEVICE_NAME = 15
"""IFNAMSIZ - 1 (linux/if.h). QEMU cuts a longer ``ifname=`` without a word."""
_MAX_TOPOLOGY_NAME = 60

_DEVICE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_NAME = re.compile(r"[a-z][a-z0-9-]*")
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
_SWITCH = {"on": True, "yes": True, "true": True, "off": False, "no": False, "false": False}


def _switch(value: object) -> object:
    """YAML 1.2 knows only true and false; QEMU and ip(8) say on and off."""
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value in _SWITCH:
        return _SWITCH[value]
    raise ValueError("must be on or off (or yes/no, true/false)")


def _device_name(name: str) -> str:
    if len(name) > MAX_DEVICE_NAME:
        raise ValueError(f"is {len(name)} characters long, Linux allows {MAX_DEVICE_NAME}")
    if not _DEVICE_NAME.fullmatch(name):
        raise ValueError(
            "must start with a letter or digit and have only letters, digits, '.', '_' and '-'"
        )
    return name


def _guest_name(name: str) -> str:
    return _name(name, MAX_DEVICE_NAME)


def _topology_name(name: str) -> str:
    return _name(name, _MAX_TOPOLOGY_NAME)


def _name(name: str, longest: int) -> str:
    if len(name) > longest:
        raise ValueError(f"is {len(name)} characters long, at most {longest} are allowed")
    if not _NAME.fullmatch(name):
        raise ValueError("must start with a small letter and have only small letters, digits, '-'")
    return name


def _mac(mac: str) -> str:
    mac = mac.lower()
    if not _MAC.fullmatch(mac):
        raise ValueError("must be six pairs of hexadecimal digits, as in 52:54:00:12:34:56")
    if mac == "00:00:00:00:00:00":
        raise ValueError("must not be all zero")
    if int(mac[:2], 16) & 1:
        raise ValueError("is a multicast address (its first byte is odd)")
    if mac.startswith(LABHOST_MACS):
        raise ValueError(f"is one of those that a lab host's ports have ({LABHOST_MACS}...)")
    return mac


def _power_of_two(number: int) -> int:
    if number & (number - 1):
        raise ValueError("must be a power of two")
    return number


Switch = Annotated[
    bool,
    BeforeValidator(_switch),
    WithJsonSchema({"enum": [True, False, *_SWITCH]}),
]
DeviceName = Annotated[str, AfterValidator(_device_name)]
Name = Annotated[str, AfterValidator(_guest_name)]
TopologyName = Annotated[str, AfterValidator(_topology_name)]
Mac = Annotated[str, AfterValidator(_mac)]
# The guest's kernel and initramfs, packed and unpacked, fill 110 MiB while it boots: with 128 one
# boot in ten ended as "System is deadlocked on memory".
Memory = Annotated[int, Field(strict=True, ge=160, le=4096)]
Cpus = Annotated[int, Field(strict=True, ge=1, le=16)]
Queues = Annotated[int, Field(strict=True, ge=1, le=MAX_QUEUES)]
VfCount = Annotated[int, Field(strict=True, ge=1, le=7)]
VfIndex = Annotated[int, Field(strict=True, ge=0, le=6)]
Vlan = Annotated[int, Field(strict=True, ge=1, le=4094)]
Vectors = Annotated[int, Field(strict=True, ge=0, le=2 * MAX_QUEUES + 2)]
Milliseconds = Annotated[int, Field(strict=True, ge=1, le=60_000)]
RingSize = Annotated[int, Field(strict=True, ge=256, le=1024), AfterValidator(_power_of_two)]


class Bridge(Data):
    """A Linux bridge; ``uplink`` is the port that joins it to the wire."""

    name: DeviceName
    uplink: PortName | None = None


class Vfs(Data):
    """Virtual functions made on a port: ``create`` by sysfs or by the driver's ``max_vfs``."""

    port: PortName
    count: VfCount
    create: Literal["sysfs", "max_vfs"] = "sysfs"
    persist: Switch = False


class Macvtap(Data):
    """A macvtap device on a port; ``allmulticast`` lets groups in that the host did not join."""

    port: PortName
    mode: MacvtapMode = MacvtapMode.BRIDGE
    allmulticast: Switch = False


class Vf(Data):
    """One virtual function, and what its port enforces for it (``None``: left as it is)."""

    port: PortName
    index: VfIndex
    vlan: Vlan | None = None
    trust: Switch | None = None
    spoofchk: Switch | None = None


class Nic(Data):
    """One NIC of a guest, attached to exactly one of bridge, macvtap, passthrough and vf.

    ``model`` and what follows it are for bridge and macvtap; with passthrough and vf the guest
    sees the device itself. ``queues`` are pairs of a receive and a transmit queue; ``active`` is
    how many of them the guest switches on. ``mq`` and ``vectors`` are what follows from ``queues``
    unless given. ``failover`` makes it the standby of another NIC of its guest, the primary.
    """

    name: Name | None = None
    mac: Mac | None = None
    bridge: DeviceName | None = None
    macvtap: Macvtap | None = None
    passthrough: PortName | None = None
    vf: Vf | None = None
    model: NicModel = NicModel.VIRTIO
    vhost: Switch = False
    queues: Queues = 1
    active: Queues | None = None
    mq: Switch | None = None
    vectors: Vectors | None = None
    packed: Switch | None = None
    rx_queue_size: RingSize | None = None
    failover: Name | None = None

    @property
    def emulated(self) -> bool:
        """Whether QEMU plays the NIC, so that ``model`` and its settings mean something."""
        return self.passthrough is None and self.vf is None


class Guest(Data):
    """One virtual machine; ``memory`` in MiB."""

    name: Name
    memory: Memory = 192
    cpus: Cpus = 1
    nics: Annotated[tuple[Nic, ...], Field(min_length=1, max_length=8)]


class Expect(Data):
    """What the proof must find on one NIC's path; what is not said is not checked.

    ``absent`` are kinds of device of which the host has not a single one.
    """

    driver: Driver | None = None
    carrier: Literal["qemu", "vhost", "vfio"] | None = None
    hops: Annotated[tuple[str, ...], Field(min_length=2)] | None = None
    queues: Queues | None = None
    exits: Literal["none", "per-packet"] | None = None
    downtime: Milliseconds | None = None
    absent: Annotated[tuple[DeviceKind, ...], Field(min_length=1)] | None = None


class TargetVf(Data):
    """The virtual function that the guest gets where it goes."""

    port: PortName
    index: VfIndex = 0


class Migration(Data):
    """A guest moves to a second QEMU: its standby goes to ``bridge``, its primary is ``vf`` there.

    Without ``vf`` there is none, and the standby goes on alone. ``abort`` takes the migration back
    when the guest has let go of its VF and stands still.
    """

    guest: Name
    bridge: DeviceName
    vf: TargetVf | None = None
    abort: Switch = False


class Reach(Data):
    """One question: is a frame sent at ``from`` seen at ``to``? ``arrives`` is the right answer.

    Both are a guest (GUEST.NIC where it has several), ``wire`` or ``host``: the host's own stack on
    the device that the other end hangs on.
    """

    source: Annotated[str, Field(alias="from")]
    target: Annotated[str, Field(alias="to")]
    kind: FrameKind = FrameKind.UNICAST
    arrives: Switch


class Wire(Data):
    """The far end of the cable; with ``hairpin`` a switch that also sends back where from it came.

    IEEE 802.1Qbg calls it a reflective relay.
    """

    hairpin: Switch = False


class Topology(Data):
    """One topology file. The keys of ``expect`` are guests, or GUEST.NIC where one has several."""

    topology: TopologyName
    title: Annotated[str, Field(min_length=1)]
    bridges: tuple[Bridge, ...] = ()
    vfs: tuple[Vfs, ...] = ()
    wire: Wire = Wire()
    guests: Annotated[tuple[Guest, ...], Field(min_length=1, max_length=16)]
    migration: Migration | None = None
    expect: dict[str, Expect] = Field(default_factory=dict)
    reach: tuple[Reach, ...] = ()

    def nics(self) -> dict[str, Nic]:
        """All NICs by what the file calls them elsewhere: GUEST, or GUEST.NIC if it has several."""
        return {
            guest.name if len(guest.nics) == 1 else f"{guest.name}.{nic_name(nic, index)}": nic
            for guest in self.guests
            for index, nic in enumerate(guest.nics)
        }


def nic_name(nic: Nic, index: int) -> str:
    """What the file calls a NIC: its own name, or nic0, nic1, ... by its place in the guest."""
    return nic.name or f"nic{index}"
