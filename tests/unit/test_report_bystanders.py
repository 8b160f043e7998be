"""Who sees a packet only because all ports hang on one cable, and who has no such excuse."""

from __future__ import annotations

import pytest

from lab.evidence.packets import Sighting, Unseen
from lab.evidence.whole import Evidence
from lab.plan.data import Carrier, Direction, FunctionPlan, Plan, Port
from lab.plan.operations import AddBridge, AddMacvtap, AddMember, AddVfs, Operation
from lab.plan.where import WIRE
from lab.report.bystanders import bystanders
from lab.report.counting import costs_in
from lab.report.judge import judge
from lab.report.measured import Run, rung_of
from lab.report.quantities import HOST_HOPS
from lab.report.verdict import Outcome
from tests import sample

PORTS = tuple(
    Port(name=name, device=device) for name, device in (("uplink", "eth0"), ("spare1", "eth2"))
)
BRIDGED: tuple[Operation, ...] = (
    AddBridge(name="br1"),
    AddMember(device="eth2", bridge="br1"),
    AddMember(device="tap9", bridge="br1"),
    AddMember(device="eth1", bridge="relay", where=WIRE),
)
MACVTAP = AddMacvtap(name="macvtap0", port="eth2", mode="bridge", mac="52:54:00:00:00:09")


VFS = AddVfs(device="eth2", pci="0000:03:00.0", count=1)


def plan(*operations: Operation) -> Plan:
    facts = sample.plan().facts.model_copy(update={"ports": PORTS})
    return sample.plan().model_copy(update={"facts": facts, "operations": operations})


@pytest.mark.parametrize(
    ("operations", "senders", "own", "expected"),
    [
        (BRIDGED, (), ("eth0", "br0"), {"eth2", "br1", "tap9"}),
        (BRIDGED, ("eth2",), (), set()),
        (BRIDGED, (), ("eth2",), set()),
        ((MACVTAP,), (), (), {"eth2", "macvtap0"}),
        ((VFS,), (), (), {"eth2"}),
        ((VFS,), (), ("eth2",), set()),
        ((), (), (), set()),
    ],
    ids=["bridge", "it sent", "on the way", "macvtap", "others' VFs", "its own VFs", "unused"],
)
def test_bystanders(
    operations: tuple[Operation, ...],
    senders: tuple[str, ...],
    own: tuple[str, ...],
    expected: set[str],
) -> None:
    assert bystanders(plan(*operations), senders, own) == expected


def also_at(device: str, *, outgoing: bool = False) -> Evidence:
    """The probe on its way in was seen at one more device of the host."""
    seen = sample.evidence()
    first, *rest = seen.probes
    extra = Sighting(
        where="host", device=device, time_ns=1, length=60, outgoing=outgoing, checksum="good"
    )
    assert first.direction is Direction.IN
    first = first.model_copy(update={"sightings": (*first.sightings, extra)})
    return seen.model_copy(update={"probes": (first, *rest)})


@pytest.mark.parametrize(
    ("seen", "operations", "red"),
    [
        (also_at("eth2"), BRIDGED, False),
        (also_at("br1"), BRIDGED, False),
        (also_at("eth2"), (), True),
        (also_at("eth2", outgoing=True), BRIDGED, True),
        (also_at("veth0"), BRIDGED, True),
    ],
)
def test_bystanders_are_no_strangers(
    seen: Evidence, operations: tuple[Operation, ...], red: bool
) -> None:
    checks = judge(plan(*operations), seen, ()).checks
    assert [each.name for each in checks if each.outcome is Outcome.FAIL] == ["strangers"] * red


@pytest.mark.parametrize(
    ("device", "operations", "hops", "apart"),
    [("eth2", BRIDGED, 3, ("eth2",)), ("veth0", BRIDGED, 4, ()), ("eth2", (), 4, ())],
)
def test_bystanders_are_not_on_the_way(
    device: str, operations: tuple[Operation, ...], hops: int, apart: tuple[str, ...]
) -> None:
    seen = also_at(device)
    costs = costs_in(plan(*operations), seen)
    found = costs["guest.net0"]
    assert (found.host_hops, found.bystanders) == (hops, apart)
    run = Run(sample.result(seen).model_copy(update={"costs": costs}), seen)
    assert rung_of("vhost", [run], None).measures[HOST_HOPS].mean == hops


@pytest.mark.parametrize(
    ("host", "senders", "outcome"),
    [
        (("br1", "eth2"), (), Outcome.PASS),
        (("br1", "eth2"), ("eth2",), Outcome.FAIL),
        (("eth0", "eth2"), (), Outcome.FAIL),
    ],
)
def test_the_host_sees_only_what_the_cable_gives_to_all(
    host: tuple[str, ...], senders: tuple[str, ...], outcome: Outcome
) -> None:
    unseen = Unseen(guest="guest", nic="net0", wire=26, host=host, senders=senders, control=True)
    function = FunctionPlan(pci="0000:01:00.0")
    expectation = sample.EXPECTATION.model_copy(
        update={"carrier": Carrier.VFIO, "function": function}
    )
    planned = plan(*BRIDGED).model_copy(update={"expectations": (expectation,)})
    evidence = sample.evidence().model_copy(update={"unseen": (unseen,)})
    found = {each.name: each.outcome for each in judge(planned, evidence, ()).checks}
    assert found["pci.unseen"] is outcome
