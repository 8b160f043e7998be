"""Marks, frames and their checksums."""

from __future__ import annotations

from ipaddress import IPv4Address
from itertools import count

import pytest
from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.l2 import Dot1Q, Ether
from scapy.packet import Raw

from lab.plan.data import Direction, ProbePlan
from lab.probe.capture import Frame, tagged, untagged
from lab.probe.frames import (
    Ends,
    build,
    carries,
    checksum_left_out,
    checksums_good,
    echo_request,
    is_arp,
    who_has,
)
from lab.probe.mark import Packet, number_in, packets

ENDS = Ends(
    tester_mac="02:00:00:00:00:02",
    tester=IPv4Address("192.0.2.2"),
    guest_mac="02:00:00:00:00:01",
    guest=IPv4Address("192.0.2.1"),
)
KINDS = ("hop", "icmp", "udp")


def a_packet(kind: str = "udp", size: int = 300) -> Packet:
    return Packet(number=0x0102, kind=kind, direction=Direction.IN, size=size)  # type: ignore[arg-type]


def as_frame(data: bytes) -> Frame:
    return Frame(where="wire", device="eth1", time_ns=1, data=data, outgoing=False)


@pytest.mark.parametrize("size", [60, 61, 1514])
@pytest.mark.parametrize("kind", KINDS)
def test_a_frame_has_its_size_its_mark_and_good_checksums(kind: str, size: int) -> None:
    packet = a_packet(kind, size)
    data = build(ENDS, packet)
    assert len(data) == size
    assert number_in(data) == packet.number
    assert carries(as_frame(data), packet)
    assert checksums_good(data)


@pytest.mark.parametrize("at", [20, 24, 36, 40, 41, 100, 299])
@pytest.mark.parametrize("kind", KINDS)
def test_one_flipped_bit_is_noticed(kind: str, at: int) -> None:
    data = bytearray(build(ENDS, a_packet(kind)))
    data[at] ^= 4
    assert not checksums_good(bytes(data))


def test_no_udp_checksum_is_not_a_good_one() -> None:
    data = build(ENDS, a_packet())
    assert not checksums_good(data[:40] + b"\0\0" + data[42:])


def test_padding_behind_the_packet_does_not_matter() -> None:
    data = build(ENDS, a_packet()) + b"padding"
    assert checksums_good(data)
    assert carries(as_frame(data), a_packet())


def test_a_checksum_left_to_the_nic_is_told_from_a_wrong_one() -> None:
    good = build(ENDS, a_packet())
    pseudo = bytes(IP(good[14:])[IP])[12:20] + bytes((0, 17)) + (300 - 34).to_bytes(2)
    total = sum(int.from_bytes(pseudo[at : at + 2]) for at in range(0, len(pseudo), 2))
    partial = (total & 0xFFFF) + (total >> 16)
    assert checksum_left_out(good[:40] + partial.to_bytes(2) + good[42:])
    assert not checksum_left_out(good)
    assert not checksum_left_out(good[:40] + b"\x12\x34" + good[42:])


def test_an_echo_request_is_what_scapy_makes_of_it() -> None:
    assert echo_request(7, 258, b"abc") == bytes(ICMP(id=7, seq=258) / Raw(b"abc"))


def test_other_payload_is_not_carried() -> None:
    data = build(ENDS, a_packet())
    assert not carries(as_frame(data[:-1] + b"x"), a_packet())
    assert not carries(as_frame(data), a_packet(size=299))


def test_a_foreign_frame_has_no_number() -> None:
    data = bytes(Ether() / IP() / UDP() / Raw(b"hoplap\1\2 and more"))
    assert number_in(data) is None
    assert number_in(data[:46]) is None


def test_the_tag_is_taken_off_and_put_back() -> None:
    data = bytes(Ether(dst=ENDS.guest_mac) / Dot1Q(vlan=100) / IP() / UDP())
    plain, vlan = untagged(data)
    assert (vlan, plain[12:14]) == (100, b"\x08\x00")
    assert tagged(plain, vlan) == data
    assert untagged(plain) == (plain, None)
    assert tagged(plain, None) == plain


def test_arp_is_told_by_operation_and_addresses() -> None:
    frame = as_frame(who_has(ENDS))
    assert is_arp(frame, 1, ENDS.tester, ENDS.guest)
    assert not is_arp(frame, 2, ENDS.tester, ENDS.guest)
    assert not is_arp(frame, 1, ENDS.guest, ENDS.tester)
    assert not is_arp(as_frame(build(ENDS, a_packet())), 1, ENDS.tester, ENDS.guest)


def test_every_packet_of_a_plan_has_a_number_of_its_own() -> None:
    probe = ProbePlan(guest="one", nic="nic0", peer="192.0.2.2", sizes=(60, 1514))
    all_of_them = packets(probe, count(1))
    assert [packet.number for packet in all_of_them] == list(range(1, 11))
    assert [packet.name for packet in all_of_them][:5] == [
        "hop-in-200",
        "icmp-in-60",
        "icmp-in-1514",
        "udp-in-60",
        "udp-in-1514",
    ]
