"""Operations on the host, in order, undone in reverse (`lab.host.operations`). Pure data."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from lab.data import Data
from lab.plan.where import HOST


class AddBridge(Data):
    """A bridge without STP and without multicast snooping, forwarding at once."""

    op: Literal["bridge"] = "bridge"
    name: str
    where: str = HOST


class AddMember(Data):
    """Make a device a port of a bridge."""

    op: Literal["member"] = "member"
    device: str
    bridge: str
    hairpin: bool = False
    where: str = HOST


class AddTap(Data):
    """A persistent tap device; ``queues`` above 1 makes it IFF_MULTI_QUEUE."""

    op: Literal["tap"] = "tap"
    name: str
    queues: int = 1
    where: str = HOST


class AddMacvtap(Data):
    """A macvtap on ``port``; its character device is ``/dev/tap<ifindex>``."""

    op: Literal["macvtap"] = "macvtap"
    name: str
    port: str
    mode: Literal["bridge", "private", "vepa", "passthru"]
    mac: str
    allmulticast: bool = False
    where: str = HOST


class AddVeth(Data):
    """A veth pair; ``peer`` is put into ``peer_where``."""

    op: Literal["veth"] = "veth"
    name: str
    peer: str
    where: str = HOST
    peer_where: str = HOST


class AddVlan(Data):
    """A device for one VLAN on top of ``device``: what is sent there leaves tagged (802.1Q)."""

    op: Literal["vlan"] = "vlan"
    name: str
    device: str
    vlan: int
    where: str = HOST


class AddVfs(Data):
    """SR-IOV virtual functions of a port: by ``sriov_numvfs``, or by the driver's ``max_vfs``.

    ``max_vfs`` is a parameter of the module: all ports of the driver go away for a moment.
    ``persist`` sets it by a line in ``/etc/modprobe.d`` instead of on modprobe's command line.
    """

    op: Literal["vfs"] = "vfs"
    device: str
    pci: str
    count: int
    create: Literal["sysfs", "max_vfs"] = "sysfs"
    persist: bool = False
    where: str = HOST


class SetVf(Data):
    """Settings of one VF, made through its PF and read back (``None`` leaves one alone)."""

    op: Literal["vf"] = "vf"
    device: str
    index: int
    mac: str
    vlan: int | None = None
    trust: bool | None = None
    spoofchk: bool | None = None
    where: str = HOST


class BindVfio(Data):
    """Take a PCI function from its driver and give it to vfio-pci; undone to the driver before.

    ``memory`` is that of the guest in MiB: all of it is locked, for the device may write anywhere.
    """

    op: Literal["vfio"] = "vfio"
    pci: str
    memory: int = 0
    where: str = HOST


class FillChecksums(Data):
    """Have a device's checksums filled in before a frame leaves it, and segments cut.

    A NIC does so; a veth leaves both to whoever receives, so nothing at the far end could tell a
    right checksum from a wrong one.
    """

    op: Literal["checksums"] = "checksums"
    device: str
    where: str = HOST


class LinkUp(Data):
    """Set a device up (and its MTU where one is given); undone to what it was."""

    op: Literal["up"] = "up"
    device: str
    mtu: int | None = None
    where: str = HOST


class AddAddress(Data):
    """An address in CIDR form on a device."""

    op: Literal["address"] = "address"
    device: str
    cidr: str
    where: str = HOST


class Exec(Data):
    """A program such as ``tc`` or ``bridge``, for what has no operation of its own."""

    op: Literal["exec"] = "exec"
    argv: tuple[str, ...]
    undo: tuple[str, ...] = ()
    where: str = HOST


Operation = Annotated[
    AddBridge
    | AddMember
    | AddTap
    | AddMacvtap
    | AddVeth
    | AddVlan
    | AddVfs
    | SetVf
    | BindVfio
    | FillChecksums
    | LinkUp
    | AddAddress
    | Exec,
    Field(discriminator="op"),
]
