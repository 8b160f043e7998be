"""Quantities: everything that a ladder compares, with the words and the unit that it is shown in.

A key is GROUP.NAME. The counts' names are those of `lab.report.costs`; hops and threads are counted
in the evidence itself.
"""

from __future__ import annotations

from enum import StrEnum

from lab.data import Data

CHANCE = "≈"
"""Before a count in which chance has a part: the windows do not agree."""


class Group(StrEnum):
    """What belongs together in a table."""

    PATH = "path"
    PING_PONG = "ping-pong"
    BURST = "burst"
    TIME = "time"
    RATE = "rate"

    @property
    def timed(self) -> bool:
        """Whether the machine's load is in it: counts hold anywhere, these only side by side."""
        return self in {Group.TIME, Group.RATE}


class Quantity(Data):
    """One thing that is compared. ``unit`` is empty for counts per packet and plain numbers."""

    key: str
    label: str
    unit: str = ""
    cpu: bool = False

    @property
    def group(self) -> Group:
        """The first part of its key."""
        return Group(self.key.partition(".")[0])

    @property
    def timed(self) -> bool:
        """Whether the machine's load is in it, as in each time and rate."""
        return self.cpu or self.group.timed

    def sign(self, *, steady: bool) -> str:
        """What stands before a count in which chance has a part; times always differ."""
        return "" if steady or self.timed else CHANCE


COUNTS = (
    ("exits_to_qemu", "exits to QEMU"),
    ("exits_kernel_only", "exits, kernel only"),
    ("exits_timing", "exits, timing"),
    ("kicks", "kicks per packet sent"),
    ("qemu_syscalls", "QEMU system calls"),
    ("vhost_wakeups", "vhost wake-ups"),
    ("switches_vcpu", "switches of vCPU"),
    ("switches_qemu", "switches of QEMU"),
    ("switches_vhost", "switches of vhost"),
    ("interrupts_injected", "interrupts injected"),
    ("vfio_interrupts", "VFIO interrupts"),
)
"""What is counted per packet: name, and how a table calls it."""

CPU_TIMES = (
    ("cpu_qemu_us", "CPU of QEMU"),
    ("cpu_vhost_us", "CPU of vhost"),
    ("cpu_softirq_us", "CPU of softirq"),
)

HOST_HOPS = "path.host_hops"
BRIDGES = "path.bridges"
THREADS = "path.threads"

_PATH = (
    Quantity(key=HOST_HOPS, label="host's devices"),
    Quantity(key=BRIDGES, label="bridges"),
    Quantity(key=THREADS, label="vhost threads"),
)
_TIMES = (
    Quantity(key="time.p50_us", label="round trip p50", unit="µs"),
    Quantity(key="time.p90_us", label="round trip p90", unit="µs"),
    Quantity(key="time.p99_us", label="round trip p99", unit="µs"),
    Quantity(key="time.max_us", label="round trip max", unit="µs"),
)
_RATES = (
    Quantity(key="rate.tcp_in", label="TCP in", unit="Mbit/s"),
    Quantity(key="rate.tcp_out", label="TCP out", unit="Mbit/s"),
    Quantity(key="rate.tcp_rr", label="TCP request+answer", unit="1/s"),
    *(
        Quantity(key=f"rate.zero_loss_{size}", label=f"no loss, {size} B", unit="1/s")
        for size in (64, 512, 1518)
    ),
)


def _per_packet(group: Group) -> tuple[Quantity, ...]:
    return (
        *(Quantity(key=f"{group}.{name}", label=label) for name, label in COUNTS),
        *(
            Quantity(key=f"{group}.{name}", label=label, unit="µs", cpu=True)
            for name, label in CPU_TIMES
        ),
    )


QUANTITIES = (*_PATH, *_per_packet(Group.PING_PONG), *_per_packet(Group.BURST), *_TIMES, *_RATES)
"""All of them, in the order of a table."""
