"""A guest's move to a second QEMU: what is started for it, and what must come of it."""

from __future__ import annotations

from lab.model.topology import Expect
from lab.plan.argv import process_plan
from lab.plan.data import GuestPlan, MigrationExpectation, MigrationPlan, Segment
from lab.plan.wiring import Seat, Wiring

# QEMU's defaults, written out because the check of the announcement rests on them: five of them
# (RARP, and gratuitous ARP by the guest itself), 50, 150, 250 and 350 ms apart.
_ANNOUNCE = {
    "announce-initial": 50,
    "announce-max": 550,
    "announce-rounds": 5,
    "announce-step": 100,
}
# Before the move: once, because a stopped QEMU goes on announcing, and would take the bridges back.
_ANNOUNCE_STANDBY = {"initial": 50, "max": 50, "rounds": 1, "step": 0}


def migration(wiring: Wiring) -> MigrationPlan | None:
    """The move that the topology asks for, if it asks for one."""
    asked = wiring.topology.migration
    if asked is None:
        return None
    guest = next(each for each in wiring.topology.guests if each.name == asked.guest)
    source, target = _standby(wiring.of(guest)), _standby(wiring.targets)
    waiting = process_plan(wiring, guest, f"{guest.name}-target", wiring.targets)
    plain = process_plan(wiring, guest, f"{guest.name}-plain", wiring.of(guest))
    return MigrationPlan(
        guest=guest.name,
        nic=source.name,
        peer=source.peer,
        target=_with(waiting, "-mem-prealloc", "-incoming", "defer"),
        plain=_with(without_failover(plain), "-S"),
        taps=(source.device, target.device),
        parameters=_ANNOUNCE,
        announce=_ANNOUNCE_STANDBY,
        abort=asked.abort,
        returns=asked.abort or asked.vf is not None,
    )


def expected(wiring: Wiring, seat: Seat, said: Expect) -> MigrationExpectation | None:
    """What must come of the move of this NIC's guest, if it moves."""
    asked = wiring.topology.migration
    if asked is None or asked.guest != seat.guest.name or not wiring.targets:
        return None
    return MigrationExpectation(
        outcome="cancelled" if asked.abort else "completed",
        primary=asked.abort or asked.vf is not None,
        downtime_ms=said.downtime,
        source=_segment(wiring, seat),
        target=_segment(wiring, _standby(wiring.targets)),
    )


def without_failover(guest: GuestPlan) -> GuestPlan:
    """The same guest with its NICs side by side, neither of them hidden."""
    cut = (
        ",".join(part for part in word.split(",") if not part.startswith("failover"))
        for word in guest.argv
    )
    return guest.model_copy(update={"argv": tuple(cut)})


def _with(guest: GuestPlan, *words: str) -> GuestPlan:
    return guest.model_copy(update={"argv": (*guest.argv, *words)})


def _standby(seats: tuple[Seat, ...]) -> Seat:
    return next(seat for seat in seats if seat.nic.failover is not None)


def _segment(wiring: Wiring, seat: Seat) -> Segment:
    bridge = next(each for each in wiring.topology.bridges if each.name == seat.nic.bridge)
    uplink = wiring.port(bridge.uplink).device if bridge.uplink else ""
    return Segment(tap=seat.device, bridge=bridge.name, uplink=uplink)
