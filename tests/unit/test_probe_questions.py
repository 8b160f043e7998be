"""The frames of questions, and where they were seen."""

from __future__ import annotations

from ipaddress import IPv6Address

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import ICMPv6ND_NS, ICMPv6NDOptSrcLLAddr, IPv6, in6_chksum
from scapy.layers.l2 import Ether

from lab.evidence.packets import Asked, Seen
from lab.plan.data import End, Plan, Question
from lab.probe.capture import Frame
from lab.probe.frames import checksums_good
from lab.probe.mark import number_in
from lab.probe.questions import FIRST_NUMBER, asked, build, link_local, names
from tests import sample

ONE_MAC, TWO_MAC = "52:54:00:00:00:11", "52:54:00:ab:cd:12"
ONE = End(name="one", where="one", nic="nic0", mac=ONE_MAC, address="10.77.0.11")
TWO = End(name="two", where="two", nic="nic0", mac=TWO_MAC, address="10.77.0.12")


def question(kind: str) -> Question:
    return Question.model_validate(
        {"name": f"one.two.{kind}", "source": ONE, "target": TWO, "kind": kind, "arrives": True}
    )


@pytest.mark.parametrize(
    ("kind", "mac", "address"),
    [
        ("unicast", TWO_MAC, "10.77.0.12"),
        ("broadcast", "ff:ff:ff:ff:ff:ff", "255.255.255.255"),
        ("multicast", "01:00:5e:4d:07:07", "239.77.7.7"),
    ],
)
def test_a_frame_has_its_mark_and_its_addresses(kind: str, mac: str, address: str) -> None:
    data = build(question(kind), 0x8001, ONE_MAC, TWO_MAC)
    frame = Ether(data)
    assert (frame.src, frame.dst) == (ONE_MAC, mac)
    assert (frame[IP].src, frame[IP].dst, frame[UDP].dport) == ("10.77.0.11", address, 9479)
    assert number_in(data) == 0x8001
    assert checksums_good(data)


def test_a_solicitation_is_what_a_host_would_send() -> None:
    data = build(question("ipv6"), 0x8002, ONE_MAC, TWO_MAC)
    frame = Ether(data)
    assert (frame.src, frame.dst) == (ONE_MAC, "33:33:ff:ab:cd:12")
    assert (frame[IPv6].src, frame[IPv6].dst) == ("fe80::5054:ff:fe00:11", "ff02::1:ffab:cd12")
    assert frame[IPv6].hlim == 255
    assert frame[IPv6].plen == len(data) - 54
    assert frame[ICMPv6ND_NS].tgt == "fe80::5054:ff:feab:cd12"
    assert frame[ICMPv6NDOptSrcLLAddr].lladdr == ONE_MAC
    assert in6_chksum(58, frame[IPv6], data[54:]) == 0  # type: ignore[no-untyped-call]
    assert number_in(data) == 0x8002


def test_a_link_local_address_is_made_of_the_mac() -> None:
    assert link_local("02:00:00:00:00:01") == IPv6Address("fe80::ff:fe00:1")


def test_frames_are_told_apart_by_their_mark() -> None:
    kinds = ("unicast", "ipv6")
    plan: Plan = sample.plan().model_copy(
        update={"questions": tuple(question(kind) for kind in kinds)}
    )
    data = [
        build(each, FIRST_NUMBER + number, ONE_MAC, TWO_MAC)
        for number, each in enumerate(plan.questions)
    ]
    frames = [
        Frame(where="one", device="eth0", time_ns=1, data=data[0], outgoing=True),
        Frame(where="two", device="eth0", time_ns=2, data=data[1], outgoing=False),
        Frame(where="two", device="eth0", time_ns=3, data=bytes(60), outgoing=False),
    ]
    assert asked(plan, frames) == (
        Asked(question="one.two.unicast", seen=(Seen(where="one", device="eth0", outgoing=True),)),
        Asked(question="one.two.ipv6", seen=(Seen(where="two", device="eth0", outgoing=False),)),
    )
    assert list(names(plan).values()) == ["question one.two.unicast", "question one.two.ipv6"]
