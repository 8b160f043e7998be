"""Exits: whether the guest stops for QEMU at each of its packets."""

from __future__ import annotations

from functools import partial

from lab.artifacts import EVIDENCE_FILE
from lab.evidence.carrier import ExitsEvidence
from lab.plan.data import Exits
from lab.report.case import Case, Finding, MissingError, check
from lab.report.verdict import Check

# A round trip is two packets. Measured in exits to QEMU a round trip (QEMU 10.0, Linux 6.12 on both
# sides): from 2.9 (vmxnet3) to 11.5 (rtl8139) with pauses between them; virtio less than 0.05, with
# vhost or without. Without pauses vmxnet3 has 1.0: its driver is still polling when the next packet
# comes, so it writes to a register only for the one that it sends.
PER_PACKET = 0.8
NONE = 0.1

_SAYS = {
    Exits.NONE: "the guest does not stop for QEMU",
    Exits.PER_PACKET: "the guest stops for QEMU, once for an answer at least",
}


def exits_check(case: Case, expected: Exits) -> Check:
    """The one check of how often the guest stops for QEMU."""
    look = partial(_exits, case, expected)
    return check(f"{case.prefix}exits", _SAYS[expected], EVIDENCE_FILE, look)


def exits_per_round_trip(counts: dict[str, int], seen: ExitsEvidence) -> float:
    """Exits per round trip, all reasons together."""
    return sum(counts.values()) / seen.round_trips


def _exits(case: Case, expected: Exits) -> Finding:
    seen = _seen(case)
    if not seen.kvm:
        return Finding(good=None, observed="not provable here: the guest runs without KVM")
    to_qemu = exits_per_round_trip(seen.to_qemu, seen)
    good = to_qemu >= PER_PACKET if expected is Exits.PER_PACKET else to_qemu <= NONE
    return Finding(good=good, observed=_words(seen))


def _seen(case: Case) -> ExitsEvidence:
    for seen in case.evidence.exits:
        if (seen.guest, seen.nic) == case.key:
            if seen.missing:
                raise MissingError("; ".join(seen.missing))
            if seen.kvm and not seen.round_trips:
                raise MissingError("no packet crossed while exits were counted")
            return seen
    raise MissingError("nobody counted the guest's exits")


def _words(seen: ExitsEvidence) -> str:
    reasons = [
        f"{count / seen.round_trips:.1f} {reason.removeprefix('KVM_EXIT_')}"
        for reason, count in sorted(seen.to_qemu.items(), key=lambda item: -item[1])
        if count / seen.round_trips >= NONE
    ]
    to_qemu = exits_per_round_trip(seen.to_qemu, seen)
    to_kvm = exits_per_round_trip(seen.to_kvm, seen)
    why = f" ({', '.join(reasons)})" if reasons else ""
    return f"{to_qemu:.1f} exits to QEMU a round trip{why}, {to_kvm:.1f} to KVM"
