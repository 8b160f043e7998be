"""How often the guest stops for its packets: exits to QEMU and to KVM, by reason.

From the ping-pong windows of `lab.probe.costs`. What is counted without a packet is subtracted, for
a guest's timers and QEMU's housekeeping stop it too. A kick that ends in an ioeventfd is an exit to
KVM only; a register that QEMU plays is one to QEMU as well.
"""

from __future__ import annotations

from lab.evidence.carrier import ExitsEvidence
from lab.evidence.costs import EXITS, TO_QEMU
from lab.plan.data import ProbePlan
from lab.probe.costs import Costing


def exits_evidence(probe: ProbePlan, costing: Costing) -> ExitsEvidence:
    """What cannot be counted is named in ``missing``."""
    refused = [
        costing.unmeasured[group] for group in (EXITS, TO_QEMU) if group in costing.unmeasured
    ]
    steady = costing.steady(TO_QEMU)
    return ExitsEvidence(
        guest=probe.guest,
        nic=probe.nic,
        kvm=costing.kvm,
        round_trips=steady.round_trips if costing.kvm else 0,
        to_qemu=steady.without_idle(TO_QEMU),
        to_kvm=steady.without_idle(EXITS),
        missing=(*costing.missing, *refused) if costing.kvm else (),
    )
