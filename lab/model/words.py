"""The closed sets of words that a topology file may use, with what each one means."""

from __future__ import annotations

from enum import StrEnum


class NicModel(StrEnum):
    """A NIC as QEMU's ``-device`` calls it."""

    VIRTIO = "virtio-net-pci"
    E1000 = "e1000"
    E1000E = "e1000e"
    IGB = "igb"
    RTL8139 = "rtl8139"
    VMXNET3 = "vmxnet3"

    @property
    def virtio(self) -> bool:
        """Whether the guest knows that it is virtual; only then is there anything for vhost."""
        return self is NicModel.VIRTIO


class Driver(StrEnum):
    """A guest's driver, as ``ethtool -i`` says."""

    VIRTIO = "virtio_net"
    E1000 = "e1000"
    E1000E = "e1000e"
    IGB = "igb"
    IGBVF = "igbvf"
    RTL8139 = "8139cp"
    VMXNET3 = "vmxnet3"


class PortName(StrEnum):
    """A network port of the place; ``uplink`` is under test, its cable goes to the wire."""

    UPLINK = "uplink"
    SPARE1 = "spare1"
    SPARE2 = "spare2"
    SPARE3 = "spare3"


class MacvtapMode(StrEnum):
    """What macvtap devices on one port may say to each other (``ip link ... type macvtap``)."""

    BRIDGE = "bridge"
    PRIVATE = "private"
    VEPA = "vepa"
    PASSTHRU = "passthru"

    @property
    def exclusive(self) -> bool:
        """Whether the port takes no other macvtap beside this one."""
        return self is MacvtapMode.PASSTHRU


LABHOST_MACS = "52:54:00:1a:b0:"
"""How the addresses of a lab host's ports begin, the tester's too (`lab.labhost.machine`)."""


class FrameKind(StrEnum):
    """What is sent to ask whether one end reaches another."""

    UNICAST = "unicast"
    BROADCAST = "broadcast"
    MULTICAST = "multicast"
    IPV6 = "ipv6"
    """A neighbour solicitation (RFC 4861): without it nobody finds anybody over IPv6."""


class DeviceKind(StrEnum):
    """A software device of the host that a faster path does without."""

    BRIDGE = "bridge"
    TAP = "tap"
    MACVTAP = "macvtap"


class HopWord(StrEnum):
    """Words for hops that have no name of their own in the file."""

    WIRE = "wire"
    TAP = "tap"
    MACVTAP = "macvtap"
    GUEST = "guest"
