"""Questions of reach: one frame each, all in one window, and where each was seen.

A frame is put on the device itself by a packet socket, so that neither routes nor ARP decide
whether it is sent; it carries the mark like any other packet of ours.
"""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from ipaddress import IPv4Address, IPv6Address
from typing import Protocol

from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether
from scapy.packet import Raw
from scapy.utils import checksum

from lab.evidence.guest import NicEvidence
from lab.evidence.packets import Asked, Capture, Seen
from lab.plan.data import End, Plan, Question
from lab.plan.where import WIRE
from lab.probe import inside
from lab.probe.capture import Frame, PacketCapture
from lab.probe.frames import SOURCE_PORT, Ends, is_arp, who_has
from lab.probe.lane import IMPATIENCE, PATIENCE, Guest
from lab.probe.mark import MAGIC, fill

FIRST_NUMBER = 0x8000
"""Of the marks; those of the lanes start at 1."""
_PORT = 9479
"""UDP: not that of the hop probes, so that what happens to these does not happen to questions."""
_GROUP = "239.77.7.7"
"""Nobody joins it. Macvlan keeps the groups of a port by a hash of 8 bits (mc_hash in
drivers/net/macvlan.c), and this one shares it neither with broadcast nor with 224.0.0.1."""
_GROUP_MAC = "01:00:5e:4d:07:07"
_BROADCAST_MAC = "ff:ff:ff:ff:ff:ff"
_SIZE = 150
_IPV6, _ICMPV6 = 0x86DD, 58
_SOLICITATION = 135
_SOURCE_ADDRESS, _NONCE = 1, 14  # options, RFC 4861 and RFC 3971
_NONCE_LENGTH = 14


@dataclass(frozen=True)
class Watch:
    """A guest's NIC that takes part, how the tester calls it and through which device."""

    guest: Guest
    nic: NicEvidence
    ends: Ends
    device: str


@dataclass(frozen=True)
class Heard:
    """What one of them saw, stamped by the guest's own clock."""

    guest: str
    frames: tuple[Frame, ...]
    capture: Capture


class Host(Protocol):
    """What is needed of the host."""

    def inside(self, where: str) -> AbstractContextManager[None]: ...


def put(
    plan: Plan, host: Host, guests: Mapping[str, Guest], wire: PacketCapture
) -> tuple[Heard, ...]:
    """Put all questions of the plan while ``wire`` and others capture; what the guests saw.

    Raises StartError where a guest cannot do its part.
    """
    if not plan.questions:
        return ()
    with _outlets(plan, host) as outlets:
        watches = _watches(plan, guests, _mac(outlets[WIRE, plan.facts.tester]))
        for watch in watches.values():
            inside.watch(watch.guest, watch.nic)
        for source, frames in _frames(plan, outlets).items():
            if source.nic:
                watch = watches[source.where, source.nic]
                inside.send_frames(watch.guest, watch.nic, frames)
            for frame in frames if source.device else ():
                outlets[source.where, source.device].send(frame)
        _settle(outlets, wire, watches.values())
        return tuple(_heard(watch) for watch in watches.values())


def asked(plan: Plan, frames: Sequence[Frame]) -> tuple[Asked, ...]:
    """Where each question's frame was seen; ``frames`` are those of all captures."""
    return tuple(
        Asked(
            question=question.name,
            seen=tuple(
                Seen(where=frame.where, device=frame.device, outgoing=frame.outgoing)
                for frame in frames
                if frame.number == number
            ),
        )
        for number, question in enumerate(plan.questions, FIRST_NUMBER)
    )


def names(plan: Plan) -> dict[int, str]:
    """What to call the frames by the number of their mark."""
    return {
        number: f"question {question.name}"
        for number, question in enumerate(plan.questions, FIRST_NUMBER)
    }


def build(question: Question, number: int, source_mac: str, target_mac: str) -> bytes:
    """The question's frame, every checksum filled in."""
    mark = MAGIC + number.to_bytes(2)
    if question.kind == "ipv6":
        return solicitation(source_mac, target_mac, mark)
    mac, address = {
        "unicast": (target_mac, question.target.address),
        "broadcast": (_BROADCAST_MAC, "255.255.255.255"),
        "multicast": (_GROUP_MAC, _GROUP),
    }[question.kind]
    head = Ether(src=source_mac, dst=mac) / IP(src=question.source.address, dst=address)
    return bytes(head / UDP(sport=SOURCE_PORT, dport=_PORT) / Raw(mark + fill(_SIZE)))


def solicitation(source_mac: str, target_mac: str, mark: bytes) -> bytes:
    """A neighbour solicitation (RFC 4861) for the link-local address that goes with a MAC.

    Not built by scapy, whose IPv6 layers take seconds to import in a lab host.
    """
    source, target = link_local(source_mac), link_local(target_mac)
    group = IPv6Address("ff02::1:ff00:0").packed[:13] + target.packed[13:]
    nonce = bytes((_NONCE, 2)) + mark.ljust(_NONCE_LENGTH, b"\0")
    options = nonce + bytes((_SOURCE_ADDRESS, 1)) + _bytes(source_mac)
    tail = bytes(4) + target.packed + options
    head = bytes((_SOLICITATION, 0))
    pseudo = source.packed + group + struct.pack("!II", 4 + len(tail), _ICMPV6)
    body = head + checksum(pseudo + head + b"\0\0" + tail).to_bytes(2) + tail
    ethernet = b"\x33\x33" + group[12:] + _bytes(source_mac) + _IPV6.to_bytes(2)
    # Hop limit 255: a solicitation that a router has passed on is not taken (RFC 4861, 7.1.1).
    return (
        ethernet
        + struct.pack("!IHBB", 6 << 28, len(body), _ICMPV6, 255)
        + (source.packed + group + body)
    )


def link_local(mac: str) -> IPv6Address:
    """The address that a host makes of its MAC address (RFC 4291, appendix A)."""
    raw = _bytes(mac)
    return IPv6Address(
        b"\xfe\x80" + bytes(6) + bytes((raw[0] ^ 2,)) + raw[1:3] + b"\xff\xfe" + raw[3:]
    )


@contextmanager
def _outlets(plan: Plan, host: Host) -> Iterator[dict[tuple[str, str], socket.socket]]:
    """A packet socket for each device of host and wire that takes part, and for the tester's."""
    ends = [end for question in plan.questions for end in (question.source, question.target)]
    wanted = {(end.where, end.device) for end in ends if end.device}
    wanted |= {(WIRE, probe.device or plan.facts.tester) for probe in plan.probes}
    with ExitStack() as stack:
        outlets = {}
        for where, device in sorted(wanted | {(WIRE, plan.facts.tester)}):
            with host.inside(where):
                # Protocol 0: it receives nothing.
                sock = stack.enter_context(socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0))
            sock.bind((device, 0))
            outlets[where, device] = sock
        yield outlets


def _watches(
    plan: Plan, guests: Mapping[str, Guest], tester_mac: str
) -> dict[tuple[str, str], Watch]:
    probes = {(probe.guest, probe.nic): probe for probe in plan.probes}
    return {
        (end.where, end.nic): Watch(
            guest=guests[end.where],
            nic=guests[end.where].nics[end.nic],
            ends=Ends(
                tester_mac,
                IPv4Address(probes[end.where, end.nic].peer),
                end.mac,
                IPv4Address(end.address),
            ),
            device=probes[end.where, end.nic].device or plan.facts.tester,
        )
        for question in plan.questions
        for end in (question.source, question.target)
        if end.nic
    }


def _frames(plan: Plan, outlets: Mapping[tuple[str, str], socket.socket]) -> dict[End, list[bytes]]:
    """What each end has to send, in the order of the plan."""
    frames: dict[End, list[bytes]] = {}
    for number, question in enumerate(plan.questions, FIRST_NUMBER):
        macs = [
            end.mac or _mac(outlets[end.where, end.device])
            for end in (question.source, question.target)
        ]
        frames.setdefault(question.source, []).append(build(question, number, *macs))
    return frames


def _settle(
    outlets: Mapping[tuple[str, str], socket.socket], wire: PacketCapture, watches: Iterable[Watch]
) -> None:
    """Return when no frame can still be on its way, without a guess how long that takes.

    Every guest answers the tester twice. The first answer leaves a guest behind all that it sent
    itself; the second request comes to a guest behind all that was sent to it. Only with several
    queues can one overtake the other, by the time that a vhost thread takes to wake; ending the
    captures takes longer.
    """
    patience = PATIENCE
    for watch in [*watches] * 2:
        outlets[WIRE, watch.device].send(who_has(watch.ends))
        answer = wire.wait(partial(_answers, watch.ends), time.monotonic() + patience)
        if answer is None:
            patience = IMPATIENCE


def _answers(ends: Ends, frame: Frame) -> bool:
    return not frame.outgoing and is_arp(frame, 2, ends.guest, ends.tester)


def _heard(watch: Watch) -> Heard:
    frames, capture = inside.watched(watch.guest, watch.nic)
    return Heard(watch.guest.plan.name, frames, capture)


def _mac(sock: socket.socket) -> str:
    """The address of the device that a packet socket is bound to."""
    mac: bytes = sock.getsockname()[4]
    return mac.hex(":")


def _bytes(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))
