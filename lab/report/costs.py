"""Costs: what one packet takes on its way, counted; and how long it takes, only side by side.

Counts hold on any machine. Times hold for the machine they were measured on, and under emulation
not even there: they are told beside each other, with the accelerator, never as a NIC's figures.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from lab.data import Data

Pattern = Literal["ping-pong", "burst"]

_STEADY = 0.1
# What is shown as 0.00.
_NOTHING = 0.005


class Count(Data):
    """Events per packet, those of an idle window subtracted; a round trip is two packets.

    ``mean`` is what most windows agree on, or the mean of the middle half of them, which spans from
    ``lower`` to ``upper``; ``low`` and ``high`` are the least and the most of all. CPU times are in
    microseconds per packet.
    """

    mean: float
    low: float
    high: float
    lower: float | None = None
    upper: float | None = None

    @property
    def steady(self) -> bool:
        """Whether it is a count of the path; otherwise chance has a part in it."""
        if self.lower is None or self.upper is None:
            return True
        return self.upper - self.lower <= max(_STEADY * self.mean, _NOTHING)


class Counted(Data):
    """What was counted while packets crossed in one pattern.

    Ping-pong sends the guest each packet after its answer to the one before; in a burst the guest
    hands over ``burst`` of its own at once. Each of ``windows`` windows had ``packets`` packets,
    both directions together.

    Keys of ``counts``; one is absent where it does not apply or could not be measured:

    exits_to_qemu        the guest stops for QEMU
    exits_kernel_only    the guest stops for KVM alone, by something that it does
    exits_timing         the guest stops by when something happens: an interrupt of the host's, its
                         device's by VFIO among them; its own timer; an interrupt that came while
                         it took none
    kicks                exits by which the guest tells its device that there is work, **per packet
                         that the guest sends**: its writes to registers, which end in an ioeventfd
                         (virtio; with VFIO they are no exits at all)
    qemu_syscalls        system calls of all threads of QEMU, whatever for
    switches_vcpu, switches_qemu, switches_vhost
                         a thread leaves its CPU: vCPUs, the rest of QEMU, vhost
    vhost_wakeups        a thread of vhost is woken
    interrupts_injected  KVM gives the guest an interrupt of a device
    vfio_interrupts      the host takes an interrupt for the guest's device
    cpu_qemu_us          CPU time of QEMU, the guest's own included; and of vhost, both without
    cpu_vhost_us         tracing
    cpu_softirq_us       CPU time of the host's kernel for packets outside of these, at both ends of
                         the cable, traced

    ``reasons`` splits counts: ``exits_to_qemu`` by KVM's reason, ``exits_kernel_only`` and
    ``exits_timing`` by the hardware's (``timer``: the guest sets its own),
    ``qemu_syscalls`` by name and file (``writev tap``).
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
    """The highest rate of frames of one size of which none was lost (RFC 2544, section 26.1).

    Each frame comes back, so as many pass the other way. ``tester_limited`` is where none was ever
    lost because the tester could send no faster. A rate of 0 is one without a trial that lost none.
    """

    size: int
    pps: float
    trials: int
    tester_limited: bool = False


class Tcp(Data):
    """TCP streams (Mbit/s of payload) and request/response pairs per second."""

    in_mbit: float
    out_mbit: float
    transactions: float


class Costs(Data):
    """What the packets of one NIC cost.

    ``observer`` is the time of a round trip while everything is counted, over that of one while
    nothing is. ``host_hops`` are the host's devices that a packet passes, without the
    ``bystanders``, which only hang on the same cable. ``not_measured`` says of each thing that is
    missing here why.
    """

    counted: tuple[Counted, ...] = ()
    host_hops: int | None = None
    bystanders: tuple[str, ...] = ()
    latency: Latency | None = None
    observer: float | None = None
    zero_loss: tuple[ZeroLoss, ...] = ()
    tcp: Tcp | None = None
    not_measured: dict[str, str] = Field(default_factory=dict)
