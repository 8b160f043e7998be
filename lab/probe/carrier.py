"""Who moves the packets: what was counted while some crossed in ping-pong, and QEMU's own word.

Of QEMU's reads and writes those on its taps count: with vhost there are none, without it there is
at least one a packet. An idle QEMU reads event and signal descriptors all the time, but a tap only
when a packet is there. Of vhost, which has no tracepoints of its own, the wake-ups of its threads
count; of VFIO the interrupts that the host's kernel takes and hands on to the guest.
"""

from __future__ import annotations

from lab.evidence.carrier import CarrierEvidence, Thread
from lab.evidence.costs import SYSCALLS, VFIO_INTERRUPTS, WAKEUPS
from lab.plan.data import ProbePlan
from lab.probe.costs import Costing
from lab.probe.lane import Monitor
from lab.probe.qemu import TAP, VFIO, VHOST_NET, Qemu, virtio_status
from lab.qmp import RefusedError


def carrier_evidence(
    probe: ProbePlan, qemu: Qemu, qmp: Monitor, costing: Costing
) -> CarrierEvidence:
    """What cannot be counted, or asked, is named in ``missing``."""
    missing = list(costing.missing)
    missing += [
        costing.unmeasured[group] for group in (SYSCALLS, WAKEUPS) if group in costing.unmeasured
    ]
    calls = {
        detail.removesuffix(f" {TAP}"): count
        for detail, count in costing.total(SYSCALLS).items()
        if detail.endswith(f" {TAP}")
    }
    wakeups = costing.total(WAKEUPS)
    return CarrierEvidence(
        guest=probe.guest,
        nic=probe.nic,
        round_trips=costing.round_trips,
        qemu_syscalls=calls,
        vhost_threads=tuple(
            Thread(tid=tid, name=name, wakeups=wakeups[str(tid)])
            for tid, name in qemu.vhosts.items()
        ),
        vhost_fds=qemu.held(VHOST_NET),
        tap_fds=qemu.held(TAP),
        vfio_fds=qemu.held(VFIO),
        vfio_interrupts=dict(costing.total(VFIO_INTERRUPTS)),
        vhost_in_qmp=_vhost_in_qmp(qmp, probe.nic, missing),
        missing=tuple(missing),
    )


def _vhost_in_qmp(qmp: Monitor, nic: str, missing: list[str]) -> bool | None:
    """Whether QEMU says that vhost has started for a NIC; None where it is not virtio."""
    try:
        status = virtio_status(qmp, nic)
    except RefusedError as error:
        missing.append(error.message)
        return None
    return None if status is None else bool(status["vhost-started"])
