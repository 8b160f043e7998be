"""Costs: what one packet takes on its way, counted; and how long it takes, only side by side.

Counts hold on any machine. Times hold for the machine they were measured on, and under emulation
not even there: they are told beside each other, with the accelerator, never as a NIC's figures.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from lab.data import Data

Pattern = Literal["ping-pong", "burst"]


class Count(Data):
    """Events per packet, those of an idle window subtracted: mean, least and most of all windows.

    A round trip is two packets. CPU times are in microseconds per packet.
    """

    mean: float
    low: float
    high: float


class Counted(Data):
    """What was counted while packets crossed in one pattern.

    Ping-pong sends each packet after the answer to the one before; a burst sends ``burst`` of them
    at once. Each of ``windows`` windows had ``packets`` packets, both directions together.
    ``reasons`` splits a count: exits by KVM's or the hardware's reason, system calls by name and
    file (``writev tap``).
    """

    pattern: Pattern
    burst: int = 1
    windows: int
    packets: int
    counts: dict[str, Count]
    reasons: dict[str, dict[str, float]] = Field(default_factory=dict)


class Latency(Data):
    """Round trips of packets sent at fixed times, whether or not earlier answers came, untraced.

    Each is measured from the time at which it was due to be sent. Microseconds.
    """

    sent: int
    lost: int
    rate_pps: float
    p50_us: float
    p90_us: float
    p99_us: float
    max_us: float


class ZeroLoss(Data):
    """The highest rate of frames of one size of which none was lost (RFC 2544, section 26.1)."""

    size: int
    pps: float
    trials: int


class Tcp(Data):
    """TCP streams (Mbit/s of payload) and request/response pairs per second."""

    in_mbit: float
    out_mbit: float
    transactions: float


class Costs(Data):
    """What the packets of one NIC cost.

    ``observer`` is the time of a round trip while everything is counted, over that of one while
    nothing is. ``host_hops`` are the host's devices that a packet passes. ``not_measured`` says of
    each thing that is missing here why.
    """

    counted: tuple[Counted, ...] = ()
    host_hops: int | None = None
    latency: Latency | None = None
    observer: float | None = None
    zero_loss: tuple[ZeroLoss, ...] = ()
    tcp: Tcp | None = None
    not_measured: dict[str, str] = Field(default_factory=dict)
