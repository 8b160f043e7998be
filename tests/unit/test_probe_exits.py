"""How often a guest stops for its packets, out of windows that others may disturb."""

from __future__ import annotations

from lab.evidence.costs import EXITS, TO_QEMU, CostWindow
from lab.plan.data import ProbePlan
from lab.probe.costs import Costing
from lab.probe.exits import exits_evidence

PROBE = ProbePlan(guest="one", nic="nic0", peer="10.77.0.1", sizes=(60,))


def window(to_qemu: int, *, trips: int = 5) -> CostWindow:
    return CostWindow(
        pattern="ping-pong" if trips else "idle",
        traced=True,
        packets=2 * trips,
        lost=0,
        seconds=0.02,
        counters={TO_QEMU: {"MMIO": to_qemu}, EXITS: {"npf": 20}},
        trips_ns=(1_000_000,) * trips,
    )


def test_a_watchdog_in_one_window_is_nobodys_packet() -> None:
    """An exit at every round trip, and fifty more in one window of twenty."""
    busy = [window(5) for _ in range(19)] + [window(55)]
    idle = [window(0, trips=0) for _ in range(4)]
    seen = exits_evidence(PROBE, Costing(kvm=True, windows=[*busy, *idle]))
    assert (seen.round_trips, seen.to_qemu) == (50, {"MMIO": 50})


def test_what_an_idle_guest_does_is_subtracted() -> None:
    windows = [*(window(7) for _ in range(8)), *(window(2, trips=0) for _ in range(8))]
    seen = exits_evidence(PROBE, Costing(kvm=True, windows=windows))
    assert (seen.round_trips, seen.to_qemu) == (20, {"MMIO": 20})
