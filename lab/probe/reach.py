"""Reach: do packets of every kind and size arrive whole and come back, in both directions?

The tester sends frames that scapy built and waits for each answer before the next, all of one kind
within one deadline, so that a path that is cut costs one deadline and not one per packet. What
became of them is then read from the captures.
"""

from __future__ import annotations

import hashlib
import os
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Literal

from lab.evidence.packets import Exchange
from lab.plan.data import Direction, ProbePlan
from lab.plan.where import WIRE
from lab.probe.capture import Frame, PacketCapture
from lab.probe.frames import Ends, build, carries, checksums_good, is_arp, source, who_has
from lab.probe.inside import Answers
from lab.probe.lane import IMPATIENCE, PATIENCE, Lane
from lab.probe.mark import ECHOES, Packet
from lab.probe.servers import digest_of_stream

Protocol = Literal["arp", "icmp", "udp", "tcp"]


def frames_in(lane: Lane) -> dict[int, bytes]:
    """The frames of all packets towards the guest, by their numbers."""
    return {
        packet.number: build(lane.ends, packet)
        for packet in lane.packets
        if packet.direction is Direction.IN
    }


def send_in(
    sender: socket.socket, wire: PacketCapture, lane: Lane, frames: Mapping[int, bytes]
) -> int:
    """Send ARP, every echo, and the hop probe towards the guest; answers end in ``wire``.

    ``sender`` is a packet socket bound to the tester's device, ``frames`` are from `frames_in`.
    Returns how many seconds it is worth to wait for further answers on this path.
    """
    ends, patience = lane.ends, PATIENCE

    def arp_reply(frame: Frame) -> bool:
        return not frame.outgoing and is_arp(frame, 2, ends.guest, ends.tester)

    sender.send(who_has(ends))
    if wire.wait(arp_reply, time.monotonic() + patience) is None:
        patience = IMPATIENCE
    # The hop probe takes a path that is awake, and the UDP echoes see to it that it has arrived.
    for kind in ("icmp", "hop", "udp"):
        deadline = time.monotonic() + patience
        answers = []
        for packet in _of(lane, kind, Direction.IN):
            sender.send(frames[packet.number])
            if kind != "hop":
                answers.append(wire.wait(_answer_to(packet, ends), deadline))
        if not all(answers):
            patience = IMPATIENCE
    return patience


def stream_in(lane: Lane, patience: int) -> bool:
    """Whether the guest received random bytes unchanged over TCP: it says their SHA-256."""
    data = os.urandom(lane.probe.tcp_bytes)
    return digest_of_stream(lane.ends.guest, data, patience) == hashlib.sha256(data).hexdigest()


def exchanges(
    lane: Lane, frames: Sequence[Frame], answers: Answers, stream: bool
) -> tuple[Exchange, ...]:
    """What became of all that was sent; ``frames`` are those of the wire and the guest.

    ``stream`` is what `stream_in` said.
    """
    probe = lane.probe

    def exchange(protocol: Protocol, direction: Direction, counts: dict[str, int]) -> Exchange:
        note = answers.note if (protocol, direction) == ("tcp", Direction.OUT) else ""
        return Exchange(
            protocol=protocol,
            guest=probe.guest,
            nic=probe.nic,
            direction=direction,
            note=note,
            **counts,
        )

    return (
        *(exchange("arp", way, _arp(way, lane.ends, frames)) for way in Direction),
        *(
            exchange(kind, way, _echo(packet, lane.ends, frames, answers))
            for way in Direction
            for kind in ECHOES
            for packet in _of(lane, kind, way)
        ),
        exchange("tcp", Direction.IN, _stream(probe, stream)),
        exchange("tcp", Direction.OUT, _stream(probe, answers.tcp)),
    )


def _of(lane: Lane, kind: str, way: Direction) -> Iterator[Packet]:
    return (each for each in lane.packets if each.kind == kind and each.direction is way)


def _stream(probe: ProbePlan, came_back: bool) -> dict[str, int]:
    return {"size": probe.tcp_bytes, "sent": 1, "delivered": int(came_back)}


def _arp(way: Direction, ends: Ends, frames: Iterable[Frame]) -> dict[str, int]:
    """Requests that the asking end sent, and whether an answer came to it."""
    asker, asked, end = (
        (ends.tester, ends.guest, True) if way is Direction.IN else (ends.guest, ends.tester, False)
    )
    there = [frame for frame in frames if (frame.where == WIRE) is end]
    requests = [frame for frame in there if frame.outgoing and is_arp(frame, 1, asker, asked)]
    answered = any(not frame.outgoing and is_arp(frame, 2, asked, asker) for frame in there)
    # The kernel asks again when an answer is late: one question, however often it was asked.
    return {
        "size": len(requests[0].data) if requests else 0,
        "sent": min(len(requests), 1),
        "delivered": int(answered),
    }


def _echo(packet: Packet, ends: Ends, frames: Iterable[Frame], answers: Answers) -> dict[str, int]:
    """One echo. Its frames are verified where they arrive: request and answer.

    Not verified is what a kernel left to a NIC that does not exist (veth, virtio): ``partial``, and
    the answers of the tester's own kernel, of which the same may be true.
    """
    arrived = [frame for frame in frames if frame.number == packet.number and not frame.outgoing]
    if packet.direction is Direction.OUT:
        delivered = packet.payload in answers.datagrams
    else:
        answer = _answer_to(packet, ends)
        delivered = any(frame.where == WIRE and answer(frame) for frame in arrived)
    verified = [
        frame
        for frame in arrived
        if not frame.partial and (frame.where == WIRE or packet.direction is Direction.IN)
    ]
    return {
        "size": packet.size,
        "sent": 1,
        "delivered": int(delivered),
        "checked": len(verified),
        "bad_checksums": sum(not checksums_good(frame.data) for frame in verified),
    }


def _answer_to(packet: Packet, ends: Ends) -> Callable[[Frame], bool]:
    def match(frame: Frame) -> bool:
        return (
            frame.number == packet.number
            and not frame.outgoing
            and source(frame) == ends.guest.packed
            and carries(frame, packet)
        )

    return match
