"""Numbered probes to a kernel that answers: tester -- wire | port -- the "guest"."""

from __future__ import annotations

import socket
import time

import pytest

from lab.errors import StartError
from lab.host.fdb import watch_fdb
from lab.host.host import Host
from lab.host.operations import Operations
from lab.plan.data import GuestPlan, MigrationPlan, NicPlan
from lab.plan.operations import AddAddress, AddTap, AddVeth, LinkUp
from lab.plan.places import labhost_facts
from lab.plan.where import HOST, WIRE
from lab.probe.stream import open_stream

pytestmark = pytest.mark.netns

FACTS = labhost_facts("t").model_copy(update={"tester": "tester"})
NOBODY = GuestPlan(name="guest", argv=(), nics=())
PLAN = MigrationPlan(
    guest="guest",
    nic="nic0",
    peer="192.0.2.2",
    target=NOBODY,
    plain=NOBODY,
    taps=("tap0", "tap1"),
    announce={},
    parameters={},
    abort=False,
    returns=False,
    interval_ms=2,
)
OPERATIONS = (
    AddVeth(name="port", peer="tester", peer_where=WIRE),
    AddTap(name="tap0"),
    AddTap(name="tap1"),
    AddAddress(device="port", cidr="192.0.2.1/24"),
    AddAddress(device="tester", cidr="192.0.2.2/24", where=WIRE),
    LinkUp(device="tap0"),
    LinkUp(device="tap1"),
    LinkUp(device="port"),
    LinkUp(device="tester", where=WIRE),
)


def nic(host: Host, operations: Operations) -> NicPlan:
    """The port as the guest's NIC."""
    operations.apply(OPERATIONS)
    mac = host.link(HOST, "port").mac
    return NicPlan(id="nic0", netdev="net0", mac=mac, address="192.0.2.1/24")


def announce(host: Host, mac: str) -> None:
    """RARP and gratuitous ARP, as QEMU and the guest send them after a move."""
    own, address = bytes.fromhex(mac.replace(":", "")), bytes((192, 0, 2, 1))
    head = b"\xff" * 6 + own
    with host.inside(HOST), socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sock:
        sock.bind(("port", 0))
        sock.send(head + b"\x80\x35" + bytes(46))
        arp = b"\x00\x01\x08\x00\x06\x04\x00\x01" + own + address + bytes(6) + address
        sock.send(head + b"\x08\x06" + arp + bytes(18))


def test_every_probe_is_answered_and_announcements_are_seen(
    host: Host, operations: Operations
) -> None:
    seat = nic(host, operations)
    with watch_fdb(host, seat.mac) as watch, open_stream(PLAN, seat, FACTS, host, watch) as stream:
        stream.pass_by(40)
        announce(host, seat.mac)
        stream.pass_by(20)
        seen = stream.finish()
    assert len(seen.sent) >= 30
    assert list(seen.sent) == sorted(seen.sent)
    assert [number for number, _ in seen.answers] == list(range(len(seen.sent)))
    assert all(seen.sent[number] < time_ns for number, time_ns in seen.answers)
    assert seen.carried == {"tap0": (), "tap1": ()}
    assert {each.kind for each in seen.announcements} == {"rarp", "arp"}
    assert seen.drops == 0
    operations.undo()


def test_a_path_that_is_down_loses_what_is_sent(host: Host, operations: Operations) -> None:
    seat = nic(host, operations)
    netlink, index = host.netlink(HOST), host.index(HOST, "port")
    with watch_fdb(host, seat.mac) as watch, open_stream(PLAN, seat, FACTS, host, watch) as stream:
        stream.pass_by(20)
        netlink.link("set", index=index, arp=0, address="02:00:00:00:00:99")
        stream.pass_by(20)
        seen = stream.finish()
    assert 0 < len(seen.answers) < len(seen.sent)
    operations.undo()


def test_a_sender_that_cannot_send_is_told(host: Host, operations: Operations) -> None:
    """The error comes when the block ends, not only a silence of the wire."""
    seat = nic(host, operations)
    began = time.monotonic()
    with pytest.raises(StartError, match="the tester cannot send: Network is down"):
        without_a_tester(host, seat)
    assert time.monotonic() - began < 10
    operations.undo()


def without_a_tester(host: Host, seat: NicPlan) -> None:
    with watch_fdb(host, seat.mac) as watch, open_stream(PLAN, seat, FACTS, host, watch) as stream:
        stream.pass_by(10)
        index = host.index(WIRE, "tester")
        host.netlink(WIRE).link("set", index=index, state="down")
        stream.pass_by(1000)
