"""What the host saw of a guest's packets."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lab.evidence.packets import Unseen
from lab.plan.data import Direction, ProbePlan
from lab.probe.capture import Frame
from lab.probe.functions import unseen
from lab.probe.mark import MAGIC, MARK_OFFSET, Packet

PROBE = ProbePlan(guest="one", nic="nic0", peer="10.77.0.1", sizes=(60,))
PACKETS = tuple(Packet(number, "udp", Direction.IN, 60) for number in (1, 2))


def frame(where: str, device: str, number: int) -> Frame:
    data = bytes(MARK_OFFSET) + MAGIC + number.to_bytes(2)
    return Frame(where=where, device=device, time_ns=1, data=data, outgoing=False)


CONTROL = frame("host", "lo", 0)
WIRE = (frame("wire", "eth1", 1), frame("wire", "vlan5", 1), frame("wire", "eth1", 2))


@pytest.mark.parametrize(
    ("frames", "wire", "host", "control"),
    [
        ((CONTROL, *WIRE), 2, (), True),
        (WIRE, 2, (), False),
        ((CONTROL, frame("host", "eth2", 1), frame("host", "eth2", 2)), 0, ("eth2",), True),
        ((CONTROL, frame("host", "eth2", 7), frame("one", "eth0", 1)), 0, (), True),
    ],
)
def test_unseen(frames: tuple[Frame, ...], wire: int, host: tuple[str, ...], control: bool) -> None:
    expected = Unseen(guest="one", nic="nic0", wire=wire, host=host, control=control)
    assert unseen(PROBE, PACKETS, frames) == expected


def test_unseen_tells_who_sent_it_on() -> None:
    sent = replace(frame("host", "eth3", 1), outgoing=True)
    found = unseen(PROBE, PACKETS, (CONTROL, frame("host", "eth2", 1), sent))
    assert (found.host, found.senders) == (("eth2", "eth3"), ("eth3",))
