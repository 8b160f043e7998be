"""Where bridges look for an address: their forwarding databases, and every change as it comes."""

from __future__ import annotations

import socket
import struct
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from lab.evidence.migration import FdbEntry
from lab.host.host import Host
from lab.plan.where import HOST

_RTMGRP_NEIGH = 4
_RTM_NEWNEIGH = 28
_NLMSGHDR = struct.Struct("=IHHII")
_NDMSG = struct.Struct("=BxxxiHBB")
_RTATTR = struct.Struct("=HH")
_NDA_LLADDR, _NDA_MASTER = 2, 9
_BUFFER = 1 << 20


class FdbWatch:
    """The entries for one address in the bridges of the host (rtnetlink(7), linux/neighbour.h)."""

    def __init__(self, sock: socket.socket, mac: str, known: tuple[FdbEntry, ...]) -> None:
        self.entries = list(known)
        self._mac = bytes.fromhex(mac.replace(":", ""))
        self._socket = sock

    def poll(self) -> None:
        """Take what the kernel has told since; stamped with the time of this call."""
        now = time.time_ns()
        while True:
            try:
                data = self._socket.recv(65536, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            for bridge, port in _changes(data, self._mac):
                self.entries.append(FdbEntry(time_ns=now, bridge=bridge, port=port))


@contextmanager
def watch_fdb(host: Host, mac: str) -> Iterator[FdbWatch]:
    """Yield a watch that knows what there is now and hears of every move from now on."""
    with host.inside(HOST):
        sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
    with sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
        sock.bind((0, _RTMGRP_NEIGH))
        yield FdbWatch(sock, mac, tuple(_known(host, mac)))


def _known(host: Host, mac: str) -> Iterator[FdbEntry]:
    now = time.time_ns()
    for entry in host.netlink(HOST).get_neighbours(family=socket.AF_BRIDGE):
        master = entry.get_attr("NDA_MASTER")
        if entry.get_attr("NDA_LLADDR") == mac and master:
            bridge, port = (socket.if_indextoname(index) for index in (master, entry["ifindex"]))
            yield FdbEntry(time_ns=now, bridge=bridge, port=port)


def _changes(data: bytes, mac: bytes) -> Iterator[tuple[str, str]]:
    """Bridge and port of each entry for ``mac`` that was made or moved."""
    while len(data) >= _NLMSGHDR.size:
        length, kind, *_ = _NLMSGHDR.unpack_from(data)
        message, data = data[_NLMSGHDR.size : length], data[-(-length // 4) * 4 :]
        if kind != _RTM_NEWNEIGH:
            continue
        family, index, *_ = _NDMSG.unpack_from(message)
        attributes = dict(_attributes(message[_NDMSG.size :]))
        bridge = int.from_bytes(attributes.get(_NDA_MASTER, b""), sys.byteorder)
        if family == socket.AF_BRIDGE and attributes.get(_NDA_LLADDR) == mac and bridge:
            yield socket.if_indextoname(bridge), socket.if_indextoname(index)


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    while len(data) >= _RTATTR.size:
        length, kind = _RTATTR.unpack_from(data)
        yield kind, data[_RTATTR.size : length]
        data = data[-(-length // 4) * 4 :]
