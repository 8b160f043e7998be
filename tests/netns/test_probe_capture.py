"""The packet socket in a namespace of its own: va -- veth -- vb -- br0."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from ipaddress import IPv4Address

import pytest

from lab.host.namespace import Namespaces
from lab.plan.data import Direction
from lab.plan.where import HOST
from lab.probe import capture
from lab.probe.capture import PacketCapture, open_capture
from lab.probe.frames import Ends, build, who_has
from lab.probe.mark import MARK_LENGTH, Packet
from lab.probe.questions import solicitation

pytestmark = pytest.mark.netns

ENDS = Ends(
    tester_mac="02:00:00:00:00:02",
    tester=IPv4Address("192.0.2.2"),
    guest_mac="02:00:00:00:00:01",
    guest=IPv4Address("192.0.2.1"),
)
PACKET = Packet(5, "udp", Direction.IN, 300)
SOLICITATION = solicitation(ENDS.tester_mac, ENDS.guest_mac, b"hoplab\x80\x01")


@pytest.fixture
def a() -> Iterator[socket.socket]:
    """A packet socket on device ``va``; the test runs in the namespace."""
    argv = ["unshare", "--net", "sh", "-c", "echo made; exec cat"]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"made\n"
        fd = os.open(f"/proc/{process.pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    with Namespaces({HOST: fd}).inside(HOST):
        commands = (
            "link add va type veth peer name vb\nlink add br0 type bridge\n"
            "link set vb master br0\n"
            "link set va up\nlink set vb up\nlink set br0 up\n"
        )
        subprocess.run(["ip", "-batch", "-"], input=commands, text=True, check=True)
        wait_until_forwarding("vb")
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sock:
            sock.bind(("va", 0))
            yield sock
    os.close(fd)


def wait_until_forwarding(port: str) -> None:
    """A bridge drops what comes before it has been told of its port's carrier."""
    deadline = time.monotonic() + 5
    argv = ["bridge", "link", "show", "dev", port]
    while "state forwarding" not in (said := subprocess.check_output(argv, text=True)):
        assert time.monotonic() < deadline, said
        time.sleep(0.01)


def last_seen(seen: PacketCapture, device: str) -> None:
    """Wait until a marked frame has come to the device: veth delivers in its own time."""
    arrived = seen.wait(
        lambda frame: frame.device == device and frame.number == PACKET.number,
        time.monotonic() + 5,
    )
    assert arrived is not None


def devices(frames: list[capture.Frame]) -> list[tuple[str, bool]]:
    return [(frame.device, frame.outgoing) for frame in frames if frame.number == PACKET.number]


def test_every_device_is_seen_and_the_bridge_only_if_asked_for(a: socket.socket) -> None:
    with open_capture(HOST) as plain, open_capture(HOST, ["br0"]):
        a.send(build(ENDS, PACKET))
        last_seen(plain, "br0")
    assert devices(plain.frames) == [("va", True), ("vb", False), ("br0", False)]
    with open_capture(HOST) as plain:
        a.send(build(ENDS, PACKET))
        last_seen(plain, "vb")
    assert devices(plain.frames)[:2] == [("va", True), ("vb", False)]


def test_only_marked_frames_and_arp_are_kept(a: socket.socket) -> None:
    foreign = bytearray(build(ENDS, PACKET))
    foreign[42] ^= 1
    with open_capture(HOST) as seen:
        a.send(bytes(foreign))
        a.send(bytes(foreign[:45]))
        a.send(who_has(ENDS))
        a.send(build(ENDS, PACKET))
        last_seen(seen, "vb")
        counts = seen.finish()
    on_b = [frame for frame in seen.frames if frame.device == "vb"]
    assert [frame.number for frame in on_b] == [None, PACKET.number]
    assert (counts.packets, counts.drops) == (len(seen.frames), 0)


def test_a_tagged_frame_is_kept_and_its_vlan_told(a: socket.socket) -> None:
    data = capture.tagged(build(ENDS, PACKET), 100)
    with open_capture(HOST) as seen:
        a.send(data)
        last_seen(seen, "vb")
    assert {(frame.number, frame.vlan) for frame in seen.frames} == {(PACKET.number, 100)}


def test_drops_are_counted(a: socket.socket) -> None:
    with open_capture(HOST, buffer=4096) as seen:
        for _ in range(100):
            a.send(build(ENDS, PACKET))
        counts = seen.finish()
    assert counts.drops > 0
    assert counts.packets == len(seen.frames) > 0


def test_a_wait_ends_with_the_frame_or_at_its_deadline(a: socket.socket) -> None:
    with open_capture(HOST) as seen:
        a.send(build(ENDS, PACKET))
        found = seen.wait(lambda frame: frame.device == "vb", time.monotonic() + 5)
        assert found is not None
        assert found.number == PACKET.number
        began = time.monotonic()
        assert seen.wait(lambda frame: frame.number == 99, began + 0.05) is None
        assert time.monotonic() - began < 1


@pytest.mark.skipif(not shutil.which("tcpdump"), reason="tcpdump is not installed")
def test_the_filter_keeps_what_tcpdumps_filter_keeps(a: socket.socket) -> None:
    """`FILTER_EXPRESSION`, which the guest uses, and the hand-written program say the same."""
    compiled = _compiled(capture.FILTER_EXPRESSION)
    program = capture.PROGRAM
    frames = [
        build(ENDS, PACKET),
        capture.tagged(build(ENDS, PACKET), 7),
        who_has(ENDS),
        build(ENDS, PACKET)[: 42 + MARK_LENGTH],
        build(ENDS, PACKET)[:45],
        bytes(60),
        SOLICITATION,
        capture.tagged(SOLICITATION, 7),
        SOLICITATION[:84],
        build(ENDS, PACKET).replace(b"hoplab", b"hoplac"),
    ]
    kept = [_run(program, frame) for frame in frames]
    assert kept == [_run(compiled, frame) for frame in frames]
    assert kept == [True, True, True, True, False, False, True, True, False, False]


def test_rarp_is_kept_where_it_is_asked_for() -> None:
    rarp = b"\xff" * 6 + bytes(6) + b"\x80\x35" + bytes(46)
    assert _run(capture.WITH_RARP, rarp)
    assert not _run(capture.PROGRAM, rarp)
    for frame in (build(ENDS, PACKET), who_has(ENDS), bytes(60)):
        assert _run(capture.WITH_RARP, frame) == _run(capture.PROGRAM, frame)


def _compiled(expression: str) -> tuple[tuple[int, int, int, int], ...]:
    argv = ["tcpdump", "-y", "EN10MB", "-i", "va", "-ddd", expression]
    text = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    lines = [line for line in text.splitlines()[1:] if re.match(r"\d", line)]
    return tuple(tuple(int(word) for word in line.split()) for line in lines)  # type: ignore[misc]


def _run(program: tuple[tuple[int, int, int, int], ...], frame: bytes) -> bool:
    """The few instructions that these programs use."""
    at = value = 0
    while True:
        code, yes, no, k = program[at]
        at += 1
        if code in (0x28, 0x20):
            size = 2 if code == 0x28 else 4
            if k + size > len(frame):
                return False
            value = int.from_bytes(frame[k : k + size])
        elif code == 0x15:
            at += yes if value == k else no
        else:
            assert code == 0x06, hex(code)
            return k > 0
