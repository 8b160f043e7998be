"""Packets per queue by the kernel's own word: netlink messages, and what answers mean. Pure.

Since Linux 6.10 virtio_net no longer tells packets per queue to ``ethtool -S``; the generic netlink
family ``netdev`` does (Documentation/netlink/specs/netdev.yaml, ``qstats-get``). The guest has no
program that speaks it, but socat sends any message, so the messages are made here.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

# linux/netlink.h, linux/genetlink.h, linux/netdev.h
_REQUEST, _DUMP = 0x1, 0x300
_DONE = 3
_GENL_ID_CTRL = 0x10
_CTRL_GETFAMILY, _CTRL_ATTR_FAMILY_ID, _CTRL_ATTR_FAMILY_NAME = 3, 1, 2
_QSTATS_GET = 12
_IFINDEX, _QUEUE_TYPE, _QUEUE_ID, _SCOPE, _RX_PACKETS, _TX_PACKETS = 1, 2, 3, 4, 8, 10
_SCOPE_QUEUE = 1
_TYPE_RX = 0

_HEADER = struct.Struct("<IHHII")
_GENERIC = 4


def family_request() -> bytes:
    """Asks for the number of the family ``netdev``."""
    name = _attribute(_CTRL_ATTR_FAMILY_NAME, b"netdev\0")
    return _message(_GENL_ID_CTRL, _REQUEST, _CTRL_GETFAMILY, name)


def family_in(answer: bytes) -> int | None:
    """The family's number; None where the kernel has no such family."""
    for kind, body in _messages(answer):
        if kind == _GENL_ID_CTRL:
            value = _attributes(body).get(_CTRL_ATTR_FAMILY_ID)
            return None if value is None else int.from_bytes(value, "little")
    return None


def packets_request(family: int, ifindex: int) -> bytes:
    """Asks for the counters of every queue of one device."""
    which = _attribute(_IFINDEX, ifindex.to_bytes(4, "little"))
    scope = _attribute(_SCOPE, _SCOPE_QUEUE.to_bytes(8, "little"))
    return _message(family, _REQUEST | _DUMP, _QSTATS_GET, which + scope)


def packets_in(answer: bytes) -> tuple[dict[int, int], dict[int, int]]:
    """Packets received and sent, by queue; empty where the driver counts none."""
    received: dict[int, int] = {}
    sent: dict[int, int] = {}
    for kind, body in _messages(answer):
        if kind <= _GENL_ID_CTRL:
            continue
        values = {key: int.from_bytes(value, "little") for key, value in _attributes(body).items()}
        if values[_QUEUE_TYPE] == _TYPE_RX:
            received[values[_QUEUE_ID]] = values.get(_RX_PACKETS, 0)
        else:
            sent[values[_QUEUE_ID]] = values.get(_TX_PACKETS, 0)
    return received, sent


def _message(family: int, flags: int, command: int, attributes: bytes) -> bytes:
    body = struct.pack("<BBH", command, 1, 0) + attributes
    return _HEADER.pack(_HEADER.size + len(body), family, flags, 1, 0) + body


def _attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("<HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def _messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Each message's type and what follows its headers, up to the end of a dump."""
    while len(data) >= _HEADER.size:
        length, kind, _flags, _sequence, _port = _HEADER.unpack_from(data)
        if kind == _DONE or length < _HEADER.size:
            return
        yield kind, data[_HEADER.size + _GENERIC : length]
        data = data[length + -length % 4 :]


def _attributes(data: bytes) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    while len(data) >= 4:
        length, kind = struct.unpack_from("<HH", data)
        if length < 4:
            break
        found[kind] = data[4:length]
        data = data[length + -length % 4 :]
    return found
