"""Single packets and what the kernel says of them, with a network namespace as the guest."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from lab.artifacts import CAPTURE_FILE
from lab.evidence.life import LifeEvidence, LinkState
from lab.evidence.whole import Evidence
from lab.plan.data import Plan
from lab.plan.trace import traced
from lab.plan.where import HOST, WIRE
from lab.probe import life
from lab.probe.life import observe_lives
from tests.netns import test_probe_observe as bench
from tests.netns.test_probe_observe import GUEST, net, plan  # noqa: F401  fixtures

pytestmark = pytest.mark.netns


class Host(bench.Net):
    """As for the whole observation, and with the state of its devices."""

    def links(self, where: str) -> tuple[LinkState, ...]:
        shown = json.loads(self.run(where, "ip", "-json", "link").stdout)
        return tuple(
            LinkState(
                where=where,
                device=link["ifname"],
                mtu=link["mtu"],
                bridge=link.get("master", ""),
                counters={},
            )
            for link in shown
        )


class Monitor(bench.Monitor):
    """A QEMU of one vCPU, whose thread is the test's own."""

    def execute(self, command: str, arguments: Mapping[str, object] | None = None) -> Any:
        assert command == "query-cpus-fast"
        return [{"thread-id": 1}]


@pytest.fixture
def observed(net: bench.Net, plan: Plan, tmp_path: Path) -> Callable[[], Evidence]:  # noqa: F811
    def run() -> Evidence:
        guest = bench.FakeGuest(net, plan.guests[0], tmp_path / "guest", qmp=Monitor())
        return observe_lives(
            traced(plan), Host(net.fds), {GUEST: guest}, tmp_path, lambda _event, _data: None
        )

    return run


def events(evidence: Evidence, kind: str, pattern: str) -> list[str]:
    (seen,) = (life for life in evidence.lives if life.kind == kind)
    return [line for line in seen.events if re.search(pattern, line)]


def test_both_packets_arrive_and_their_events_are_recorded(
    observed: Callable[[], Evidence], tmp_path: Path
) -> None:
    evidence = observed()
    assert [(seen.kind, seen.answered) for seen in evidence.lives] == [
        ("icmp", True),
        ("hop", True),
    ]
    for seen in evidence.lives:
        assert events(evidence, seen.kind, r"net_dev_queue: dev=eth1 .*len=1514")
        assert events(evidence, seen.kind, r"netif_receive_skb: dev=eth0 .*len=1500")
        assert events(evidence, seen.kind, r"net_dev_queue: dev=tap0 .*len=1514")
        places = {(sighting.where, sighting.device) for sighting in seen.sightings}
        assert places == {("wire", "eth1"), ("host", "eth0"), ("host", "tap0"), (GUEST, "eth0")}
        bridges = {link.device: link.bridge for link in seen.before}
        assert (bridges["eth0"], bridges["tap0"]) == ("br0", "br0")
    assert {capture.where for capture in evidence.captures} == {"wire", "host", GUEST}
    assert all(capture.packets and not capture.drops for capture in evidence.captures)
    assert [clock.guest for clock in evidence.clocks] == [GUEST]
    assert (tmp_path / CAPTURE_FILE).stat().st_size


def test_events_and_captures_are_on_one_clock(observed: Callable[[], Evidence]) -> None:
    """The tester's capture has a frame between the two events of its sending."""
    echo = observed().lives[0]
    (queued,) = (line for line in echo.events if "net_dev_queue: dev=eth1" in line)
    (started,) = (line for line in echo.events if "net_dev_start_xmit: dev=eth1" in line)
    (sent,) = (s for s in echo.sightings if s.device == "eth1" and s.outgoing)
    error_ns = 100_000  # of reading two clocks, and events are stamped to the microsecond
    assert sent.time_ns > _realtime_ns(queued, echo) - error_ns
    assert sent.time_ns < _realtime_ns(started, echo) + error_ns


def _realtime_ns(line: str, seen: LifeEvidence) -> int:
    found = re.search(r" (\d+)\.(\d{6}): ", line)
    assert found
    return (int(found[1]) * 1_000_000 + int(found[2])) * 1000 + seen.realtime_ns


def test_where_the_host_sees_no_packet_its_capture_has_the_control(
    net: bench.Net,  # noqa: F811
    observed: Callable[[], Evidence],
) -> None:
    """The guest is at the other end of the cable, as if it had the port itself."""
    here = f"/proc/{os.getpid()}/fd"
    for line in (
        "ip link del eth0",
        "ip link del tap0",
        f"ip link add eth1 type veth peer name eth0 address {bench.GUEST_MAC}",
        f"ip link set eth1 netns {here}/{net.fds[WIRE]}",
        f"ip link set eth0 netns {here}/{net.fds['guest']}",
    ):
        net.must(HOST, line)
    ends = ((WIRE, "eth1", bench.TESTER_IP), ("guest", "eth0", bench.GUEST_IP))
    for where, device, address in ends:
        net.must(where, f"ip address add {address}/24 dev {device}")
        net.must(where, f"ip link set {device} up")
    evidence = observed()
    assert all(seen.answered for seen in evidence.lives)
    assert {each.where for seen in evidence.lives for each in seen.sightings} == {"wire", GUEST}
    # As it leaves the loopback device, and as it comes back in.
    assert {c.where: c.packets for c in evidence.captures}["host"] == 2


def test_a_frame_that_the_bridge_drops_leaves_the_drop(
    net: bench.Net,  # noqa: F811
    observed: Callable[[], Evidence],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    net.must(HOST, "ip link set tap0 mtu 1400")
    # Netfilter for bridges, where it is on, cuts the packet into pieces instead.
    net.run(HOST, "sh", "-c", "echo 0 >/proc/sys/net/bridge/bridge-nf-call-iptables")
    monkeypatch.setattr(life, "_LEAST_SECONDS", 0.5)
    monkeypatch.setattr(life, "_SLOWER", 1)
    evidence = observed()
    assert not any(seen.answered for seen in evidence.lives)
    for seen in evidence.lives:
        (drop,) = events(evidence, seen.kind, r"kfree_skb: .*location=br_")
        assert "br_dev_queue_push_xmit" in drop
        assert {link.device: link.mtu for link in seen.before}["tap0"] == 1400
