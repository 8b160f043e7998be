"""What each sabotage changes: tests/golden/sabotage/TOPOLOGY.SABOTAGE.diff."""

from __future__ import annotations

import difflib

import pytest

from lab.plan.data import Plan
from lab.plan.sabotage import SABOTAGES, Sabotage, applicable, by_name
from tests.golden_file import GOLDEN, compare
from tests.plans import plan_of

APPLICABLE = {
    "vhost": {"vhost-off", "drop-at-bridge", "small-mtu", "extra-hop", "bad-checksum"},
    "e1000": {"wrong-driver", "drop-at-bridge", "small-mtu", "extra-hop"},
    "virtio": {
        "bad-checksum",
        "drop-at-bridge",
        "extra-hop",
        "no-ioeventfd",
        "other-rings",
        "small-mtu",
        "vhost-on",
    },
    "multiqueue": {
        "bad-checksum",
        "drop-at-bridge",
        "extra-hop",
        "few-vectors",
        "no-mq",
        "one-vcpu",
        "small-mtu",
        "vhost-off",
    },
    "macvtap": {
        "vhost-off",
        "drop-at-macvtap",
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
    "passthrough": {"mirror", "driver-lost", "emulated"},
    "sriov": {"mirror", "vfs-left", "free-mac", "no-spoofchk", "vepa"},
    "sriov,guests=1": {
        *("mirror", "vfs-left", "free-mac", "no-spoofchk"),
        *("other-vf", "vf-kept", "wrong-mac"),
    },
    "sriov,guests=1,trust=on,vlan=100": {
        *("mirror", "vfs-left", "no-trust", "no-spoofchk"),
        *("other-vf", "vf-kept", "wrong-mac", "other-vlan", "native-vlan"),
    },
}
PAIRS = [(name, by_name(each)) for name, fitting in APPLICABLE.items() for each in sorted(fitting)]
IDS = [f"{name}.{sabotage.name}" for name, sabotage in PAIRS]


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
    assert [guest.nics for guest in spoiled.guests] == [guest.nics for guest in plan.guests]


def test_each_names_its_check_and_says_one_sentence() -> None:
    assert len({sabotage.name for sabotage in SABOTAGES}) == len(SABOTAGES)
    assert all(sabotage.check and sabotage.sentence for sabotage in SABOTAGES)


def _plan(case: str) -> Plan:
    """The plan of a case, as `case_name` writes it."""
    name, *settings = case.split(",")
    return plan_of(name, dict(each.split("=") for each in settings))


def _diff(plan: Plan, spoiled: Plan) -> str:
    before, after = (one.model_dump_json(indent=1).splitlines() for one in (plan, spoiled))
    return "".join(
        f"{line}\n" for line in difflib.unified_diff(before, after, "plan", "spoiled", lineterm="")
    )
