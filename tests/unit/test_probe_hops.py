"""Sightings in order, and the arithmetic of the clock."""

from __future__ import annotations

import itertools
from dataclasses import replace
from ipaddress import IPv4Address

import pytest

from lab.plan.data import Direction, ProbePlan
from lab.plan.where import HOST, WIRE
from lab.probe.capture import Frame
from lab.probe.frames import Ends, build
from lab.probe.hops import clock, in_order, marked_probe, on_host_clock
from lab.probe.mark import Packet

ENDS = Ends(
    tester_mac="02:00:00:00:00:02",
    tester=IPv4Address("192.0.2.2"),
    guest_mac="02:00:00:00:00:01",
    guest=IPv4Address("192.0.2.1"),
)
BACK = replace(ENDS, tester=ENDS.guest, guest=ENDS.tester)
PROBE = ProbePlan(guest="one", nic="nic0", peer="192.0.2.2", sizes=(60,))
NUMBERS = itertools.count(1)


def ping() -> Packet:
    return Packet(next(NUMBERS), "icmp", Direction.IN, 60)


def seen(
    packet: Packet,
    where: str,
    device: str,
    time_ns: int,
    ends: Ends = ENDS,
    *,
    outgoing: bool = False,
) -> Frame:
    return Frame(where, device, time_ns, build(ends, packet), outgoing=outgoing)


def a_round(packet: Packet, t1: int, t2: int, t3: int, t4: int) -> list[Frame]:
    """Request at the wire, tap and guest, answer at the guest, tap and wire."""
    return [
        seen(packet, WIRE, "eth1", t1 - 500),
        seen(packet, HOST, "eth0", t1 - 100),
        seen(packet, HOST, "tap0", t1, outgoing=True),
        seen(packet, "one", "eth0", t2),
        seen(packet, "one", "eth0", t3, BACK),
        seen(packet, HOST, "tap0", t4, BACK),
        seen(packet, HOST, "eth0", t4 + 100, BACK, outgoing=True),
        seen(packet, WIRE, "eth1", t4 + 500, BACK),
    ]


@pytest.mark.parametrize("skew", [0, 5_000_000_000, -7])
def test_a_symmetric_way_gives_the_exact_offset(skew: int) -> None:
    packet = ping()
    frames = a_round(packet, 1000, 1040 + skew, 1050 + skew, 1090)
    found = clock("one", ENDS, [packet], frames)
    assert found is not None
    assert (found.offset_ns, found.error_ns) == (-skew, 40)


def test_the_true_offset_lies_within_the_error_of_the_worst_asymmetry() -> None:
    packet = ping()
    found = clock("one", ENDS, [packet], a_round(packet, 1000, 1080, 1090, 1090))
    assert found is not None
    assert abs(found.offset_ns) <= found.error_ns == 40


def test_the_quickest_exchange_decides() -> None:
    slow, quick = ping(), ping()
    frames = [*a_round(slow, 0, 900, 910, 1000), *a_round(quick, 2000, 2010, 2020, 2030)]
    found = clock("one", ENDS, [slow, quick], frames)
    assert found is not None
    assert (found.offset_ns, found.error_ns) == (0, 10)


def test_without_a_host_device_the_wire_is_the_reference() -> None:
    packet = ping()
    frames = [f for f in a_round(packet, 1000, 1040, 1050, 1090) if f.where != HOST]
    found = clock("one", ENDS, [packet], frames)
    assert found is not None
    assert (found.offset_ns, found.error_ns) == (0, 540)


@pytest.mark.parametrize("host", [True, False], ids=["on a bridge", "passed through"])
def test_a_port_that_only_listens_is_no_reference(host: bool) -> None:
    """Its stamp of the request is younger than the guest's."""
    packet = ping()
    frames = [f for f in a_round(packet, 1000, 1040, 1050, 1090) if host or f.where != HOST]
    late = (seen(packet, HOST, "eth2", 1045), seen(packet, HOST, "eth2", 1060, BACK))
    assert clock("one", ENDS, [packet], [*frames, *late]) == clock("one", ENDS, [packet], frames)


@pytest.mark.parametrize("lost", range(3, 6))
def test_an_exchange_that_is_not_whole_tells_nothing(lost: int) -> None:
    packet = ping()
    frames = a_round(packet, 1000, 1040, 1050, 1090)[:lost]
    assert clock("one", ENDS, [packet], frames) is None


def test_the_guests_stamps_are_moved() -> None:
    packet = ping()
    frames = a_round(packet, 1000, 5040, 5050, 1090)
    found = clock("one", ENDS, [packet], frames)
    assert [frame.time_ns for frame in on_host_clock(frames[3:5], found)] == [1040, 1050]
    assert on_host_clock(frames, None) == tuple(frames)


def test_equal_stamps_keep_the_order_of_arrival() -> None:
    packet = Packet(next(NUMBERS), "hop", Direction.IN, 200)
    port, bridge, tap = (
        seen(packet, HOST, device, time)
        for device, time in (("eth0", 20), ("br0", 20), ("tap0", 30))
    )
    # The bridge's copy is handed over last, but with the stamp of the port's.
    ordered = in_order([seen(packet, WIRE, "eth1", 10)], [port, tap, bridge])
    found = marked_probe(PROBE, packet, ordered)
    assert [s.device for s in found.sightings] == ["eth1", "eth0", "br0", "tap0"]


def test_only_the_probe_itself_is_sighted() -> None:
    one, other = (Packet(next(NUMBERS), "hop", Direction.IN, 200) for _ in range(2))
    found = marked_probe(PROBE, one, [seen(other, HOST, "eth0", 1), seen(one, HOST, "eth0", 2)])
    assert [s.time_ns for s in found.sightings] == [2]


@pytest.mark.parametrize(
    ("change", "said"),
    [({}, "good"), ({"partial": True}, "partial"), ({"data": b""}, "bad")],
    ids=["good", "partial", "bad"],
)
def test_a_sighting_says_how_its_checksum_is(change: dict[str, object], said: str) -> None:
    packet = Packet(next(NUMBERS), "hop", Direction.IN, 200)
    frame = seen(packet, HOST, "eth0", 1)
    if change == {"data": b""}:
        change = {"data": frame.data[:-1] + b"x"}
    (sighting,) = marked_probe(PROBE, packet, [replace(frame, **change)]).sightings  # type: ignore[arg-type]
    assert sighting.checksum == said
