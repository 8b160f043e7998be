"""What a device leaves to others: checksums that are filled in further on."""

from __future__ import annotations

import ctypes
import fcntl
import socket
import struct

from lab.host.host import Host
from lab.host.undo import UndoStack
from lab.plan.operations import FillChecksums

# linux/sockios.h, linux/ethtool.h (ETHTOOL_GTXCSUM and ETHTOOL_STXCSUM: struct ethtool_value)
_SIOCETHTOOL = 0x8946
_GET, _SET = 0x16, 0x17


def fill_checksums(host: Host, op: FillChecksums, undos: UndoStack) -> None:
    """Without checksum offload the kernel leaves no segments to the device either."""
    with host.inside(op.where):
        before = checksum_offload(op.device)
    if not before:
        return

    def back() -> None:
        if host.exists(op.where, op.device):
            with host.inside(op.where):
                set_checksum_offload(op.device, offload=True)

    undos.push(f"checksum offload of {op.device}", back)
    with host.inside(op.where):
        set_checksum_offload(op.device, offload=False)


def checksum_offload(device: str) -> bool:
    """Whether checksums are left to a device of the calling thread's namespace."""
    return bool(_ethtool(device, _GET, 0))


def set_checksum_offload(device: str, *, offload: bool) -> None:
    """Leave them to it, or not. OSError may come out."""
    _ethtool(device, _SET, int(offload))


def _ethtool(device: str, command: int, value: int) -> int:
    buffer = bytearray(struct.pack("@II", command, value))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        address = (ctypes.c_char * len(buffer)).from_buffer(buffer)
        request = struct.pack("@16sP8x", device.encode(), ctypes.addressof(address))
        fcntl.ioctl(sock, _SIOCETHTOOL, request)
    return int(struct.unpack("@II", buffer)[1])
