"""What packets cost: windows in which the kernel was watched, rates, and the machine."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from lab.data import Data

# The groups of a window's counters.
SYSCALLS = "qemu_syscalls"
WAKEUPS = "vhost_wakeups"
EXITS = "exits"
TIMING = "exits_timing"
TIMER_WRITES = "timer_writes"
TO_QEMU = "exits_to_qemu"
MMIO_WRITES = "mmio_writes"
INJECTED = "interrupts_injected"
VFIO_INTERRUPTS = "vfio_interrupts"
SWITCHES = {who: f"switches_{who}" for who in ("vcpu", "qemu", "vhost")}
SOFTIRQ_NS, QEMU_NS, VHOST_NS = "softirq_ns", "cpu_qemu_ns", "cpu_vhost_ns"


class CostWindow(Data):
    """A while in which packets crossed in one pattern, or none did (``idle``).

    ``packets`` counts both directions, ``lost`` the echoes without an answer. ``counters`` has a
    group for each thing that was counted, split by detail; a group that is there and empty counted
    nothing. ``trips_ns`` are round trips in ping-pong, each from its own sending.
    """

    pattern: Literal["idle", "ping-pong", "burst"]
    traced: bool
    packets: int = 0
    lost: int = 0
    seconds: float
    counters: dict[str, dict[str, int]]
    trips_ns: tuple[int, ...] = ()


class DueEvidence(Data):
    """Echoes sent one every ``pause_ns``, untraced, whether or not the ones before were answered.

    ``trips_ns`` are those that were answered, each from the time at which it was due.
    """

    sent: int
    pause_ns: int
    trips_ns: tuple[int, ...]


class Trial(Data):
    """``sent`` echoes of one size at a rate, and how many were lost; untraced.

    ``reached`` is whether the tester could send at that rate.
    """

    size: int
    pps: float
    sent: int
    lost: int
    reached: bool


class TcpEvidence(Data):
    """Bits per second of TCP payload (iperf3), and how many bytes went to and fro one by one."""

    in_bps: float
    out_bps: float
    transactions: int
    seconds: float


class CostsEvidence(Data):
    """What was counted, and timed, while packets of one NIC crossed.

    ``burst`` is how many a burst has. ``settled_trips_ns`` are round trips in ping-pong like those
    of the traced windows, but untraced. ``unmeasured`` says of each group that is not counted why,
    ``missing`` what ended it all before its end.
    """

    guest: str
    nic: str
    kvm: bool
    burst: int = 1
    windows: tuple[CostWindow, ...] = ()
    due: DueEvidence | None = None
    settled_trips_ns: tuple[int, ...] = ()
    trials: tuple[Trial, ...] = ()
    tcp: TcpEvidence | None = None
    unmeasured: dict[str, str] = Field(default_factory=dict)
    missing: tuple[str, ...] = ()


class Machine(Data):
    """What times depend on: the CPU as it calls itself, and the kernel's clock source."""

    cpu: str
    clock_source: str
