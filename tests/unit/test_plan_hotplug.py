"""NICs that come later: the same options as QMP commands, golden in tests/golden/hotplug."""

from __future__ import annotations

import json

import pytest

from lab.errors import UsageError
from lab.plan.data import Plan
from lab.plan.hotplug import as_step, as_word, hotplugged
from lab.plan.sabotage import applicable, by_name
from lab.plan.script import commands, script
from tests.golden_file import GOLDEN, compare
from tests.plans import CASES, case_name, plan_of

STAYING = [case for case in CASES if plan_of(*case).migration is None]
IDS = [case_name(*case) for case in STAYING]


def words(plan: Plan) -> set[str]:
    return {word for guest in plan.guests for word in guest.argv}


def plugged(plan: Plan) -> set[str]:
    return {as_word(step) for guest in plan.guests for nic in guest.nics for step in nic.hotplug}


@pytest.mark.parametrize(("name", "settings"), STAYING, ids=IDS)
def test_every_word_of_a_nic_is_plugged_in_instead(name: str, settings: dict[str, str]) -> None:
    cold = plan_of(name, settings)
    hot = hotplugged(cold)
    gone = words(cold) - words(hot) - {"-netdev"}
    # What is given as a descriptor is given vhost-net as one too.
    assert gone == {word.partition(",vhostfd")[0] for word in plugged(hot)}
    assert not any(nic.id in word for word in words(hot) for g in hot.guests for nic in g.nics)


@pytest.mark.parametrize(("name", "settings"), STAYING, ids=IDS)
def test_a_step_is_its_word_and_back(name: str, settings: dict[str, str]) -> None:
    for guest in hotplugged(plan_of(name, settings)).guests:
        for nic in guest.nics:
            assert all(as_step(step.command, as_word(step)) == step for step in nic.hotplug)


@pytest.mark.parametrize(("name", "settings"), STAYING, ids=IDS)
def test_a_hot_plan_survives_its_way_as_json(name: str, settings: dict[str, str]) -> None:
    plan = hotplugged(plan_of(name, settings), 3)
    assert Plan.model_validate_json(plan.model_dump_json()) == plan


@pytest.mark.parametrize(
    ("name", "settings"),
    [("multiqueue", {}), ("macvtap", {"queues": "2"}), ("passthrough", {})],
    ids=["multiqueue", "macvtap", "passthrough"],
)
def test_commands(name: str, settings: dict[str, str]) -> None:
    plan = hotplugged(plan_of(name, settings))
    guest = plan.guests[0]
    lines = [*commands(plan, guest.name).splitlines(), *(fd.model_dump_json() for fd in guest.fds)]
    compare(GOLDEN / "hotplug" / f"{case_name(name, settings)}.txt", "\n".join([*lines, ""]))
    assert all(line in script(plan) for line in commands(plan, guest.name).splitlines())


def test_qmp_is_told_in_its_own_types() -> None:
    step = as_step("netdev_add", "tap,id=net0,script=no,queues=2,fds={fd:q0}:{fd:q1},vhost=on")
    assert json.loads(json.dumps(step.arguments)) == {
        "type": "tap",
        "id": "net0",
        "script": "no",
        "queues": 2,
        "fds": "q0:q1",
        "vhost": True,
    }
    assert step.fds == ("q0", "q1")


def test_a_nic_may_be_called_like_a_switch_or_a_number() -> None:
    step = as_step("device_add", "virtio-net-pci,id=on,netdev=off,bus=7,mq=on")
    assert step.arguments == {
        "driver": "virtio-net-pci",
        "id": "on",
        "netdev": "off",
        "bus": "7",
        "mq": True,
    }
    assert as_word(step) == "virtio-net-pci,id=on,netdev=off,bus=7,mq=on"


def test_sabotages_change_what_is_plugged_in() -> None:
    hot = hotplugged(plan_of("multiqueue"))
    fitting = {fault.name for fault in applicable(hot)}
    cold = {fault.name for fault in applicable(plan_of("multiqueue"))}
    assert fitting == cold | {"deaf-guest", "netdev-kept"}
    (word,) = plugged(by_name("no-mq").spoil(hot)) - plugged(hot)
    assert word.endswith(",mq=off,vectors=6")


def test_a_device_without_a_netdev_leaves_none() -> None:
    fitting = {fault.name for fault in applicable(hotplugged(plan_of("passthrough")))}
    assert "deaf-guest" in fitting
    assert "netdev-kept" not in fitting
    assert "netdev-kept" not in {f.name for f in applicable(hotplugged(plan_of("vhost"), 2))}


@pytest.mark.parametrize(
    ("name", "commands"),
    [("deaf-guest", ["stop", "device_del", "netdev_del"]), ("netdev-kept", ["device_del"])],
)
def test_sabotages_of_the_way_out(name: str, commands: list[str]) -> None:
    (guest,) = by_name(name).spoil(hotplugged(plan_of("vhost"))).guests
    assert [step.command for step in guest.nics[0].unplug] == commands


def test_a_guest_that_migrates_has_its_nics_from_the_start() -> None:
    with pytest.raises(UsageError, match="migrates") as caught:
        hotplugged(plan_of("failover"))
    assert caught.value.hint == "leave out --attach hotplug"


def test_a_failover_pair_is_there_from_the_start() -> None:
    staying = plan_of("failover").model_copy(update={"migration": None})
    with pytest.raises(UsageError, match="failover pair") as caught:
        hotplugged(staying)
    assert caught.value.hint == "leave out --attach hotplug"
