"""Guests as they ran, and NICs that came and went."""

from __future__ import annotations

from typing import Literal

from lab.data import Data


class Holdings(Data):
    """What a QEMU holds: open files by what they are, threads by name, functions on PCI buses."""

    fds: dict[str, int]
    threads: dict[str, int]
    devices: tuple[str, ...]


class HotplugEvidence(Data):
    """One NIC that came to a running guest and was taken out again.

    ``plugged`` and ``unplugged`` are the seconds of each round, the latter until the guest had let
    go. ``kept`` says why the last round has no such time. ``left`` is what QEMU then held that it
    did not hold before the first round.
    """

    guest: str
    nic: str
    plugged: tuple[float, ...]
    unplugged: tuple[float, ...]
    kept: str = ""
    before: Holdings
    after: Holdings
    left: tuple[str, ...]


class NicEvidence(Data):
    """What the guest says of its NIC, through the guest agent (never over the path under test).

    ``refused`` is its answer where it would not set the number of queues.
    """

    id: str
    device: str
    driver: str
    mac: str
    queues: int | None = None
    refused: str = ""


class GuestEvidence(Data):
    """One guest as it ran. ``accelerator`` is from QMP query-kvm, not from the command line."""

    name: str
    accelerator: Literal["kvm", "tcg"]
    kernel: str
    command: str
    boot_seconds: float
    nics: tuple[NicEvidence, ...]


class Pair(Data):
    """A failover pair by the guest's word: the devices below ``master`` that net_failover joins.

    ``driver`` and ``carrier`` are the primary's; empty and false where there is none.
    """

    master: str
    standby: str
    primary: str = ""
    driver: str = ""
    carrier: bool = False
