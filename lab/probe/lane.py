"""One NIC with the way to it: who is at its ends, and what is sent between them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from lab.evidence.guest import GuestEvidence, NicEvidence
from lab.plan.data import GuestPlan, ProbePlan
from lab.probe.frames import Ends
from lab.probe.mark import Packet

PATIENCE = 10
"""Seconds without an answer after which packets of one kind are given up.

A round trip takes 1 to 10 ms in a nested guest of an idle machine, seconds of one that is busy.
"""
IMPATIENCE = 2
"""The same once a packet has got no answer in that time: waiting finds nothing that comes late."""


class Ran(Protocol):
    """How a program in the guest ended."""

    @property
    def returncode(self) -> int: ...
    @property
    def raw(self) -> bytes: ...
    @property
    def err(self) -> str: ...


class Monitor(Protocol):
    """QEMU's own word."""

    def execute(self, command: str, arguments: Mapping[str, object] | None = None) -> Any: ...


class Guest(Protocol):
    """What the probes need of a running guest (`lab.guest.qemu.Guest` is one)."""

    @property
    def plan(self) -> GuestPlan: ...
    @property
    def pid(self) -> int: ...
    @property
    def qmp(self) -> Monitor: ...
    @property
    def nics(self) -> Mapping[str, NicEvidence]: ...
    def run(self, program: str) -> Ran: ...
    def evidence(self) -> GuestEvidence: ...
    def qemu_version(self) -> str: ...


@dataclass(frozen=True)
class Lane:
    """One NIC of a guest and what is sent to it and from it.

    ``stray`` is a packet that the tester sends outside the NIC's VLAN, where it has one.
    """

    probe: ProbePlan
    guest: Guest
    nic: NicEvidence
    ends: Ends
    packets: tuple[Packet, ...]
    stray: Packet | None = None
