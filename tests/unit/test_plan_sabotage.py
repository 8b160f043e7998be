"""What each sabotage changes: tests/golden/sabotage/TOPOLOGY.SABOTAGE.diff."""

from __future__ import annotations

import difflib
from functools import cache

import pytest

from lab.evidence.whole import Evidence
from lab.plan.data import Plan
from lab.plan.faults.alteration import words
from lab.plan.hotplug import hotplugged
from lab.plan.sabotage import SABOTAGES, Sabotage, applicable, by_name
from lab.report.judge import judge
from tests.golden_file import GOLDEN, compare
from tests.plans import CASES, case_name, plan_of

BRIDGED = ("drop-at-bridge", "drop-at-tap", "small-mtu", "extra-hop")
QUEUES = ("no-mq", "few-vectors", "one-vcpu")
APPLICABLE = {
    "vhost": {"vhost-off", "bad-checksum", *BRIDGED},
    "e1000": {"vhost-idle", "wrong-driver", "virtio-instead", *BRIDGED},
    "virtio": {
        *("vhost-on", "no-ioeventfd", "other-rings", "small-ring"),
        *("bad-checksum", *BRIDGED),
    },
    "multiqueue": {"vhost-off", *QUEUES, "bad-checksum", *BRIDGED},
    "macvtap": {
        "vhost-off",
        "drop-at-macvtap",
        "drop-at-port",
        "lookout",
        "idle-bridge",
        "isolation",
        "host-leak",
        "other-groups",
    },
    "failover": {
        "no-vf-there",
        "other-mac",
        "no-announcement",
        "standby-cut",
        "lossy-standby",
        "long-pause",
        "vf-hidden",
        "other-end",
    },
    "failover,vf_on_target=no": {
        *("vhost-on", "bad-checksum", *BRIDGED),
        *("vf-there", "other-mac", "no-announcement", "standby-cut", "lossy-standby"),
        *("long-pause", "vf-hidden", "other-end"),
    },
    "passthrough": {"mirror", "driver-lost", "emulated"},
    "sriov": {"mirror", "vfs-left", "more-vfs", "free-mac", "no-spoofchk", "vepa"},
    "sriov,guests=1,vfs=2": {
        *("mirror", "vfs-left", "more-vfs", "free-mac", "no-spoofchk"),
        *("other-vf", "vf-kept", "wrong-mac"),
    },
    "sriov,guests=1,vfs=2,trust=on,vlan=100": {
        *("mirror", "vfs-left", "more-vfs", "no-trust", "no-spoofchk"),
        *("other-vf", "vf-kept", "wrong-mac", "other-vlan", "native-vlan"),
    },
    "sriov,guests=1,vfs=2,trust=off,spoofchk=off": {
        *("mirror", "vfs-left", "more-vfs", "trusted", "spoofchk"),
        *("other-vf", "vf-kept", "wrong-mac"),
    },
    "sriov,create=max_vfs,persist=yes": {
        *("mirror", "vfs-left", "line-left", "more-vfs", "free-mac", "no-spoofchk", "vepa"),
    },
}
PAIRS = [(name, by_name(each)) for name, fitting in APPLICABLE.items() for each in sorted(fitting)]
IDS = [f"{name}.{sabotage.name}" for name, sabotage in PAIRS]
STAYING = [(name, sabotage) for name, sabotage in PAIRS if not name.startswith("failover")]
COLD = [plan_of(*case) for case in CASES]
OFFERED = [
    pytest.param(plan, sabotage, id=f"{case_name(*case)}.{attach}.{sabotage.name}")
    for case, cold in zip(CASES, COLD, strict=True)
    for attach, plan in (
        ("cold", cold),
        *((("hotplug", hotplugged(cold)),) if cold.migration is None else ()),
    )
    for sabotage in applicable(plan)
]
"""Every sabotage that is offered for any of the plans."""


@pytest.mark.parametrize("name", APPLICABLE)
def test_applicable(name: str) -> None:
    assert {sabotage.name for sabotage in applicable(_plan(name))} == APPLICABLE[name]


@pytest.mark.parametrize(("name", "sabotage"), PAIRS, ids=IDS)
def test_spoiled_plan(name: str, sabotage: Sabotage) -> None:
    plan = _plan(name)
    text = _diff(plan, sabotage.spoil(plan))
    compare(GOLDEN / "sabotage" / f"{name}.{sabotage.name}.diff", text)


@pytest.mark.parametrize(("name", "sabotage"), PAIRS, ids=IDS)
def test_only_what_is_done_is_spoiled(name: str, sabotage: Sabotage) -> None:
    plan = _plan(name)
    spoiled = sabotage.spoil(plan)
    assert spoiled != plan
    assert spoiled.expectations == plan.expectations
    assert spoiled.probes == plan.probes
    assert spoiled.facts == plan.facts
    assert spoiled.questions == plan.questions
    assert [nic.address for guest in spoiled.guests for nic in guest.nics] == [
        nic.address for guest in plan.guests for nic in guest.nics
    ]


@pytest.mark.parametrize(("plan", "sabotage"), OFFERED)
def test_what_is_offered_changes_the_plan_and_has_its_check(plan: Plan, sabotage: Sabotage) -> None:
    assert sabotage.spoil(plan) != plan
    nothing = Evidence(place=plan.facts.place, qemu="", host_kernel="")
    checks = {check.name.rpartition("/")[2] for check in judge(plan, nothing, ()).checks}
    assert any(name.startswith(sabotage.check) for name in checks)


@pytest.mark.parametrize(
    ("name", "sabotage"), STAYING, ids=[f"{name}.{each.name}" for name, each in STAYING]
)
def test_a_nic_that_comes_later_is_spoiled_like_one_from_the_start(
    name: str, sabotage: Sabotage
) -> None:
    plan = _plan(name)
    hot, cold = sabotage.spoil(hotplugged(plan)), hotplugged(sabotage.spoil(plan))
    assert hot.operations == cold.operations
    assert list(words(*hot.guests)) == list(words(*cold.guests))
    assert [nic.unplug for guest in hot.guests for nic in guest.nics] == [
        nic.unplug for guest in cold.guests for nic in guest.nics
    ]


@pytest.mark.parametrize("name", [name for name in APPLICABLE if not name.startswith("failover")])
def test_applicable_where_nics_come_later(name: str) -> None:
    hot = hotplugged(_plan(name))
    netdevs = all(nic.netdev for guest in hot.guests for nic in guest.nics)
    more = {"deaf-guest", *(("netdev-kept",) if netdevs else ())}
    assert {sabotage.name for sabotage in applicable(hot)} == APPLICABLE[name] | more


@pytest.mark.parametrize("name", ["vhost-on", "vhost-off"])
def test_both_sides_of_a_move_have_the_same_nic(name: str) -> None:
    """The target is where its path is proved, and QEMU migrates between equal machines only."""
    plan = _plan("failover,vf_on_target=no")
    move = by_name(name).spoil(plan).migration
    assert move is not None
    wanted = f"vhost={name.removeprefix('vhost-')}"
    for guest in (move.target, move.plain):
        (netdev,) = (word for word in guest.argv if word.startswith("tap,"))
        assert netdev.endswith(wanted)


@pytest.mark.parametrize("name", ["vhost", "macvtap"])
def test_several_queues_have_their_faults_on_every_topology(name: str) -> None:
    plan = plan_of(name, {"queues": "2", "cpus": "2"})
    said = tuple(each.model_copy(update={"queues": 2}) for each in plan.expectations)
    fitting = {each.name for each in applicable(plan.model_copy(update={"expectations": said}))}
    assert fitting >= set(QUEUES)


def test_each_names_its_check_and_says_one_sentence() -> None:
    assert len({sabotage.name for sabotage in SABOTAGES}) == len(SABOTAGES)
    assert all(sabotage.check and sabotage.sentence for sabotage in SABOTAGES)


@cache
def _plan(case: str) -> Plan:
    """The plan of a case, as `case_name` writes it."""
    name, *settings = case.split(",")
    return plan_of(name, dict(each.split("=") for each in settings))


def _diff(plan: Plan, spoiled: Plan) -> str:
    before, after = (one.model_dump_json(indent=1).splitlines() for one in (plan, spoiled))
    return "".join(
        f"{line}\n" for line in difflib.unified_diff(before, after, "plan", "spoiled", lineterm="")
    )
