"""How fast marked packets are found in a capture, beside scapy and dpkt on the same file."""

from __future__ import annotations

import struct
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import dpkt
from scapy.layers.inet import UDP
from scapy.utils import PcapReader

from bench.figures import Row, aimed, row
from lab.probe.mark import MAGIC, MARK_OFFSET, number_in

TITLE = "finding marked packets in a capture"
PACKETS = 200_000
SCAPY_PACKETS = 10_000
TIMES = 5
_LEAST_RATE = 500_000
_HEADER = struct.Struct("<IHHiIII")
_RECORD = struct.Struct("<IIII")
_LENGTHS = (60, 590, 1514)
_ETHERNET = 1


def run() -> Iterator[Row]:
    """Packets per second of CPU time, each reader over the same kind of file."""
    with tempfile.TemporaryDirectory() as folder:
        whole, short = Path(folder, "whole.pcap"), Path(folder, "short.pcap")
        _write(whole, PACKETS)
        _write(short, SCAPY_PACKETS)
        ours = row("lab: 8 bytes at a fixed offset", "1/s", _rates(_lab, whole, PACKETS))
        dpkts = row("dpkt: Ethernet, IP, UDP", "1/s", _rates(_dpkt, short, SCAPY_PACKETS))
        scapys = row("scapy: all layers", "1/s", _rates(_scapy, short, SCAPY_PACKETS))
    yield aimed(ours, ">= 500,000 a CPU second", met=ours.value >= _LEAST_RATE)
    yield from (dpkts, scapys)
    for name, other in (("dpkt", dpkts), ("scapy", scapys)):
        yield row(f"lab over {name}", "times", [ours.value / other.value])


def _rates(count: Callable[[Path], int], file: Path, packets: int) -> list[float]:
    return [_rate(count, file, packets) for _ in range(TIMES)]


def _rate(count: Callable[[Path], int], file: Path, packets: int) -> float:
    began = time.process_time()
    found = count(file)
    seconds = time.process_time() - began
    if found != packets:
        raise ValueError(f"{found} of {packets} marks were found")
    return packets / seconds


def _lab(file: Path) -> int:
    return sum(number_in(frame) is not None for frame in _frames(file.read_bytes()))


def _frames(data: bytes) -> Iterator[bytes]:
    """The packets of a pcap file of this machine's byte order (pcap-savefile(5))."""
    at = _HEADER.size
    while at < len(data):
        length = _RECORD.unpack_from(data, at)[2]
        at += _RECORD.size
        yield data[at : at + length]
        at += length


def _dpkt(file: Path) -> int:
    with file.open("rb") as stream:
        return sum(
            dpkt.ethernet.Ethernet(data).data.data.data.startswith(MAGIC)
            for _, data in dpkt.pcap.Reader(stream)
        )


def _scapy(file: Path) -> int:
    with PcapReader(str(file)) as packets:
        return sum(bytes(packet[UDP].payload).startswith(MAGIC) for packet in packets)


def _write(file: Path, packets: int) -> None:
    """UDP probes of several lengths, numbered."""
    with file.open("wb") as stream:
        stream.write(_HEADER.pack(0xA1B2C3D4, 2, 4, 0, 0, 65535, _ETHERNET))
        for number in range(packets):
            frame = _frame(number & 0xFFFF, _LENGTHS[number % len(_LENGTHS)])
            stream.write(_RECORD.pack(number // 1000, number % 1000, len(frame), len(frame)))
            stream.write(frame)


def _frame(number: int, length: int) -> bytes:
    """An IPv4 UDP datagram without checksums: nobody here verifies them."""
    ethernet = b"\x52\x54\0\0\0\2\x52\x54\0\0\0\1\x08\0"
    ip = struct.pack("!BBHHHBBH8s", 0x45, 0, length - 14, 0, 0, 64, 17, 0, b"\xc0\0\2\1\xc0\0\2\2")
    udp = struct.pack("!HHHH", 40007, 7, length - 34, 0)
    head = ethernet + ip + udp
    assert len(head) == MARK_OFFSET
    return (head + MAGIC + number.to_bytes(2)).ljust(length, b"\0")
