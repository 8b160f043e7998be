"""Packets: where marked probes and frames were seen, and what became of the others."""

from __future__ import annotations

from typing import Literal

from lab.data import Data
from lab.plan.data import Direction


class Sighting(Data):
    """A probe seen on one device by a packet socket (packet(7)).

    ``outgoing`` is true where the device was sending it. ``checksum`` is ``partial`` where the
    kernel said that the NIC has yet to fill it in (TP_STATUS_CSUMNOTREADY).
    """

    where: str
    device: str
    time_ns: int
    length: int
    outgoing: bool
    vlan: int | None = None
    checksum: Literal["good", "bad", "partial"]


class MarkedProbe(Data):
    """One probe per direction, with every place where it was seen, in order of time."""

    probe: str
    guest: str
    nic: str
    direction: Direction
    sightings: tuple[Sighting, ...]


class Exchange(Data):
    """Packets of one kind and size in one direction, and what became of them.

    ``size`` is the frame's length in bytes. ``delivered`` counts those that arrived whole and were
    answered (payload compared). ``bad_checksums`` counts frames whose IP, ICMP, UDP or TCP checksum
    was wrong in the capture at the receiving end; ``checked`` how many were verified there.
    """

    protocol: Literal["arp", "icmp", "udp", "tcp"]
    guest: str
    nic: str
    direction: Direction
    size: int
    sent: int
    delivered: int
    checked: int = 0
    bad_checksums: int = 0
    note: str = ""


class Seen(Data):
    """One device on which a question's frame was seen; ``outgoing`` as in a `Sighting`."""

    where: str
    device: str
    outgoing: bool


class Asked(Data):
    """A question that was put: where its frame was seen while all of them were on their way."""

    question: str
    seen: tuple[Seen, ...]


class Clock(Data):
    """How a guest's clock stands to the host's, from echoes over the path itself (as NTP does).

    guest time + ``offset_ns`` = host time, off by at most ``error_ns`` either way.
    """

    guest: str
    offset_ns: int
    error_ns: int


class Unseen(Data):
    """How many packets of one NIC were seen outside the guest, and by which devices of the host.

    ``wire`` counts packets, not sightings. ``senders`` are those of ``host`` that sent one out.
    ``control`` is whether the host's capture saw a packet that was sent for it to see, in the same
    window.
    """

    guest: str
    nic: str
    wire: int
    host: tuple[str, ...]
    senders: tuple[str, ...] = ()
    control: bool


class Capture(Data):
    """One packet socket or tcpdump: what it saw and what it lost (PACKET_STATISTICS)."""

    where: str
    packets: int
    drops: int
