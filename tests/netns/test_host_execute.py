"""A whole run whose guest does not live: what was built is undone, then the failure is told."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from lab.errors import StartError
from lab.events import Event
from lab.execute import execute
from lab.host.host import Host
from lab.plan.data import Facts, GuestPlan, Place, Plan, Port
from lab.plan.operations import AddBridge, AddMember, AddTap, LinkUp, Operation
from lab.plan.where import WIRE

pytestmark = pytest.mark.netns

BRIDGED: tuple[Operation, ...] = (
    AddBridge(name="br0"),
    AddMember(device="eth0", bridge="br0"),
    AddTap(name="tap0"),
    AddMember(device="tap0", bridge="br0"),
    LinkUp(device="eth0"),
    LinkUp(device="br0"),
    LinkUp(device="eth1", where=WIRE),
)


def plan(*argv: str, operations: tuple[Operation, ...] = BRIDGED) -> Plan:
    facts = Facts(
        place=Place.HERE,
        accelerator="tcg",
        qemu=(),
        qemu_env={},
        kernel="",
        initrd="",
        ports=(Port(name="uplink", device="eth0"),),
        tester="eth1",
        run="1",
    )
    return Plan(
        topology="t",
        title="t",
        facts=facts,
        operations=operations,
        guests=(GuestPlan(name="g1", argv=argv, nics=()),),
        probes=(),
        expectations=(),
    )


def run(what: Plan, folder: Path) -> list[tuple[Event, bytes]]:
    told: list[tuple[Event, bytes]] = []
    execute(what, lambda event, attachment: told.append((event, attachment)), folder)
    return told


@pytest.fixture
def dead(host: Host, tmp_path: Path) -> list[tuple[Event, bytes]]:
    del host  # it skips where there are no namespaces
    script = "echo bad option >&2; echo panic > $0; exit 3"
    return run(plan("sh", "-c", script, "{file:console}"), tmp_path)


def test_the_failure_comes_last_and_whole(dead: list[tuple[Event, bytes]]) -> None:
    failed = dead[-1][0]
    assert failed.event == "failed"
    assert failed.status == StartError.status
    assert failed.message == "guest g1 ended early: exit status 3"
    assert failed.returncode == 3
    assert failed.argv[:2] == ("sh", "-c")
    assert failed.output == "panic\nbad option"


def test_the_undo_is_told_before_it(dead: list[tuple[Event, bytes]]) -> None:
    events = [event for event, _ in dead]
    (undone,) = [event for event in events if event.event == "undone"]
    assert undone.left == ()
    assert events.index(undone) < len(events) - 1


def test_stages_begin_and_end(dead: list[tuple[Event, bytes]]) -> None:
    stages = [(e.name, e.seconds is not None) for e, _ in dead if e.event == "stage"]
    assert stages == [
        ("network", False),
        ("network", True),
        ("guest", False),
        ("undo", False),
        ("undo", True),
    ]


def test_consoles_come_along(dead: list[tuple[Event, bytes]]) -> None:
    files = {event.name: data for event, data in dead if event.event == "artifact"}
    assert files["g1-console.log"] == b"panic\n"
    assert files["g1-qemu.log"] == b"bad option\n"


def test_a_failing_operation_is_undone_and_told(host: Host, tmp_path: Path) -> None:
    del host
    wrong = (*BRIDGED, LinkUp(device="nic9"))
    told = [event for event, _ in run(plan("true", operations=wrong), tmp_path)]
    (undone,) = [event for event in told if event.event == "undone"]
    assert undone.left == ()
    assert told[-1].event == "failed"
    assert told[-1].message == "set nic9 up: there is no device nic9 in host"


def test_the_machine_itself_is_as_before(host: Host, tmp_path: Path) -> None:
    del host
    before = socket.if_nameindex(), set(Path("/sys/class/net").iterdir())
    run(plan("true"), tmp_path)
    assert (socket.if_nameindex(), set(Path("/sys/class/net").iterdir())) == before
