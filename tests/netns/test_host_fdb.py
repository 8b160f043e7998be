"""A bridge's table is watched: what is there, what comes, and what moves."""

from __future__ import annotations

import socket
import time

import pytest

from lab.host.fdb import FdbWatch, watch_fdb
from lab.host.host import Host
from lab.host.operations import Operations
from lab.plan.operations import AddBridge, AddMember, AddVeth, LinkUp, Operation
from lab.plan.where import HOST

pytestmark = pytest.mark.netns

MAC = "02:00:00:00:00:07"
OTHER = "02:00:00:00:00:08"
SECONDS = 10.0
PORTS = ("one", "two")
OPERATIONS: tuple[Operation, ...] = (
    AddBridge(name="br0"),
    *(AddVeth(name=port, peer=f"{port}-far") for port in PORTS),
    *(AddMember(device=port, bridge="br0") for port in PORTS),
    *(LinkUp(device=name) for port in PORTS for name in (port, f"{port}-far")),
    LinkUp(device="br0"),
)


def speak(host: Host, port: str, mac: str) -> None:
    """A broadcast from behind a port; veth delivers it before the send returns or soon after."""
    with host.inside(HOST), socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sock:
        sock.bind((f"{port}-far", 0))
        source = bytes.fromhex(mac.replace(":", ""))
        sock.send(b"\xff" * 6 + source + b"\x88\xb5" + bytes(46))


def poll_until(watch: FdbWatch, port: str) -> None:
    """The kernel's news of what was said may be under way."""
    deadline = time.monotonic() + SECONDS
    watch.poll()
    while port not in {entry.port for entry in watch.entries} and time.monotonic() < deadline:
        time.sleep(0.01)
        watch.poll()


def test_entries_are_known_and_moves_are_told(host: Host, operations: Operations) -> None:
    operations.apply(OPERATIONS)
    host.wait_carrier([(HOST, port) for port in PORTS], 10)
    speak(host, "one", MAC)
    with watch_fdb(host, MAC) as watch:
        poll_until(watch, "one")
        assert {(entry.bridge, entry.port) for entry in watch.entries} == {("br0", "one")}
        speak(host, "two", OTHER)
        speak(host, "two", MAC)
        poll_until(watch, "two")
        assert (watch.entries[-1].bridge, watch.entries[-1].port) == ("br0", "two")
        assert {entry.port for entry in watch.entries[:-1]} == {"one"}
    operations.undo()
