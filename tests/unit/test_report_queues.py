"""Exits, queues, rings, hot-plug: good evidence is green, spoilt is red, missing an error."""

from __future__ import annotations

from typing import Any

import pytest

from lab.evidence.carrier import ExitsEvidence, QueueCount, QueuesEvidence, RingEvidence, Thread
from lab.evidence.guest import Holdings, HotplugEvidence
from lab.evidence.whole import Evidence
from lab.plan.data import Carrier, Exits, HotplugStep, Plan
from lab.report.judge import judge
from lab.report.verdict import Check, Outcome
from tests import sample

WHO: dict[str, Any] = {"guest": "guest", "nic": "net0"}
KICKS = {"KVM_EXIT_MMIO": 300}
HELD = Holdings(fds={"/dev/kvm": 1}, threads={"qemu": 3}, devices=("PCI 00:00.0 8086:29c0",))


def exits(**changes: Any) -> ExitsEvidence:
    values = {**WHO, "kvm": True, "round_trips": 100, "to_qemu": {}, "to_kvm": {"npf": 100}}
    return ExitsEvidence.model_validate({**values, **changes})


def queue(index: int, **changes: Any) -> QueueCount:
    values = {"index": index, "rx_packets": 17, "tx_packets": 16, "interrupts": {index: 9}}
    return QueueCount.model_validate({**values, **changes})


def queues(*counts: QueueCount, **changes: Any) -> QueuesEvidence:
    threads = tuple(Thread(tid=tid, name="vhost-9", wakeups=5) for tid in (11, 12))
    values = {
        **WHO,
        "flows": 32,
        "queues": counts or (queue(0), queue(1)),
        "vhost_threads": threads,
    }
    return QueuesEvidence.model_validate({**values, **changes})


def rings(**changes: Any) -> RingEvidence:
    return RingEvidence.model_validate({**WHO, "packed": True, "rx_ring": 512, **changes})


def hotplug(**changes: Any) -> HotplugEvidence:
    values = {**WHO, "plugged": (0.1, 0.1), "unplugged": (0.3, 0.4), "before": HELD, "after": HELD}
    return HotplugEvidence.model_validate({**values, "left": (), **changes})


def plan(wanted: Exits = Exits.NONE) -> Plan:
    """It expects all of this, and its NIC is plugged in and out twice."""
    changes = {"queues": 2, "exits": wanted, "packed": True, "rx_ring": 512}
    whole = sample.plan(sample.EXPECTATION.model_copy(update=changes))
    step = HotplugStep(command="device_add", arguments={})
    nic = whole.guests[0].nics[0].model_copy(update={"hotplug": (step,), "rounds": 2})
    guest = whole.guests[0].model_copy(update={"nics": (nic,)})
    return whole.model_copy(update={"guests": (guest,)})


def seen(**changes: Any) -> Evidence:
    """Good evidence but for the changes; ``None`` takes a kind away."""
    good = {"exits": exits(), "queues": queues(), "rings": rings(), "hotplugs": hotplug()}
    kinds = {**good, **changes}
    update = {kind: (record,) if record else () for kind, record in kinds.items()}
    return sample.evidence().model_copy(update=update)


def red(evidence: Evidence, plan: Plan) -> list[Check]:
    return [check for check in judge(plan, evidence, ()).checks if not check.outcome.green]


def outcomes(evidence: Evidence, plan: Plan) -> dict[str, Outcome]:
    return {check.name: check.outcome for check in judge(plan, evidence, ()).checks}


def test_good_evidence_passes_every_check() -> None:
    found = outcomes(seen(), plan())
    names = {"exits", "queues", "interrupts", "vcpus", "packed", "rx-ring", "unplug", "leaks"}
    assert {name: found[name] for name in names} == dict.fromkeys(names, Outcome.PASS)


SPOILT: list[tuple[str, str, dict[str, Any]]] = [
    ("exits", "3.0 exits to QEMU a round trip (3.0 MMIO)", {"exits": exits(to_qemu=KICKS)}),
    ("queues", "1: queue 0", {"queues": queues(queue(0, rx_packets=32, tx_packets=32))}),
    (
        "queues",
        "queue 1 17 in 0 out",
        {"queues": queues(queue(0, tx_packets=32), queue(1, tx_packets=0))},
    ),
    ("queues", "3: ", {"queues": queues(queue(0), queue(1), queue(2))}),
    ("queues", "lost on the way in", {"queues": queues(queue(0, rx_packets=1), queue(1))}),
    (
        "queues",
        "1 vhost threads",
        {"queues": queues(vhost_threads=({"tid": 1, "name": "v", "wakeups": 9},))},
    ),
    (
        "interrupts",
        "for queue 0, 1",
        {"queues": queues(queue(0, interrupts={}), queue(1, interrupts={}))},
    ),
    ("vcpus", "queue 1 on vCPU 0", {"queues": queues(queue(0), queue(1, interrupts={0: 9, 1: 1}))}),
    ("packed", "split rings", {"rings": rings(packed=False)}),
    ("rx-ring", "256 entries", {"rings": rings(rx_ring=256)}),
    ("unplug", "paused", {"hotplugs": hotplug(kept="no event: the guest does not run (paused)")}),
    ("unplug", "1 of 2", {"hotplugs": hotplug(unplugged=(0.3,))}),
    ("leaks", "1 x /dev/net/tun", {"hotplugs": hotplug(left=("1 x /dev/net/tun",))}),
]


@pytest.mark.parametrize(("name", "words", "change"), SPOILT)
def test_spoilt_evidence_fails_exactly_its_check(
    name: str, words: str, change: dict[str, Any]
) -> None:
    (check,) = red(seen(**change), plan())
    assert (check.name, check.outcome) == (name, Outcome.FAIL)
    assert words in check.observed


QUEUE_CHECKS = {"queues", "interrupts", "vcpus"}
MISSING: list[tuple[set[str], dict[str, Any]]] = [
    ({"exits"}, {"exits": None}),
    ({"exits"}, {"exits": exits(missing=("no tracefs",))}),
    ({"exits"}, {"exits": exits(round_trips=0)}),
    (QUEUE_CHECKS, {"queues": None}),
    (QUEUE_CHECKS, {"queues": queues(missing=("the driver e1000 counts no packets by queue",))}),
    (QUEUE_CHECKS, {"queues": queues(flows=0)}),
    ({"packed", "rx-ring"}, {"rings": None}),
    ({"packed", "rx-ring"}, {"rings": rings(missing=("refused",))}),
    ({"packed"}, {"rings": rings(packed=None)}),
    ({"rx-ring"}, {"rings": rings(rx_ring=None)}),
    ({"unplug", "leaks"}, {"hotplugs": None}),
    ({"unplug", "leaks"}, {"hotplugs": hotplug(after=HELD.model_copy(update={"fds": {}}))}),
]


@pytest.mark.parametrize(("names", "change"), MISSING)
def test_missing_evidence_is_an_error(names: set[str], change: dict[str, Any]) -> None:
    found = red(seen(**change), plan())
    assert {check.name for check in found} == names
    assert {check.outcome for check in found} == {Outcome.ERROR}


def test_a_guest_that_should_stop_for_qemu_and_does_not_is_red() -> None:
    assert [check.name for check in red(seen(), plan(Exits.PER_PACKET))] == ["exits"]
    assert not red(seen(exits=exits(to_qemu=KICKS)), plan(Exits.PER_PACKET))
    # A driver that polls touches a register for the packet that it sends, and for no other.
    assert not red(seen(exits=exits(to_qemu={"KVM_EXIT_MMIO": 100})), plan(Exits.PER_PACKET))
    assert red(seen(exits=exits(to_qemu={"KVM_EXIT_MMIO": 50})), plan(Exits.PER_PACKET))


@pytest.mark.parametrize("wanted", list(Exits))
def test_exits_are_not_provable_without_kvm(wanted: Exits) -> None:
    found = seen(exits=exits(kvm=False, round_trips=0, to_kvm={}))
    assert outcomes(found, plan(wanted))["exits"] is Outcome.SKIP


def test_what_the_guest_refused_is_told() -> None:
    spoilt = queues(queue(0, rx_packets=32, tx_packets=32), refused="exceeds maximum")
    (check,) = red(seen(queues=spoilt), plan())
    assert "the guest: exceeds maximum" in check.observed


def test_no_vhost_thread_at_all_is_the_carriers_matter() -> None:
    change = sample.EXPECTATION.model_copy(update={"queues": 2, "carrier": Carrier.VHOST})
    found = seen(queues=queues(vhost_threads=()))
    assert not red(found, sample.plan(change))


@pytest.mark.parametrize("woken", [(), (11,), (11, 12, 13)], ids=str)
def test_the_threads_of_another_nic_say_nothing_of_this_one(woken: tuple[int, ...]) -> None:
    """Its own vhost is off, or a stray frame has woken the other NIC's."""
    threads = tuple(Thread(tid=tid, name="vhost-9", wakeups=tid in woken) for tid in (11, 12, 13))
    other = sample.EXPECTATION.model_copy(
        update={"nic": "net1", "carrier": None, "driver": None, "hops": None}
    )
    beside = plan().model_copy(update={"expectations": (*plan().expectations, other)})
    found = outcomes(seen(queues=queues(vhost_threads=threads)), beside)
    assert found["guest.net0/queues"] is Outcome.PASS


def test_nothing_is_checked_that_was_not_asked_for() -> None:
    names = set(outcomes(seen(), sample.plan()))
    assert not names & {*QUEUE_CHECKS, "exits", "packed", "rx-ring", "unplug", "leaks"}
