"""Devices whose far end is a file descriptor: tap and macvtap."""

from __future__ import annotations

import fcntl
import os
import struct

from lab.errors import CannotError
from lab.host.host import Host
from lab.host.links import delete, quieten
from lab.host.undo import UndoStack
from lab.plan.operations import AddMacvtap, AddTap

# linux/if_tun.h
_TUNSETIFF = 0x400454CA
_TUNSETPERSIST = 0x400454CB
_IFF_TAP = 0x0002
_IFF_MULTI_QUEUE = 0x0100
_IFF_NO_PI = 0x1000
_IFF_VNET_HDR = 0x4000

_IFF_ALLMULTI = 0x200


def add_tap(host: Host, op: AddTap, undos: UndoStack) -> None:
    """Persistent, so that it can be in its bridge before QEMU opens it by name.

    A tap made with one queue cannot be opened with several, nor the reverse (EINVAL).
    """
    flags = _IFF_TAP | _IFF_NO_PI | _IFF_VNET_HDR
    if op.queues > 1:
        flags |= _IFF_MULTI_QUEUE
    with host.inside(op.where):
        fd = _open_tun()
    try:
        fcntl.ioctl(fd, _TUNSETIFF, struct.pack("16sH22x", op.name.encode(), flags))
        fcntl.ioctl(fd, _TUNSETPERSIST, 1)
    finally:
        os.close(fd)
    undos.push(f"tap {op.name}", lambda: delete(host, op.where, op.name))
    quieten(host, op.where, op.name, undos)


def add_macvtap(host: Host, op: AddMacvtap, undos: UndoStack) -> None:
    """A macvtap passes no unicast to another MAC than its own: it gets the guest's."""
    netlink = host.netlink(op.where)
    netlink.link(
        "add",
        ifname=op.name,
        kind="macvtap",
        link=host.index(op.where, op.port),
        macvtap_mode=op.mode,
        address=op.mac,
    )
    undos.push(f"macvtap {op.name}", lambda: delete(host, op.where, op.name))
    quieten(host, op.where, op.name, undos)
    if op.allmulticast:
        index = host.index(op.where, op.name)
        netlink.link("set", index=index, flags=_IFF_ALLMULTI, change=_IFF_ALLMULTI)


def _open_tun() -> int:
    try:
        return os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        raise CannotError(
            f"/dev/net/tun cannot be opened: {error.strerror}", hint="modprobe tun"
        ) from error
