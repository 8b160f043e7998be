"""What the kernel recorded around single packets."""

from __future__ import annotations

from typing import Literal

from lab.data import Data
from lab.evidence.packets import Sighting


class TracedThread(Data):
    """A thread that has to do with a guest: one of its vCPUs, of its vhosts, or another of QEMU's.

    ``name`` is the kernel's name for it (comm).
    """

    tid: int
    name: str
    role: Literal["vcpu", "vhost", "qemu"]


class LinkState(Data):
    """A device at one moment: MTU, the bridge that it is a port of (else empty), its counters.

    The counters are those of ``/sys/class/net/DEVICE/statistics`` (IFLA_STATS64).
    """

    where: str
    device: str
    mtu: int
    bridge: str
    counters: dict[str, int]


class LifeEvidence(Data):
    """One packet that was sent to a guest alone, and all that the kernel said meanwhile.

    ``events`` are the lines of the kernel's trace, their time in seconds of CLOCK_MONOTONIC;
    ``realtime_ns`` + that is CLOCK_REALTIME. ``kind`` is ``icmp`` for an echo request and ``hop``
    for a marked UDP packet, which the guest's kernel refuses. ``answered`` is whether the tester
    got the echo reply, or the refusal, before ``patience_seconds`` were over. ``sightings`` are
    those of the captures, request and reply. ``before`` and ``after`` are the devices of host and
    wire around it.
    """

    guest: str
    nic: str
    probe: str
    kind: Literal["icmp", "hop"]
    size: int
    answered: bool
    patience_seconds: float
    realtime_ns: int
    events: tuple[str, ...]
    threads: tuple[TracedThread, ...]
    sightings: tuple[Sighting, ...]
    before: tuple[LinkState, ...]
    after: tuple[LinkState, ...]
