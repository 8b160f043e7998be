"""The mark that every packet of ours carries, and what each packet is.

The mark is the start of the payload: ``hoplab`` and a number of two bytes. IPv4 without options
and either UDP or ICMP echo put the payload at offset 42 of the frame, so a packet is recognised by
comparing eight bytes, in the kernel's filter as well as here; nothing has to be dissected. A
neighbour solicitation has no payload: its mark is in a nonce option (RFC 3971), at offset 80.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import Literal

from lab.plan import data
from lab.plan.data import Direction, ProbePlan

MAGIC = b"hoplab"
_NUMBER_LENGTH = 2
MARK_LENGTH = len(MAGIC) + _NUMBER_LENGTH
MARK_OFFSET = 42
"""In an untagged frame: 14 (Ethernet) + 20 (IPv4) + 8 (UDP, ICMP echo)."""
SOLICITATION_MARK_OFFSET = 80
"""In an untagged frame: 14 (Ethernet) + 40 (IPv6) + 24 (solicitation) + 2 (option head)."""

ECHO_PORT = data.ECHO_PORT
"""The echo protocol (RFC 862), on UDP."""
STREAM_PORT = 9478
"""TCP: whoever sends a stream there gets its SHA-256 back, in hexadecimal digits."""
PROBE_PORT = data.HOP_PORT
"""Where hop probes go to; nobody answers there."""
_HOP_SIZE = 200

Echo = Literal["icmp", "udp"]
ECHOES: tuple[Echo, ...] = ("icmp", "udp")

# Every four bytes differ, so that a piece that is missing, doubled or moved shows.
_FILL = "".join(f"{number:04d}" for number in range(10_000)).encode()


@dataclass(frozen=True)
class Packet:
    """One packet of ours; ``size`` is the frame's length in bytes without the FCS.

    Kind ``hop`` is the UDP packet without an answer whose way through the devices is looked at, and
    ``stray`` is one like it that is sent where it should not get through.
    """

    number: int
    kind: Literal["hop", "icmp", "udp", "stray"]
    direction: Direction
    size: int

    @property
    def name(self) -> str:
        return f"{self.kind}-{self.direction}-{self.size}"

    @property
    def payload(self) -> bytes:
        """What follows the UDP or ICMP header: the mark and a fill."""
        return MAGIC + self.number.to_bytes(2) + fill(self.size - MARK_OFFSET - MARK_LENGTH)


def fill(length: int) -> bytes:
    """The bytes after the mark: printable, so that a shell script can send them too."""
    return _FILL[:length]


def number_in(frame: bytes) -> int | None:
    """The number in the mark of an untagged frame, None where there is no mark."""
    for offset in (MARK_OFFSET, SOLICITATION_MARK_OFFSET):
        if frame.startswith(MAGIC, offset):
            number = frame[offset + len(MAGIC) : offset + MARK_LENGTH]
            return int.from_bytes(number) if len(number) == _NUMBER_LENGTH else None
    return None


def packets(probe: ProbePlan, numbers: Iterator[int]) -> tuple[Packet, ...]:
    """All packets of one probe plan; ``numbers`` gives each its own."""
    return tuple(
        packet
        for direction in Direction
        for packet in (
            Packet(next(numbers), "hop", direction, _HOP_SIZE),
            *(
                Packet(next(numbers), kind, direction, size)
                for kind in ECHOES
                for size in probe.sizes
            ),
        )
    )


def stray(numbers: Iterator[int]) -> Packet:
    """A packet towards a guest that must not arrive."""
    return Packet(next(numbers), "stray", Direction.IN, _HOP_SIZE)


def numbering() -> Iterator[int]:
    """Numbers for the packets of one run; 0 is the control's (`lab.probe.functions`)."""
    return count(1)
