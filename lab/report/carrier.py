"""Carrier: who moved the packets, from QEMU's system calls, vhost's wake-ups and open files."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from lab.artifacts import EVIDENCE_FILE
from lab.evidence.carrier import CarrierEvidence
from lab.plan.data import Carrier, Place
from lab.report.case import Case, Finding, check
from lab.report.verdict import Check

# A round trip is two packets. A carrier that moves them is woken, or makes a system call on a tap,
# about twice for it; one that does not sleeps, but for what else comes through its tap meanwhile.
# The two thresholds lie far from both (a tenth and a half of a round trip).
BUSY = 0.5
IDLE = 0.1

_SAYS = {
    Carrier.QEMU: "QEMU itself moves every packet",
    Carrier.VHOST: "vhost-net moves them, QEMU none",
    Carrier.VFIO: "the hardware moves them by VFIO, QEMU none",
}


def carrier_check(case: Case, carrier: Carrier) -> Check:
    """The one check of who carries this NIC's packets; what was seen names every sign."""
    look = partial(_carried, case, carrier)
    return check(f"{case.prefix}carrier", _SAYS[carrier], EVIDENCE_FILE, look)


def syscalls_per_round_trip(seen: CarrierEvidence) -> float:
    """QEMU's data-path system calls per round trip."""
    return sum(seen.qemu_syscalls.values()) / seen.round_trips


def wakeups_per_round_trip(seen: CarrierEvidence) -> float:
    """Wake-ups of all vhost threads per round trip."""
    return sum(thread.wakeups for thread in seen.vhost_threads) / seen.round_trips


def interrupts_per_round_trip(seen: CarrierEvidence) -> float:
    """Interrupts that came through VFIO per round trip, of all devices."""
    return sum(seen.vfio_interrupts.values()) / seen.round_trips


def carried_by(seen: CarrierEvidence) -> Carrier | None:
    """Who moved the packets, judging by the counts alone."""
    if wakeups_per_round_trip(seen) >= BUSY:
        return Carrier.VHOST
    if syscalls_per_round_trip(seen) >= BUSY:
        return Carrier.QEMU
    return Carrier.VFIO if seen.vfio_fds else None


def carrier_words(seen: CarrierEvidence) -> str:
    """Who moved the packets, in one plain sentence."""
    threads = ", ".join(sorted({thread.name for thread in seen.vhost_threads}))
    calls, wakeups = syscalls_per_round_trip(seen), wakeups_per_round_trip(seen)
    subject = {
        Carrier.VHOST: f"vhost-net in the host's kernel moved the packets (thread {threads})",
        Carrier.QEMU: "QEMU itself moved the packets, from user space",
        Carrier.VFIO: "the hardware itself moved the packets, through VFIO",
        None: "nobody that was watched moved the packets",
    }[carried_by(seen)]
    counts = [f"{calls:.1f} data-path system calls of QEMU", f"{wakeups:.1f} wake-ups of vhost"]
    if seen.vfio_fds:
        counts.append(f"{interrupts_per_round_trip(seen):.1f} VFIO interrupts")
    listed = f"{', '.join(counts[:-1])} and {counts[-1]}"
    return f"{subject}: {listed} per round trip, over {seen.round_trips} round trips."


def _carried(case: Case, carrier: Carrier) -> Finding:
    seen = case.carrier()
    wrong = list(_contradictions(seen, carrier, alone=case.alone))
    function = case.expectation.function
    if carrier is Carrier.VFIO and function is not None:
        wrong += _interrupts_absent(seen, function.pci, case.plan.facts.place)
    return Finding(good=not wrong, observed="; ".join(wrong) if wrong else _signs(seen))


def _interrupts_absent(seen: CarrierEvidence, pci: str, place: Place) -> Iterator[str]:
    """Real hardware may post interrupts to the guest past the host, which then counts none."""
    share = seen.vfio_interrupts.get(pci, 0) / seen.round_trips
    if share < BUSY and place is Place.LABHOST:
        yield f"{share:.1f} VFIO interrupts of {pci} per round trip"


def _contradictions(seen: CarrierEvidence, carrier: Carrier, *, alone: bool) -> Iterator[str]:
    """Every sign that somebody else carries the packets.

    A guest's NICs share one QEMU: what it holds open is a sign only where the NIC is ``alone``. By
    QMP's word vhost has started for a standby too, which is idle while its VF carries.
    """
    calls, wakeups = syscalls_per_round_trip(seen), wakeups_per_round_trip(seen)
    if carrier is Carrier.QEMU:
        if calls < BUSY:
            yield f"QEMU makes {calls:.1f} data-path system calls per round trip"
        if seen.vfio_fds and alone:
            yield f"QEMU holds {seen.vfio_fds} VFIO files"
        if seen.vhost_in_qmp:
            yield "QMP: vhost is on"
    elif calls > IDLE:
        yield f"QEMU makes {calls:.1f} data-path system calls per round trip"
    if carrier is Carrier.VHOST:
        yield from _vhost_absent(seen, wakeups)
    else:
        yield from _vhost_present(seen, wakeups, alone=alone)
    if carrier is Carrier.VFIO and not seen.vfio_fds:
        yield "QEMU holds no VFIO file"


def _vhost_absent(seen: CarrierEvidence, wakeups: float) -> Iterator[str]:
    if not seen.vhost_threads:
        yield "no vhost thread"
    elif wakeups < BUSY:
        yield f"vhost woken {wakeups:.1f} times per round trip"
    if not seen.vhost_fds:
        yield "QEMU holds no /dev/vhost-net"
    if not seen.vhost_in_qmp:
        yield "QMP: vhost is off"


def _vhost_present(seen: CarrierEvidence, wakeups: float, *, alone: bool) -> Iterator[str]:
    if wakeups > IDLE:
        yield f"vhost woken {wakeups:.1f} times per round trip"
    if seen.vhost_fds and alone:
        yield f"QEMU holds {seen.vhost_fds} /dev/vhost-net"


def _signs(seen: CarrierEvidence) -> str:
    signs = [f"QEMU {syscalls_per_round_trip(seen):.1f} system calls a round trip"]
    if seen.vhost_threads:
        name = seen.vhost_threads[0].name
        signs.append(f"{name} woken {wakeups_per_round_trip(seen):.1f} times")
    if seen.vhost_in_qmp:
        signs.append("QMP: vhost is on")
    if seen.vfio_interrupts:
        signs.append(f"{interrupts_per_round_trip(seen):.1f} VFIO interrupts")
    held = ((seen.vhost_fds, "vhost-net"), (seen.tap_fds, "tap"), (seen.vfio_fds, "vfio"))
    signs.append("open: " + ", ".join(f"{count} {name}" for count, name in held if count))
    return "; ".join(signs)
