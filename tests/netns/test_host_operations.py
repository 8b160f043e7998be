"""Each operation is done, seen in the kernel, and undone without a trace."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from lab.errors import CannotError, StartError
from lab.host.host import Host
from lab.host.operations import Operations
from lab.plan.operations import (
    AddAddress,
    AddBridge,
    AddMacvtap,
    AddMember,
    AddTap,
    AddVeth,
    BindVfio,
    Exec,
    LinkUp,
    Operation,
)
from lab.plan.where import HOST, WIRE

pytestmark = pytest.mark.netns

BRIDGE = AddBridge(name="br0")
TAP = AddTap(name="tap0")
CABLE = AddVeth(name="port0", peer="port1", peer_where=WIRE)
UP = (LinkUp(device="port0"), LinkUp(device="port1", where=WIRE))
MACVTAP = AddMacvtap(name="mvt0", port="port0", mode="bridge", mac="52:54:00:00:00:01")

CASES: dict[str, tuple[Operation, ...]] = {
    "bridge": (BRIDGE,),
    "tap": (TAP,),
    "tap with queues": (AddTap(name="tap0", queues=4),),
    "veth": (CABLE,),
    "up": (CABLE, *UP),
    "mtu": (CABLE, LinkUp(device="port0", mtu=1400)),
    "member": (BRIDGE, TAP, AddMember(device="tap0", bridge="br0", hairpin=True)),
    "address": (CABLE, AddAddress(device="port1", cidr="192.0.2.1/24", where=WIRE)),
    "macvtap": (CABLE, MACVTAP.model_copy(update={"allmulticast": True})),
    "exec": (BRIDGE, Exec(argv=("ip", "link", "set", "br0", "up"))),
}


def devices(host: Host, where: str) -> set[str]:
    with host.inside(where):
        return {name for _index, name in socket.if_nameindex()}


def read(host: Host, device: str, name: str) -> str:
    with host.inside(HOST):
        return (Path("/sys/class/net") / device / name).read_text().strip()


@pytest.mark.parametrize("steps", CASES.values(), ids=CASES.keys())
def test_is_undone_without_a_trace(
    host: Host, operations: Operations, steps: tuple[Operation, ...]
) -> None:
    before = {where: devices(host, where) for where in (HOST, WIRE)}
    operations.apply(steps)
    assert {where: devices(host, where) for where in (HOST, WIRE)} != before
    assert operations.undo() == ()
    assert {where: devices(host, where) for where in (HOST, WIRE)} == before


def test_bridge_forwards_at_once_and_without_snooping(host: Host, operations: Operations) -> None:
    operations.apply([BRIDGE])
    settings = {
        name: read(host, "br0", f"bridge/{name}")
        for name in ("stp_state", "forward_delay", "multicast_snooping")
    }
    assert settings == {"stp_state": "0", "forward_delay": "0", "multicast_snooping": "0"}


def test_member_is_in_its_bridge_with_hairpin(host: Host, operations: Operations) -> None:
    operations.apply(CASES["member"])
    assert host.link(HOST, "tap0").master == host.index(HOST, "br0")
    assert read(host, "tap0", "brport/hairpin_mode") == "1"


@pytest.mark.parametrize(("queues", "multi"), [(1, 0), (4, 0x100)])
def test_tap_is_multi_queue_only_when_asked(
    host: Host, operations: Operations, queues: int, multi: int
) -> None:
    operations.apply([AddTap(name="tap0", queues=queues)])
    assert int(read(host, "tap0", "tun_flags"), 0) & 0x100 == multi


def test_veth_carries_between_the_namespaces(host: Host, operations: Operations) -> None:
    operations.apply([CABLE, *UP])
    host.wait_carrier([(HOST, "port0"), (WIRE, "port1")], timeout=5)
    assert "port1" in devices(host, WIRE)
    assert "port1" not in devices(host, HOST)


def test_devices_are_quiet_on_ipv6(host: Host, operations: Operations) -> None:
    operations.apply([CABLE, *UP])
    assert host.sysctl(HOST, "ipv6/conf/port0/disable_ipv6") in ("1", None)
    assert host.sysctl(WIRE, "ipv6/conf/port1/disable_ipv6") in ("1", None)


def test_what_each_device_is(host: Host, operations: Operations) -> None:
    operations.apply(
        [
            AddBridge(name="br0"),
            AddTap(name="tap0"),
            AddVeth(name="eth0", peer="eth1"),
            AddMacvtap(name="macvtap0", port="eth0", mode="vepa", mac="52:54:00:00:00:01"),
        ]
    )
    kinds = host.kinds(HOST)
    assert {name: kinds[name] for name in ("br0", "tap0", "eth0", "macvtap0")} == {
        "br0": "bridge",
        "tap0": "tap",
        "eth0": "veth",
        "macvtap0": "macvtap",
    }


def test_up_is_undone_to_what_it_was(host: Host, operations: Operations) -> None:
    Operations(host).apply([CABLE, LinkUp(device="port0", mtu=1300)])
    before = host.link(HOST, "port0")
    operations.apply([LinkUp(device="port0", mtu=1400), BRIDGE])
    operations.apply([AddMember(device="port0", bridge="br0")])
    assert host.link(HOST, "port0") != before
    assert operations.undo() == ()
    assert host.link(HOST, "port0") == before


def test_addresses_that_go_with_the_state_are_the_same_ones(
    host: Host, operations: Operations
) -> None:
    Operations(host).apply([CABLE])
    host.set_sysctl(HOST, "ipv6/conf/port0/disable_ipv6", "0")
    words = ("2001:db8::1/64", "2001:db8::2/64 nodad", "2001:db8::3 peer 2001:db8::4/128")
    for each in words:
        add = ["ip", "address", "add", *each.split(), "dev", "port0"]
        Operations(host).apply([Exec(argv=tuple(add))])
    before = host.link(HOST, "port0")
    operations.apply([LinkUp(device="port0")])
    assert operations.undo() == ()
    assert host.link(HOST, "port0") == before


def test_an_address_of_somebody_keeps_ipv6(host: Host, operations: Operations) -> None:
    Operations(host).apply([BRIDGE])
    host.set_sysctl(HOST, "ipv6/conf/br0/disable_ipv6", "0")
    Operations(host).apply([AddAddress(device="br0", cidr="2001:db8::1/64")])
    operations.apply([LinkUp(device="br0")])
    assert [str(each) for each in host.link(HOST, "br0").addresses] == ["2001:db8::1/64"]
    assert operations.undo() == ()


def test_a_failing_undo_is_named_and_the_others_run(host: Host, operations: Operations) -> None:
    operations.apply([BRIDGE, Exec(argv=("true",), undo=("false",)), TAP])
    (failure,) = operations.undo()
    assert failure == "false: false ended with status 1"
    assert devices(host, HOST) == {"lo"}


def test_what_stays_behind_is_named(host: Host, operations: Operations) -> None:
    Operations(host).apply([BRIDGE])
    operations.apply([LinkUp(device="br0")])
    other = "52:54:00:00:00:09"
    host.netlink(HOST).link("set", index=host.index(HOST, "br0"), address=other)
    (left,) = operations.undo()
    assert left.startswith("br0 in host was Link(")
    assert other in left


def test_a_failed_operation_leaves_the_former_to_the_undo(
    host: Host, operations: Operations
) -> None:
    with pytest.raises(StartError, match=r"^add bridge br0: File exists$"):
        operations.apply([BRIDGE, BRIDGE])
    assert operations.undo() == ()
    assert devices(host, HOST) == {"lo"}


def test_others_devices_are_never_removed(host: Host, operations: Operations) -> None:
    others = Operations(host)
    others.apply([BRIDGE])
    with pytest.raises(StartError, match="File exists"):
        operations.apply([BRIDGE])
    assert operations.undo() == ()
    assert "br0" in devices(host, HOST)


def test_a_missing_device_is_named_with_the_operation(operations: Operations) -> None:
    with pytest.raises(StartError, match=r"^set nic9 up: there is no device nic9 in host$"):
        operations.apply([LinkUp(device="nic9")])


def test_a_missing_program_is_named(operations: Operations) -> None:
    with pytest.raises(CannotError, match="the program no-such-program is not installed"):
        operations.apply([Exec(argv=("no-such-program",))])


def test_a_function_that_does_not_exist_is_refused(operations: Operations) -> None:
    with pytest.raises(
        CannotError, match=r"bind 0000:ff:1f\.7 to vfio-pci: there is no PCI function"
    ):
        operations.apply([BindVfio(pci="0000:ff:1f.7")])


def test_missing_carrier_is_named(host: Host, operations: Operations) -> None:
    operations.apply([CABLE, UP[0]])
    with pytest.raises(StartError, match="port0 in host has no carrier"):
        host.wait_carrier([(HOST, "port0")], timeout=0.1)


def test_programs_run_in_their_namespace(host: Host, operations: Operations) -> None:
    operations.apply([CABLE, Exec(argv=("ip", "link", "set", "port1", "up"), where=WIRE)])
    assert host.link(WIRE, "port1").up


def test_nothing_is_left_when_the_process_is_killed() -> None:
    before = set(socket.if_nameindex())
    script = (
        "import os, signal\n"
        "from lab.host.host import open_host\n"
        "from lab.host.operations import Operations\n"
        "from lab.plan.data import Place\n"
        "from lab.plan.operations import AddBridge\n"
        "with open_host(Place.HERE) as host:\n"
        "    Operations(host).apply([AddBridge(name='br0')])\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run([sys.executable, "-c", script], env=environment, check=False)
    assert done.returncode == -signal.SIGKILL
    assert set(socket.if_nameindex()) == before
