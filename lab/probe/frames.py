"""The frames that the tester sends, and whether the checksums of a frame that came are right."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import IPv4Address

from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Raw
from scapy.utils import checksum

from lab.probe.capture import Frame
from lab.probe.mark import ECHO_PORT, MARK_OFFSET, PROBE_PORT, Packet

SOURCE_PORT = 40007
"""The tester's UDP port for what it sends itself."""
_BROADCAST = "ff:ff:ff:ff:ff:ff"
_ARP = b"\x08\x06"
_IPV4 = b"\x08\x00"
_IP_START = 14
_L4_START = 34
_ICMP, _TCP, _UDP = 1, 6, 17
_ECHO_REQUEST = 8
_CHECKSUM_AT = {_TCP: 16, _UDP: 6}


@dataclass(frozen=True)
class Ends:
    """The two ends of the path: MAC and IPv4 addresses of the tester and of the guest's NIC."""

    tester_mac: str
    tester: IPv4Address
    guest_mac: str
    guest: IPv4Address


def build(ends: Ends, packet: Packet) -> bytes:
    """A packet from the tester to the guest, every checksum filled in."""
    port = PROBE_PORT if packet.kind in {"hop", "stray"} else ECHO_PORT
    layer = (
        ICMP(id=packet.number, seq=1)
        if packet.kind == "icmp"
        else UDP(sport=SOURCE_PORT, dport=port)
    )
    head = Ether(src=ends.tester_mac, dst=ends.guest_mac)
    return bytes(head / IP(src=str(ends.tester), dst=str(ends.guest)) / layer / Raw(packet.payload))


def echo_request(number: int, sequence: int, payload: bytes) -> bytes:
    """An ICMP echo request (RFC 792) without its IP header, checksum filled in.

    Not built by scapy: hundreds are wanted at once, and it makes some hundred a second in a lab
    host without hardware virtualisation.
    """
    head, tail = bytes((_ECHO_REQUEST, 0)), struct.pack("!HH", number, sequence) + payload
    return head + checksum(head + b"\0\0" + tail).to_bytes(2) + tail


def who_has(ends: Ends) -> bytes:
    """An ARP request of the tester for the guest."""
    ask = ARP(hwsrc=ends.tester_mac, psrc=str(ends.tester), pdst=str(ends.guest))
    return bytes(Ether(src=ends.tester_mac, dst=_BROADCAST) / ask)


def is_arp(frame: Frame, operation: int, sender: IPv4Address, target: IPv4Address) -> bool:
    """Whether it is an ARP request (1) or reply (2) between these two (RFC 826)."""
    data = frame.data
    return (
        data[12:14] == _ARP
        and int.from_bytes(data[20:22]) == operation
        and data[28:32] == sender.packed
        and data[38:42] == target.packed
    )


def source(frame: Frame) -> bytes | None:
    """The IPv4 source address, None where the frame is no IPv4."""
    return frame.data[26:30] if frame.data[12:14] == _IPV4 else None


def carries(frame: Frame, packet: Packet) -> bool:
    """Whether its payload is exactly the packet's (short frames are padded on the way)."""
    end = MARK_OFFSET + len(packet.payload)
    length = _IP_START + int.from_bytes(frame.data[16:18])
    return length == end and frame.data[MARK_OFFSET:end] == packet.payload


def checksums_good(data: bytes) -> bool:
    """Whether all Internet checksums (RFC 1071) of an IPv4 frame without options are right.

    A UDP checksum of 0 means that there is none (RFC 768) and counts as wrong: who sends with
    checksums wants them to arrive.
    """
    header, pseudo, body = _parts(data)
    if checksum(header) or (header[9] == _UDP and body[6:8] == b"\0\0"):
        return False
    return not checksum(pseudo + body)


def checksum_left_out(data: bytes) -> bool:
    """Whether the UDP or TCP checksum is the one that Linux leaves to the NIC.

    There the field holds the sum of the pseudo header alone, for the NIC to add the rest
    (CHECKSUM_PARTIAL, include/linux/skbuff.h). This is for captures that do not say so.
    """
    header, pseudo, body = _parts(data)
    at = _CHECKSUM_AT.get(header[9])
    if at is None:
        return False
    return int.from_bytes(body[at : at + 2]) == 0xFFFF & ~checksum(pseudo)


def _parts(data: bytes) -> tuple[bytes, bytes, bytes]:
    """IP header, pseudo header (empty for ICMP, which has none), and what follows the header."""
    header = data[_IP_START:_L4_START]
    body = data[_L4_START : _IP_START + int.from_bytes(header[2:4])]
    if header[9] == _ICMP:
        return header, b"", body
    return header, header[12:20] + bytes((0, header[9])) + len(body).to_bytes(2), body
