"""The whole observation against a guest that is a network namespace: real frames, no QEMU.

wire:eth1 ==veth== host:eth0 -- host:br0 -- host:tap0 ==veth== guest:eth0
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import signal
import socket
import struct
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from scapy.utils import RawPcapNgReader

from lab.artifacts import CAPTURE_FILE
from lab.errors import StartError
from lab.evidence.guest import GuestEvidence, NicEvidence
from lab.evidence.host import Device, VfState
from lab.evidence.packets import Exchange
from lab.evidence.whole import Evidence
from lab.host.namespace import Namespaces
from lab.plan.data import (
    Direction,
    End,
    Facts,
    GuestPlan,
    NicPlan,
    Place,
    Plan,
    ProbePlan,
    Question,
)
from lab.plan.operations import AddBridge
from lab.plan.where import HOST, WIRE
from lab.probe import questions, reach
from lab.probe.frames import Ends, build
from lab.probe.mark import Packet
from lab.probe.observe import observe

pytestmark = pytest.mark.netns

GUEST = "one"
GUEST_MAC = "02:00:00:00:00:01"
GUEST_IP = "192.0.2.1"
TESTER_IP = "192.0.2.2"
SIZES = (60, 61, 700, 1514)


@dataclass
class Net:
    """The three namespaces; ``host`` is what `observe` wants of a host."""

    fds: dict[str, int]

    def inside(self, where: str) -> AbstractContextManager[None]:
        return Namespaces(self.fds).inside(where)

    def kinds(self, where: str) -> Mapping[str, str]:
        return {"br0": "bridge"}

    def vfs(self, where: str, device: str) -> tuple[VfState, ...]:
        return ()

    def run(self, where: str, *argv: str) -> subprocess.CompletedProcess[bytes]:
        with self.inside(where):
            return subprocess.run(argv, capture_output=True, check=False)

    def must(self, where: str, line: str) -> None:
        done = self.run(where, *line.split())
        assert done.returncode == 0, (line, done.stderr)


@dataclass(frozen=True)
class Ran:
    returncode: int
    raw: bytes
    err: str


class Monitor:
    """A QEMU without virtio devices, and without a vCPU."""

    def execute(self, command: str, arguments: Mapping[str, object] | None = None) -> Any:
        assert command in {"x-query-virtio", "query-cpus-fast"}
        return []


@dataclass
class FakeGuest:
    """The namespace ``guest`` with the face of a guest; its process is a sleeping one."""

    net: Net
    plan: GuestPlan
    folder: Path
    pid: int = field(default_factory=os.getpid)
    qmp: Monitor = field(default_factory=Monitor)
    nics: dict[str, NicEvidence] = field(
        default_factory=lambda: {
            "nic0": NicEvidence(id="nic0", device="eth0", driver="veth", mac=GUEST_MAC)
        }
    )

    def run(self, program: str) -> Ran:
        mine = program.replace("/tmp/hoplab", str(self.folder))
        done = self.net.run("guest", "sh", "-c", mine)
        return Ran(done.returncode, done.stdout, done.stderr.decode())

    def evidence(self) -> GuestEvidence:
        return GuestEvidence(
            name=GUEST,
            accelerator="tcg",
            kernel="",
            command="",
            boot_seconds=0.0,
            nics=tuple(self.nics.values()),
        )

    def qemu_version(self) -> str:
        return "10.0.13"


@pytest.fixture
def net(tmp_path: Path) -> Iterator[Net]:
    with _namespaces("host", "wire", "guest") as fds:
        net = Net(fds)
        for line in (
            "ip link add eth0 type veth peer name eth1",
            "ip link add tap0 type veth peer name eth9",
            f"ip link set eth1 netns /proc/{os.getpid()}/fd/{fds[WIRE]}",
            f"ip link set eth9 netns /proc/{os.getpid()}/fd/{fds['guest']}",
            "ip link add br0 type bridge stp_state 0 mcast_snooping 0",
            "ip link set eth0 master br0",
            "ip link set tap0 master br0",
            *(f"ip link set {device} up" for device in ("eth0", "tap0", "br0")),
        ):
            net.must(HOST, line)
        net.must("guest", f"ip link set eth9 name eth0 address {GUEST_MAC}")
        for where, device, address in (("wire", "eth1", TESTER_IP), ("guest", "eth0", GUEST_IP)):
            net.must(where, f"ip address add {address}/24 dev {device}")
            net.must(where, f"ip link set {device} up")
        yield net
        # Servers that a failed start has left; with a real guest they end with it.
        for file in (tmp_path / "guest").glob("*.pid"):
            with suppress(ProcessLookupError):
                os.kill(int(file.read_text()), signal.SIGTERM)
        with suppress(FileNotFoundError):  # whoever waits to tell that it has ended may do so
            os.close(os.open(tmp_path / "guest" / "done", os.O_RDONLY | os.O_NONBLOCK))


@contextmanager
def _namespaces(*names: str) -> Iterator[dict[str, int]]:
    """New network namespaces, gone when nobody holds their descriptors any more."""
    with ExitStack() as stack:
        yield {name: _namespace(stack) for name in names}


def _namespace(stack: ExitStack) -> int:
    argv = ["unshare", "--net", "sh", "-c", "echo made; exec cat"]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"made\n"
        fd = os.open(f"/proc/{process.pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        stack.callback(os.close, fd)
    return fd


@pytest.fixture
def plan() -> Plan:
    nic = NicPlan(id="nic0", netdev="net0", mac=GUEST_MAC, address=f"{GUEST_IP}/24")
    probe = ProbePlan(guest=GUEST, nic="nic0", peer=TESTER_IP, sizes=SIZES, window=20)
    return Plan(
        topology="test",
        title="",
        facts=Facts(
            place=Place.HERE,
            accelerator="tcg",
            qemu=(),
            qemu_env={},
            kernel="",
            initrd="",
            ports=(),
            tester="eth1",
            run="r",
        ),
        operations=(AddBridge(name="br0"),),
        guests=(GuestPlan(name=GUEST, argv=(), nics=(nic,)),),
        probes=(probe,),
        expectations=(),
    )


@pytest.fixture
def observed(net: Net, plan: Plan, tmp_path: Path) -> Callable[[], Evidence]:
    def run() -> Evidence:
        guest = FakeGuest(net, plan.guests[0], tmp_path / "guest")
        return observe(plan, net, {GUEST: guest}, tmp_path, lambda _event, _data: None)

    return run


def exchanges_of(evidence: Evidence, protocol: str, direction: Direction) -> list[Exchange]:
    return [
        each
        for each in evidence.exchanges
        if (each.protocol, each.direction) == (protocol, direction)
    ]


def turn_tx_checksums_off(device: str) -> None:
    """``ethtool -K DEVICE tx off`` (ETHTOOL_STXCSUM, include/uapi/linux/ethtool.h)."""
    value = ctypes.create_string_buffer(struct.pack("=II", 0x17, 0))
    request = struct.pack("=16sQ", device.encode(), ctypes.addressof(value)) + bytes(16)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        fcntl.ioctl(sock, 0x8946, request)


def hops_of(evidence: Evidence, direction: Direction) -> list[str]:
    (probe,) = (probe for probe in evidence.probes if probe.direction is direction)
    return [f"{sighting.where}:{sighting.device}" for sighting in probe.sightings]


def undelivered(evidence: Evidence) -> set[tuple[str, str]]:
    return {
        (each.protocol, str(each.direction))
        for each in evidence.exchanges
        if each.delivered < max(each.sent, 1)
    }


WAY_IN = ["wire:eth1", "host:eth0", "host:br0", "host:tap0", "one:eth0"]
WAY_OUT = ["one:eth0", "host:tap0", "host:br0", "host:eth0", "wire:eth1"]


def test_a_good_path_is_seen_whole(observed: Callable[[], Evidence], tmp_path: Path) -> None:
    evidence = observed()
    assert undelivered(evidence) == set()
    assert [each.size for each in exchanges_of(evidence, "icmp", Direction.OUT)] == list(SIZES)
    assert hops_of(evidence, Direction.IN) == WAY_IN
    assert hops_of(evidence, Direction.OUT) == WAY_OUT
    assert not any(each.bad_checksums for each in evidence.exchanges)
    assert [(each.where, each.drops) for each in evidence.captures] == [
        ("wire", 0),
        ("host", 0),
        ("one", 0),
    ]
    assert evidence.clocks[0].error_ns < 10_000_000
    (cost,) = evidence.costs
    assert cost.missing == ()
    assert sum(len(window.trips_ns) for window in cost.windows if window.traced) == 20
    assert {window.lost for window in cost.windows} == {0}
    # Nobody carries these packets: the process that is watched for QEMU sends them.
    busy = [window for window in cost.windows if window.traced and window.packets]
    assert all(sum(window.counters["qemu_syscalls"].values()) >= 2 for window in busy)
    assert all(window.counters["softirq_ns"]["net_rx"] > 0 for window in busy)
    assert evidence.missing == ()
    assert evidence.devices == (Device(name="br0", kind="bridge"),)
    with RawPcapNgReader(str(tmp_path / CAPTURE_FILE)) as reader:
        assert sum(1 for _ in reader) == sum(each.packets for each in evidence.captures)


@pytest.mark.parametrize(
    ("protocol", "direction", "verified"),
    # On a veth wire a kernel leaves UDP checksums out for good; those cannot be verified.
    [("icmp", "in", 2), ("udp", "in", 1), ("icmp", "out", 1), ("udp", "out", 0)],
)
def test_checksums_are_verified_where_they_arrive(
    observed: Callable[[], Evidence], protocol: str, direction: str, verified: int
) -> None:
    found = exchanges_of(observed(), protocol, Direction(direction))
    assert {each.checked for each in found} == {verified}


def test_a_kernel_that_fills_checksums_in_has_them_verified(
    net: Net, observed: Callable[[], Evidence]
) -> None:
    with net.inside("guest"):
        turn_tx_checksums_off("eth0")
    found = exchanges_of(observed(), "udp", Direction.OUT)
    assert {(each.checked, each.bad_checksums) for each in found} == {(1, 0)}


def test_a_checksum_left_to_the_nic_is_partial_everywhere(
    observed: Callable[[], Evidence],
) -> None:
    (probe,) = (probe for probe in observed().probes if probe.direction is Direction.OUT)
    assert {sighting.checksum for sighting in probe.sightings} == {"partial"}


def test_a_corrupted_packet_shows_as_bad_and_undelivered(
    net: Net, observed: Callable[[], Evidence], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reach, "PATIENCE", 1)

    def corrupt(ends: Ends, packet: Packet) -> bytes:
        data = build(ends, packet)
        return data[:-1] + b"z" if packet.kind == "udp" else data

    monkeypatch.setattr(reach, "build", corrupt)
    evidence = observed()
    assert undelivered(evidence) == {("udp", "in")}
    bad = {(each.protocol, each.direction) for each in evidence.exchanges if each.bad_checksums}
    assert bad == {("udp", "in")}


def test_a_cut_path_is_red_and_soon_given_up(
    net: Net, observed: Callable[[], Evidence], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reach, "PATIENCE", 1)
    monkeypatch.setattr(reach, "IMPATIENCE", 1)
    net.must(HOST, "ip link set tap0 nomaster")
    evidence = observed()
    assert len(undelivered(evidence)) == 8
    assert hops_of(evidence, Direction.IN) == WAY_IN[:3]
    assert evidence.clocks == ()
    assert evidence.missing == ("the clock of one: no echo came back through nic0",)
    assert evidence.carriers[0].round_trips == 0
    assert evidence.carriers[0].missing == ("echo 1 of 20 was not answered",)


def test_a_device_that_nobody_named_is_seen(net: Net, observed: Callable[[], Evidence]) -> None:
    for line in (
        "ip link set tap0 nomaster",
        "ip link add extra type veth peer name extra2",
        "ip link add br1 type bridge stp_state 0 mcast_snooping 0",
        "ip link set extra master br0",
        "ip link set extra2 master br1",
        "ip link set tap0 master br1",
        *(f"ip link set {device} up" for device in ("extra", "extra2", "br1")),
    ):
        net.must(HOST, line)
    assert hops_of(observed(), Direction.IN) == [
        *WAY_IN[:3],
        "host:extra",
        "host:extra2",
        *WAY_IN[3:],
    ]


ENDS = {
    "wire": End(name="wire", where=WIRE, device="eth1", address=TESTER_IP),
    "host": End(name="host", where=HOST, device="br0", address="192.0.2.3"),
    GUEST: End(name=GUEST, where=GUEST, nic="nic0", mac=GUEST_MAC, address=GUEST_IP),
}


def asking(plan: Plan, *ways: str) -> Plan:
    """The plan with a question of every kind for each way, as in ``wire>one``."""
    asked = tuple(
        Question.model_validate(
            {
                "name": f"{way} {kind}",
                "source": ENDS[way.split(">")[0]],
                "target": ENDS[way.split(">")[1]],
                "kind": kind,
                "arrives": True,
            }
        )
        for way in ways
        for kind in ("unicast", "broadcast", "multicast", "ipv6")
    )
    return plan.model_copy(update={"questions": asked})


def arrivals(net: Net, plan: Plan, folder: Path) -> set[str]:
    """Ways with those kinds that came in at their end; every frame must have been sent."""
    guest = FakeGuest(net, plan.guests[0], folder / "guest")
    evidence = observe(plan, net, {GUEST: guest}, folder, lambda _event, _data: None)
    came = set()
    for question, asked in zip(plan.questions, evidence.asked, strict=True):
        assert asked.question == question.name
        seen = {(each.where, each.device, each.outgoing) for each in asked.seen}
        source, target = question.source, question.target
        assert (source.where, source.device or "eth0", True) in seen, question.name
        if (target.where, target.device or "eth0", False) in seen:
            came.add(question.name)
    return came


def test_questions_are_put_between_guest_host_and_wire(
    net: Net, plan: Plan, tmp_path: Path
) -> None:
    plan = asking(plan, "wire>one", "one>wire", "host>one", "one>host", "wire>host")
    assert arrivals(net, plan, tmp_path) == {question.name for question in plan.questions}


def test_a_question_over_a_cut_path_does_not_arrive(
    net: Net, plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (reach, questions):
        monkeypatch.setattr(module, "PATIENCE", 1)
        monkeypatch.setattr(module, "IMPATIENCE", 1)
    net.must(HOST, "ip link set tap0 nomaster")
    came = arrivals(net, asking(plan, "wire>one", "one>host", "wire>host"), tmp_path)
    assert {name.split()[0] for name in came} == {"wire>host"}


def test_a_guest_without_the_device_is_an_error(net: Net, plan: Plan, tmp_path: Path) -> None:
    nics = {"nic0": NicEvidence(id="nic0", device="eth7", driver="veth", mac=GUEST_MAC)}
    guest = FakeGuest(net, plan.guests[0], tmp_path / "guest", nics=nics)
    with pytest.raises(StartError, match="could not start capture") as error:
        observe(plan, net, {GUEST: guest}, tmp_path, lambda _event, _data: None)
    assert "eth7" in error.value.output
