"""Where each hop probe was seen, and how a guest's clock stands to the host's. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from lab.evidence.packets import Clock, MarkedProbe, Sighting
from lab.plan.data import Direction, ProbePlan
from lab.plan.where import HOST, WIRE
from lab.probe.capture import Frame
from lab.probe.frames import Ends, checksums_good, source
from lab.probe.mark import Packet


def in_order(*captures: Iterable[Frame]) -> tuple[Frame, ...]:
    """The frames of all captures in order of time.

    Frames of one capture with the same time stay in the order in which the kernel had them: a
    bridge and the port that received show the same stamp.
    """
    frames = [frame for capture in captures for frame in capture]
    return tuple(sorted(frames, key=lambda frame: frame.time_ns))


def marked_probe(probe: ProbePlan, packet: Packet, frames: Iterable[Frame]) -> MarkedProbe:
    """Every sighting of one packet; ``frames`` in order of time, on the host's clock."""
    return MarkedProbe(
        probe=packet.name,
        guest=probe.guest,
        nic=probe.nic,
        direction=packet.direction,
        sightings=tuple(_sighting(frame) for frame in frames if frame.number == packet.number),
    )


def _sighting(frame: Frame) -> Sighting:
    good = "good" if checksums_good(frame.data) else "bad"
    return Sighting(
        where=frame.where,
        device=frame.device,
        time_ns=frame.time_ns,
        length=len(frame.data),
        outgoing=frame.outgoing,
        vlan=frame.vlan,
        checksum="partial" if frame.partial else good,
    )


def clock(
    guest: str, ends: Ends, packets: Iterable[Packet], frames: Sequence[Frame]
) -> Clock | None:
    """The guest's clock from the tester's ICMP echoes; None where none came back.

    As NTP does (RFC 5905, section 8): a request leaves the host's last device at t1 and reaches the
    guest at t2, the answer leaves the guest at t3 and reaches the host at t4. The way takes d =
    (t4 - t1) - (t3 - t2); if it is as long there as back, the clocks differ by exactly
    ((t1 - t2) + (t4 - t3)) / 2, and whatever it is, by no more than d / 2 from that. The exchange
    with the smallest d is the best.
    """
    rounds = [
        times
        for packet in packets
        if packet.kind == "icmp" and packet.direction is Direction.IN
        for times in _round(guest, ends, [f for f in frames if f.number == packet.number])
    ]
    if not rounds:
        return None
    t1, t2, t3, t4 = min(rounds, key=lambda t: (t[3] - t[0]) - (t[2] - t[1]))
    return Clock(
        guest=guest,
        offset_ns=((t1 - t2) + (t4 - t3)) // 2,
        error_ns=((t4 - t1) - (t3 - t2) + 1) // 2,
    )


def on_host_clock(frames: Iterable[Frame], clock: Clock | None) -> tuple[Frame, ...]:
    """A guest's frames with their stamps moved; without a clock they stay as they are."""
    offset = clock.offset_ns if clock else 0
    return tuple(replace(frame, time_ns=frame.time_ns + offset) for frame in frames)


def _round(guest: str, ends: Ends, frames: Sequence[Frame]) -> Iterator[tuple[int, int, int, int]]:
    """t1 to t4 of one echo, if all four are there.

    Where the host has no device in the path (a NIC passed through), the wire is nearest.
    """
    through = _passed_through(frames, ends)
    outside = [frame for frame in frames if (frame.where, frame.device) in through]
    outside = outside or [frame for frame in frames if frame.where == WIRE]
    inside = [frame for frame in frames if frame.where == guest]
    request, answer = ends.tester.packed, ends.guest.packed
    there = _times(outside, request), _times(inside, request)
    back = _times(inside, answer), _times(outside, answer)
    if all((*there, *back)):
        yield max(there[0]), min(there[1]), max(back[0]), min(back[1])


def _passed_through(frames: Iterable[Frame], ends: Ends) -> set[tuple[str, str]]:
    """Devices of the host that took in one of request and answer and sent the other.

    A port of another NIC took in both: the cable is a hub, and the port's stamp of the request may
    be younger than the guest's.
    """
    ways: dict[tuple[str, str], set[tuple[bytes, bool]]] = {}
    for frame in frames:
        if frame.where == HOST and (sender := source(frame)) is not None:
            ways.setdefault((frame.where, frame.device), set()).add((sender, frame.outgoing))
    request, answer = ends.tester.packed, ends.guest.packed
    return {
        device
        for device, way in ways.items()
        if any({(request, out), (answer, not out)} <= way for out in (True, False))
    }


def _times(frames: Iterable[Frame], sender: bytes) -> list[int]:
    return [frame.time_ns for frame in frames if source(frame) == sender]
