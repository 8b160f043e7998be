"""Single packets, each alone on its way, with all that the kernel says meanwhile.

Two are sent to the guest: an ICMP echo request, which the guest's kernel answers by itself, and a
marked UDP packet to the port of the hop probes, which it refuses with an ICMP message. Between
them nothing else of the lab's is under way, so that what the kernel traces of frames of this length
is this packet. Bridges are not made promiscuous as for other captures: then the kernel would hand
on a copy of the frame, and its address in memory would tell nothing.
"""

from __future__ import annotations

import os
import select
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from lab import machine
from lab.artifacts import CAPTURE_FILE
from lab.events import Emit
from lab.evidence.costs import Machine
from lab.evidence.life import LifeEvidence, LinkState, TracedThread
from lab.evidence.whole import Evidence
from lab.plan.data import Direction, Plan, TracePlan
from lab.plan.where import HOST, WIRE
from lab.probe import inside, observe
from lab.probe.capture import Frame, PacketCapture, open_capture
from lab.probe.frames import SOURCE_PORT, build, is_arp, source, who_has
from lab.probe.functions import send_control
from lab.probe.hops import clock, in_order, marked_probe, on_host_clock
from lab.probe.lane import IMPATIENCE, PATIENCE, Guest, Lane
from lab.probe.mark import PROBE_PORT, Packet, numbering
from lab.probe.pcapng import pcapng
from lab.probe.threads import threads_of
from lab.probe.trace import Tracing, open_tracing
from lab.probe.watchlist import watch

_WARM_UPS = 10
_WARM_SIZE = 60
# A lost packet is waited for as long as this many of the slowest round trips before it, and where
# all of these came back never less than the seconds: a busy machine may stand still for one.
_SLOWER = 20
_LEAST_SECONDS = 3.0
_CLOCK_READINGS = 20


class Host(observe.Host, Protocol):
    """What is needed of the host."""

    def links(self, where: str) -> tuple[LinkState, ...]: ...


@dataclass(frozen=True)
class _Way:
    """The path of the packets: both ends, and where they are seen."""

    host: Host
    lane: Lane
    sender: socket.socket
    wire: PacketCapture


@dataclass(frozen=True)
class _Record:
    """What the kernel said of one packet."""

    packet: Packet
    answered: bool
    patience: float
    realtime_ns: int
    events: tuple[str, ...]
    before: tuple[LinkState, ...]
    after: tuple[LinkState, ...]


def observe_lives(
    plan: Plan, host: Host, guests: Mapping[str, Guest], folder: Path, emit: Emit
) -> Evidence:
    """Send the packets that ``plan.trace`` asks for, and nothing else that is judged.

    The captures are written to ``folder`` and emitted. Raises CannotError where the kernel cannot
    trace, StartError where the guest cannot do its part.
    """
    trace = plan.trace
    assert trace is not None
    guest = guests[trace.probe.guest]
    with _sender(plan.facts.tester, trace, host) as sender, _captures(host) as (wire, path):
        lane = _lane(trace, guest, sender.getsockname()[4].hex(":"))
        threads = threads_of(guest)
        inside.watch(guest, lane.nic)
        records = _records(_Way(host, lane, sender, wire), threads)
        frames, capture = inside.watched(guest, lane.nic)
        captures = wire.finish(), path.finish(), capture
    outside = in_order(wire.frames, path.frames)
    offset = clock(guest.plan.name, lane.ends, lane.packets, (*outside, *frames))
    seen = in_order(outside, on_host_clock(frames, offset))
    names = {packet.number: packet.name for packet in lane.packets}
    observe.save(folder / CAPTURE_FILE, pcapng(seen, names), emit)
    return Evidence(
        place=plan.facts.place,
        qemu=guest.qemu_version(),
        host_kernel=os.uname().release,
        guests=tuple(each.evidence() for each in guests.values()),
        clocks=(offset,) if offset else (),
        captures=captures,
        machine=Machine(cpu=machine.cpu(), clock_source=machine.clock_source()),
        missing=() if offset else (f"the clock of {guest.plan.name}: no echo came back",),
        lives=tuple(_life(lane, threads, record, seen) for record in records),
    )


@contextmanager
def _sender(tester: str, trace: TracePlan, host: Host) -> Iterator[socket.socket]:
    with host.inside(WIRE):
        sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    with sock:
        sock.bind((trace.probe.device or tester, 0))
        yield sock


@contextmanager
def _captures(host: Host) -> Iterator[tuple[PacketCapture, PacketCapture]]:
    """Of the wire and of the host. It may be right that the host sees nothing of the packets: a
    control shows that its capture was there."""
    with ExitStack() as stack:
        captures = []
        for where in (WIRE, HOST):
            with host.inside(where):
                captures.append(stack.enter_context(open_capture(where)))
        send_control(host)
        yield captures[0], captures[1]


def _lane(trace: TracePlan, guest: Guest, tester_mac: str) -> Lane:
    numbers = numbering()
    kinds: tuple[Literal["icmp", "hop"], ...] = ("icmp", "icmp", "hop")
    return Lane(
        probe=trace.probe,
        guest=guest,
        nic=guest.nics[trace.probe.nic],
        ends=observe.ends_of(tester_mac, guest, trace.probe),
        packets=(
            *(Packet(next(numbers), "icmp", Direction.IN, _WARM_SIZE) for _ in range(_WARM_UPS)),
            *(Packet(next(numbers), kind, Direction.IN, trace.size) for kind in kinds),
        ),
    )


def _records(way: _Way, threads: Sequence[TracedThread]) -> tuple[_Record, ...]:
    *warm_ups, rehearsal, echo, hop = way.lane.packets
    patience = _warm_up(way, warm_ups)
    with open_tracing() as tracing, _refusals(way) as refused:
        tracing.use_clock("mono")
        watch(tracing, threads, echo.size)

        def replied(packet: Packet) -> Callable[[float], bool]:
            return lambda deadline: way.wire.wait(_reply(way.lane, packet), deadline) is not None

        # The first event of each kind is dear, most of all where the kernel's code is emulated.
        _record(way, tracing, rehearsal, patience, replied(rehearsal))
        return (
            _record(way, tracing, echo, patience, replied(echo)),
            _record(way, tracing, hop, patience, refused),
        )


def _record(
    way: _Way,
    tracing: Tracing,
    packet: Packet,
    patience: float,
    answered: Callable[[float], bool],
) -> _Record:
    """Send one packet and listen until ``answered`` (told the deadline) returns."""
    frame = build(way.lane.ends, packet)
    before = _links(way.host)
    tracing.clear()
    with tracing.recording():
        way.sender.send(frame)
        arrived = answered(time.monotonic() + patience)
    return _Record(
        packet=packet,
        answered=arrived,
        patience=patience,
        realtime_ns=_realtime_ns(),
        events=tuple(line for line in tracing.text().splitlines() if not line.startswith("#")),
        before=before,
        after=_links(way.host),
    )


def _life(
    lane: Lane, threads: tuple[TracedThread, ...], record: _Record, frames: Sequence[Frame]
) -> LifeEvidence:
    packet = record.packet
    assert packet.kind in {"icmp", "hop"}
    return LifeEvidence(
        guest=lane.probe.guest,
        nic=lane.probe.nic,
        probe=packet.name,
        kind="hop" if packet.kind == "hop" else "icmp",
        size=packet.size,
        answered=record.answered,
        patience_seconds=record.patience,
        realtime_ns=record.realtime_ns,
        events=record.events,
        threads=threads,
        sightings=marked_probe(lane.probe, packet, frames).sightings,
        before=record.before,
        after=record.after,
    )


def _warm_up(way: _Way, packets: Sequence[Packet]) -> float:
    """Both ends learn each other's address, caches fill, clocks get compared.

    Returns how many seconds a packet is worth waiting for.
    """
    lane, slowest = way.lane, 0.0

    def known(frame: Frame) -> bool:
        return not frame.outgoing and is_arp(frame, 2, lane.ends.guest, lane.ends.tester)

    way.sender.send(who_has(lane.ends))
    if way.wire.wait(known, time.monotonic() + PATIENCE) is None:
        return IMPATIENCE
    for packet in packets:
        began = time.monotonic()
        way.sender.send(build(lane.ends, packet))
        if way.wire.wait(_reply(lane, packet), began + PATIENCE) is None:
            return IMPATIENCE
        slowest = max(slowest, time.monotonic() - began)
    return max(_LEAST_SECONDS, _SLOWER * slowest)


def _reply(lane: Lane, packet: Packet) -> Callable[[Frame], bool]:
    def match(frame: Frame) -> bool:
        ours = frame.number == packet.number and not frame.outgoing
        return ours and source(frame) == lane.ends.guest.packed

    return match


@contextmanager
def _refusals(way: _Way) -> Iterator[Callable[[float], bool]]:
    """Yield what waits until the guest has refused the UDP packet (ICMP port unreachable).

    A connected UDP socket of that source port is told so by the tester's kernel (udp(7)), whoever
    sent the packet.
    """
    ends = way.lane.ends
    with way.host.inside(WIRE):
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with sock:
        sock.bind((str(ends.tester), SOURCE_PORT))
        sock.connect((str(ends.guest), PROBE_PORT))

        def refused(deadline: float) -> bool:
            left = max(deadline - time.monotonic(), 0)
            return bool(select.select([sock], [], [], left)[0])

        yield refused


def _links(host: Host) -> tuple[LinkState, ...]:
    return (*host.links(WIRE), *host.links(HOST))


def _realtime_ns() -> int:
    """What has to be added to CLOCK_MONOTONIC for CLOCK_REALTIME, from the shortest reading."""
    readings = []
    for _ in range(_CLOCK_READINGS):
        began = time.monotonic_ns()
        realtime = time.time_ns()
        ended = time.monotonic_ns()
        readings.append((ended - began, realtime - (began + ended) // 2))
    return min(readings)[1]
