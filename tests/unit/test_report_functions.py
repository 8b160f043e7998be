"""PCI functions: one thing wrong turns one check red; what nobody saw is an error.

Two guests have VFs 0 and 1 of eth0 in VLAN 100; guest ``guest`` is the one that is spoilt.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from lab.evidence.guest import NicEvidence
from lab.evidence.host import MacAttempt, VfState
from lab.evidence.packets import Asked, MarkedProbe, Seen, Sighting, Unseen
from lab.evidence.whole import Evidence
from lab.pci import PciFunction
from lab.plan.data import Carrier, Direction, End, Expectation, FunctionPlan, Place, Plan, Question
from lab.plan.operations import SetVf
from lab.report.judge import judge
from lab.report.verdict import Check, Outcome, Verdict
from tests import sample

MAC, OTHER = "52:54:00:00:00:01", "52:54:00:0d:d0:0d"
PCI = "0000:01:10.0"
VF = SetVf(device="eth0", index=0, mac=MAC, vlan=100, trust=False, spoofchk=True)
EXPECTATION = Expectation(
    guest="guest",
    nic="net0",
    carrier=Carrier.VFIO,
    function=FunctionPlan(pci=PCI, vf=VF, vfs=2),
)
SECOND = Expectation(
    guest="two",
    nic="net0",
    function=FunctionPlan(pci="0000:01:10.2", vf=VF.model_copy(update={"index": 1, "trust": True})),
)
INSIDE, CONTROL = "guest.two.unicast", "guest.wire.unicast"
NAMES = {
    "carrier",
    "pci.given",
    "pci.unseen",
    *(f"vf.{name}" for name in ("count", "mac", "mac-fixed", "vlan", "tagged", "untagged")),
    *(f"vf.{name}" for name in ("trust", "spoofchk", "spoofing")),
}
SWITCHED = f"switched.{INSIDE}"

Change = Callable[[Evidence], Evidence]


def end(name: str, device: str = "") -> End:
    return End(name=name, where=name, nic="" if device else "net0", device=device, address="::")


def plan(vf: SetVf = VF) -> Plan:
    expectation = EXPECTATION.model_copy(update={"function": FunctionPlan(pci=PCI, vf=vf, vfs=2)})
    questions = tuple(
        Question(name=name, source=end("guest"), target=target, kind="unicast", arrives=True)
        for name, target in ((INSIDE, end("two")), (CONTROL, end("wire", "eth1")))
    )
    update = {"expectations": (expectation, SECOND), "questions": questions}
    return sample.plan().model_copy(update=update)


def function(pci: str = PCI, driver: str = "vfio-pci", **more: Any) -> PciFunction:
    return PciFunction(
        address=pci, parent="", kind=0x020000, model="", driver=driver, **{"group": "17", **more}
    )


def probe(direction: Direction, *sightings: tuple[str, str, int | None]) -> MarkedProbe:
    return MarkedProbe(
        probe="hop",
        guest="guest",
        nic="net0",
        direction=direction,
        sightings=tuple(
            Sighting(
                where=where,
                device=device,
                time_ns=1,
                length=60,
                outgoing=False,
                vlan=vlan,
                checksum="good",
            )
            for where, device, vlan in sightings
        ),
    )


WIRE, UNTAGGED = ("wire", "eth1", 100), ("wire", "eth1", None)
GUEST = ("guest", "eth0", None)
STATE = VfState(device="eth0", index=0, mac=MAC, vlan=100, trust=False, spoofchk=True)
ATTEMPT = MacAttempt(
    guest="guest",
    nic="net0",
    wanted=OTHER,
    status=2,
    said="RTNETLINK answers: Cannot assign requested address",
    guest_mac=MAC,
    port_mac=MAC,
)
UNSEEN = Unseen(guest="guest", nic="net0", wire=26, host=(), control=True)


def asked(name: str, *places: str) -> Asked:
    sent = Seen(where="guest", device="eth0", outgoing=True)
    seen = (Seen(where=where, device="eth1", outgoing=False) for where in places)
    return Asked(question=name, seen=(sent, *seen))


def evidence() -> Evidence:
    counted = sample.carrier(Carrier.VFIO).model_copy(update={"vfio_interrupts": {PCI: 500}})
    good = sample.evidence()
    nic = NicEvidence(id="net0", device="eth1", driver="igbvf", mac="52:54:00:00:00:02")
    two = good.guests[0].model_copy(update={"name": "two", "nics": (nic,)})
    return good.model_copy(
        update={
            "guests": (*good.guests, two),
            "carriers": (counted,),
            "functions": (function(),),
            "vfs": (STATE, STATE.model_copy(update={"index": 1})),
            "mac_attempts": (ATTEMPT,),
            "unseen": (UNSEEN,),
            "probes": (probe(Direction.IN, WIRE, GUEST), probe(Direction.OUT, GUEST, WIRE)),
            "strays": (probe(Direction.IN, UNTAGGED),),
            "asked": (asked(INSIDE, "two"), asked(CONTROL, "wire")),
        }
    )


def now(**changes: Any) -> Change:
    return lambda before: before.model_copy(update=changes)


def in_first(field: str, **changes: Any) -> Change:
    def change(before: Evidence) -> Evidence:
        first, *rest = getattr(before, field)
        return before.model_copy(update={field: (first.model_copy(update=changes), *rest)})

    return change


def checks(change: Change = lambda before: before, planned: Plan | None = None) -> dict[str, Check]:
    found = judge(planned or plan(), change(evidence()), ()).checks
    own = (each for each in found if each.name.startswith(("guest/", "switched.")))
    kept = {each.name.removeprefix("guest/"): each for each in own}
    return {name: each for name, each in kept.items() if name in NAMES or name == SWITCHED}


def test_a_good_run_passes_and_says_what_it_cannot_show() -> None:
    found = checks()
    assert found.keys() == NAMES | {SWITCHED}
    skipped = found.pop("vf.spoofing")
    assert skipped.outcome is Outcome.SKIP
    assert "not provable here" in skipped.observed
    assert {each.outcome for each in found.values()} == {Outcome.PASS}
    assert "Cannot assign requested address" in found["vf.mac-fixed"].observed


@pytest.mark.parametrize(
    ("name", "words", "change"),
    [
        ("carrier", "0.0 VFIO interrupts of", in_first("carriers", vfio_interrupts={})),
        (
            "carrier",
            "0.0 VFIO interrupts of",
            in_first("carriers", vfio_interrupts={"0000:01:10.2": 500}),
        ),
        ("pci.given", "driver igbvf", now(functions=(function(driver="igbvf"),))),
        ("pci.given", "driver none", now(functions=(function(driver=""),))),
        ("pci.given", "network device eth5", now(functions=(function(netdevs=("eth5",)),))),
        (
            "pci.given",
            "0000:00:1f.2 of its group with ahci",
            now(functions=(function(), function("0000:00:1f.2", "ahci"))),
        ),
        ("pci.given", "no IOMMU group", now(functions=(function(group=""),))),
        ("pci.unseen", "seen at eth2, eth3", in_first("unseen", host=("eth2", "eth3"))),
        ("vf.count", "eth0 has 1", now(vfs=(STATE,))),
        ("vf.count", "eth0 has 3", now(vfs=(STATE,) * 3)),
        ("vf.mac", f"eth0 says {OTHER}", in_first("vfs", mac=OTHER)),
        ("vf.mac-fixed", f"the guest says {OTHER}", in_first("mac_attempts", guest_mac=OTHER)),
        ("vf.mac-fixed", f"eth0 says {OTHER}", in_first("mac_attempts", port_mac=OTHER)),
        ("vf.vlan", "eth0 says none", in_first("vfs", vlan=0)),
        ("vf.vlan", "eth0 says 101", in_first("vfs", vlan=101)),
        (
            "vf.tagged",
            "tag none",
            now(probes=(probe(Direction.IN, WIRE, GUEST), probe(Direction.OUT, GUEST, UNTAGGED))),
        ),
        (
            "vf.untagged",
            "got a packet without the tag",
            now(strays=(probe(Direction.IN, UNTAGGED, GUEST),)),
        ),
        ("vf.trust", "eth0 says on", in_first("vfs", trust=True)),
        ("vf.spoofchk", "eth0 says off", in_first("vfs", spoofchk=False)),
        (SWITCHED, "seen at wire:eth1", now(asked=(asked(INSIDE, "two", "wire"), asked(CONTROL)))),
        (SWITCHED, "seen at host:eth1", now(asked=(asked(INSIDE, "two", "host"), asked(CONTROL)))),
    ],
)
def test_one_thing_wrong_turns_its_check_red(name: str, words: str, change: Change) -> None:
    found = checks(change)
    assert found[name].outcome is Outcome.FAIL
    assert words in found[name].observed
    assert {each.name for each in found.values() if not each.outcome.green} == {found[name].name}


@pytest.mark.parametrize(
    ("names", "words", "change"),
    [
        ({"carrier"}, "nobody counted", now(carriers=())),
        ({"pci.given"}, "nobody looked at", now(functions=())),
        ({"pci.unseen"}, "nobody looked", now(unseen=())),
        ({"pci.unseen"}, "missed its control", in_first("unseen", control=False)),
        ({"pci.unseen"}, "the wire saw no packet either", in_first("unseen", wire=0)),
        (
            {"vf.count", "vf.mac", "vf.vlan", "vf.trust", "vf.spoofchk"},
            "said nothing of its VF",
            now(vfs=()),
        ),
        ({"vf.trust"}, "does not say", in_first("vfs", trust=None)),
        ({"vf.mac-fixed"}, "did not try", now(mac_attempts=())),
        (
            {"vf.mac-fixed"},
            "nobody refused the change: sh: ip: not found",
            in_first("mac_attempts", status=127, said="sh: ip: not found"),
        ),
        (
            {"vf.mac-fixed"},
            "refused the change: status 0",
            in_first("mac_attempts", status=0, said=""),
        ),
        ({"vf.tagged", "vf.untagged"}, "", now(probes=())),
        ({"vf.untagged"}, "no packet was sent without", now(strays=())),
        ({"vf.untagged"}, "not seen on the wire", now(strays=(probe(Direction.IN),))),
        ({SWITCHED}, "was not asked", now(asked=())),
        (
            {SWITCHED},
            "the wire saw no other frame",
            now(asked=(asked(INSIDE, "two"), asked(CONTROL))),
        ),
    ],
)
def test_no_evidence_is_an_error(names: set[str], words: str, change: Change) -> None:
    found = checks(change)
    red = {name: each for name, each in found.items() if not each.outcome.green}
    assert red.keys() == names
    assert {each.outcome for each in red.values()} == {Outcome.ERROR}
    assert all(words in each.observed for each in red.values())


def test_what_cannot_be_shown_here_does_not_spoil_a_good_run() -> None:
    def check(outcome: Outcome) -> Check:
        return Check(name="a", outcome=outcome, expected="", observed="", evidence="")

    passed, skipped, failed = map(check, (Outcome.PASS, Outcome.SKIP, Outcome.FAIL))
    assert Verdict(checks=(passed, skipped)).outcome is Outcome.PASS
    assert Verdict(checks=(skipped,)).outcome is Outcome.SKIP
    assert Verdict(checks=(passed, skipped, failed)).outcome is Outcome.FAIL


def test_a_frame_that_did_not_arrive_proves_nothing_about_its_way() -> None:
    found = checks(now(asked=(asked(INSIDE), asked(CONTROL, "wire"))))
    assert found[SWITCHED].outcome is Outcome.SKIP


def test_between_vfs_of_one_guest_the_sending_is_no_arrival() -> None:
    """The guest has both: eth0 is sending, and eth1 should get it."""
    whole = plan()
    inside = whole.questions[0]
    target = inside.target.model_copy(update={"where": "guest", "nic": "net1"})
    both = whole.model_copy(
        update={
            "expectations": (
                whole.expectations[0],
                SECOND.model_copy(update={"guest": "guest", "nic": "net1"}),
            ),
            "questions": (inside.model_copy(update={"target": target}), *whole.questions[1:]),
        }
    )
    one, two = evidence().guests
    nics = (*one.nics, two.nics[0].model_copy(update={"id": "net1"}))
    here = {"guests": (one.model_copy(update={"nics": nics}),)}
    for places, outcome in (((), Outcome.SKIP), (("guest",), Outcome.PASS)):
        found = checks(now(asked=(asked(INSIDE, *places), asked(CONTROL, "wire")), **here), both)
        assert found[SWITCHED].outcome is outcome


@pytest.mark.parametrize("kind", ["broadcast", "multicast", "ipv6"])
def test_what_goes_to_everybody_is_on_the_wire_too(kind: str) -> None:
    whole = plan()
    inside, *others = whole.questions
    everybody = inside.model_copy(update={"kind": kind})
    assert SWITCHED in checks(planned=whole)
    assert SWITCHED not in checks(
        planned=whole.model_copy(update={"questions": (everybody, *others)})
    )


def test_nothing_is_checked_that_was_not_asked_for() -> None:
    bare = SetVf(device="eth0", index=0, mac=MAC)
    assert checks(planned=plan(bare)).keys() == {
        "carrier",
        "pci.given",
        "pci.unseen",
        "vf.count",
        "vf.mac",
        "vf.mac-fixed",
        SWITCHED,
    }
    assert "vf.mac-fixed" not in checks(planned=plan(VF.model_copy(update={"trust": True})))


def test_hardware_may_post_interrupts_past_the_host() -> None:
    facts = plan().facts.model_copy(update={"place": Place.HERE})
    planned = plan().model_copy(update={"facts": facts})
    found = checks(in_first("carriers", vfio_interrupts={}), planned)
    assert found["carrier"].outcome is Outcome.PASS
    assert found["vf.spoofing"].observed.startswith("not tried")
