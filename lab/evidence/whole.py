"""All that was observed in one run."""

from __future__ import annotations

from lab.data import Data
from lab.evidence.carrier import CarrierEvidence, ExitsEvidence, QueuesEvidence, RingEvidence
from lab.evidence.costs import CostsEvidence, Machine
from lab.evidence.guest import GuestEvidence, HotplugEvidence
from lab.evidence.host import Device, MacAttempt, VfState
from lab.evidence.life import LifeEvidence
from lab.evidence.migration import MigrationEvidence
from lab.evidence.packets import Asked, Capture, Clock, Exchange, MarkedProbe, Unseen
from lab.pci import PciFunction
from lab.plan.data import Place


class Evidence(Data):
    """Everything observed in one run, written to disk before anything is undone.

    ``functions`` are the host's PCI functions while the guests ran. ``strays`` are probes that the
    tester sent outside the VLAN of a NIC that has one.
    """

    place: Place
    qemu: str
    host_kernel: str
    guests: tuple[GuestEvidence, ...] = ()
    exchanges: tuple[Exchange, ...] = ()
    probes: tuple[MarkedProbe, ...] = ()
    carriers: tuple[CarrierEvidence, ...] = ()
    exits: tuple[ExitsEvidence, ...] = ()
    costs: tuple[CostsEvidence, ...] = ()
    queues: tuple[QueuesEvidence, ...] = ()
    rings: tuple[RingEvidence, ...] = ()
    hotplugs: tuple[HotplugEvidence, ...] = ()
    clocks: tuple[Clock, ...] = ()
    captures: tuple[Capture, ...] = ()
    functions: tuple[PciFunction, ...] = ()
    vfs: tuple[VfState, ...] = ()
    mac_attempts: tuple[MacAttempt, ...] = ()
    unseen: tuple[Unseen, ...] = ()
    strays: tuple[MarkedProbe, ...] = ()
    migration: MigrationEvidence | None = None
    asked: tuple[Asked, ...] = ()
    devices: tuple[Device, ...] = ()
    lives: tuple[LifeEvidence, ...] = ()
    machine: Machine | None = None
    missing: tuple[str, ...] = ()
