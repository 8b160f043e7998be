"""All captures of a run as one pcapng file (draft-ietf-opsawg-pcapng), one interface per device.

Own code, because scapy's PcapNgWriter (2.6) writes microseconds only: too coarse for hops that are
some microseconds apart. Reading is left to those who can: scapy, tshark, Wireshark.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping

from lab.probe.capture import Frame, tagged

_SECTION, _INTERFACE, _PACKET = 0x0A0D0D0A, 1, 6
_BYTE_ORDER = 0x1A2B3C4D
_ETHERNET = 1
_END, _COMMENT, _EPB_FLAGS, _IF_NAME, _IF_TSRESOL = 0, 1, 2, 2, 9
_NANOSECONDS = bytes((9,))
_INBOUND, _OUTBOUND = 1, 2


def pcapng(frames: Iterable[Frame], names: Mapping[int, str]) -> bytes:
    """The file's bytes; frames must be in order of time.

    An interface is called ``where:device``. ``names`` gives the comment for the number of a mark.
    """
    frames = tuple(frames)
    interfaces = list(dict.fromkeys((frame.where, frame.device) for frame in frames))
    index = {interface: number for number, interface in enumerate(interfaces)}
    return b"".join(
        (
            _block(_SECTION, struct.pack("<IHHq", _BYTE_ORDER, 1, 0, -1), ()),
            *(_interface(f"{where}:{device}") for where, device in interfaces),
            *(_packet(frame, index[frame.where, frame.device], names) for frame in frames),
        )
    )


def _interface(name: str) -> bytes:
    body = struct.pack("<HHI", _ETHERNET, 0, 0)
    return _block(_INTERFACE, body, ((_IF_NAME, name.encode()), (_IF_TSRESOL, _NANOSECONDS)))


def _packet(frame: Frame, interface: int, names: Mapping[int, str]) -> bytes:
    data = tagged(frame.data, frame.vlan)
    high, low = divmod(frame.time_ns, 1 << 32)
    body = struct.pack("<IIIII", interface, high, low, len(data), len(data)) + _padded(data)
    return _block(_PACKET, body, _packet_options(frame, names))


def _packet_options(frame: Frame, names: Mapping[int, str]) -> Iterator[tuple[int, bytes]]:
    if frame.number is not None and frame.number in names:
        yield _COMMENT, names[frame.number].encode()
    yield _EPB_FLAGS, struct.pack("<I", _OUTBOUND if frame.outgoing else _INBOUND)


def _block(kind: int, body: bytes, options: Iterable[tuple[int, bytes]]) -> bytes:
    tail = b"".join(
        struct.pack("<HH", code, len(value)) + _padded(value) for code, value in options
    )
    if tail:
        body += tail + struct.pack("<HH", _END, 0)
    length = struct.pack("<I", len(body) + 12)
    return struct.pack("<I", kind) + length + body + length


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
