"""The traffic of a run, and what the topology expects to be seen of it."""

from __future__ import annotations

from collections.abc import Iterator

from lab.model.topology import Expect, Nic
from lab.model.words import HopWord, PortName
from lab.plan import migration
from lab.plan.data import Carrier, CostLevel, Exits, Expectation, Hop, Plan, ProbePlan
from lab.plan.links import function_plan
from lab.plan.where import HOST, WIRE
from lab.plan.wiring import Seat, Wiring

# From the smallest frame to the MTU of 1500; 61 has an odd payload, which checksums pad.
SIZES = (60, 61, 128, 512, 1024, 1514)

# Flows for each queue that is expected to carry some. A hash leaves one of N queues without any of
# 16 N flows with a probability of N (1 - 1/N)^(16 N): less than one in a million for all N to 8.
FLOWS_PER_QUEUE = 16


def probes(wiring: Wiring) -> tuple[ProbePlan, ...]:
    """One set of traffic for each NIC."""
    return tuple(
        ProbePlan(
            guest=seat.guest.name,
            nic=seat.name,
            peer=seat.peer,
            device=seat.tester,
            sizes=SIZES,
            flows=FLOWS_PER_QUEUE * (_said(wiring, seat).queues or 0),
            spaced=_spaced(seat.nic),
        )
        for seat in wiring.lanes
    )


def _spaced(nic: Nic) -> bool:
    """Whether everybody comes to rest between the round trips that are counted.

    Not where QEMU plays a card's registers. The card holds interrupts back, and that for a packet
    sent joins that for the next one received, if it comes at once; spaced, most of what would be
    counted is interrupts that a stream of packets does not have.
    """
    return nic.model.virtio or not nic.emulated


def with_costs(plan: Plan, level: CostLevel) -> Plan:
    """The plan with costs measured at this level."""
    measured = tuple(probe.model_copy(update={"costs": level}) for probe in plan.probes)
    return plan.model_copy(update={"probes": measured})


def expectations(wiring: Wiring) -> tuple[Expectation, ...]:
    """What the topology says of each NIC, its hop words resolved to devices."""
    return tuple(_expectation(wiring, seat) for seat in wiring.lanes)


def _expectation(wiring: Wiring, seat: Seat) -> Expectation:
    said = _said(wiring, seat)
    hops = None
    if said.hops is not None:
        final = wiring.final(seat)
        hops = tuple(hop for word in said.hops for hop in _hops(wiring, final, word))
    return Expectation(
        guest=seat.guest.name,
        nic=seat.name,
        driver=None if said.driver is None else said.driver.value,
        carrier=None if said.carrier is None else Carrier(said.carrier),
        hops=hops,
        queues=said.queues,
        exits=None if said.exits is None else Exits(said.exits),
        packed=seat.nic.packed,
        rx_ring=seat.nic.rx_queue_size,
        absent=None if said.absent is None else tuple(kind.value for kind in said.absent),
        function=function_plan(wiring, seat),
        migration=migration.expected(wiring, seat, said),
    )


def _said(wiring: Wiring, seat: Seat) -> Expect:
    return wiring.topology.expect.get(seat.key, Expect())


def _hops(wiring: Wiring, seat: Seat, word: str) -> Iterator[Hop]:
    """One device a word; only the tester's end of a VLAN is two."""
    if word == HopWord.WIRE and seat.tester:
        yield Hop(name=seat.tester, where=WIRE, device=seat.tester)
    yield _hop(wiring, seat, word)


def _hop(wiring: Wiring, seat: Seat, word: str) -> Hop:
    if word == HopWord.WIRE:
        return Hop(name=word, where=WIRE, device=wiring.facts.tester)
    if word == HopWord.GUEST:
        # The name that is likely; the judge goes by the one that the guest gave it.
        return Hop(name=word, where=seat.guest.name, device=f"eth{seat.index}")
    if word in {HopWord.TAP, HopWord.MACVTAP}:
        return Hop(name=word, where=HOST, device=seat.device)
    for bridge in wiring.topology.bridges:
        if bridge.name == word:
            return Hop(name=word, where=HOST, device=word)
    return Hop(name=word, where=HOST, device=wiring.port(PortName(word)).device)
