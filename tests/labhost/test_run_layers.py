"""Whole runs of the bridge topologies: other NICs, plugged in while the guest runs, and spoiled."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lab.images.build import ensure
from lab.images.progress import Silent
from tests.labhost.runs import Outcome, lab

pytestmark = pytest.mark.labhost


@pytest.fixture(scope="module", autouse=True)
def _images() -> None:
    """Built once, so that no test's time depends on being the first."""
    for name in ("labhost", "guest"):
        ensure(name, Silent())


def run(folder: Path, *arguments: str) -> dict[str, Any]:
    """The JSON document of ``lab run``; the exit status is in it."""
    said = lab(folder, "run", *arguments)
    assert said.document["status"] == said.status
    return said.document


def observed(document: dict[str, Any], name: str) -> str:
    (words,) = (check["observed"] for check in document["checks"] if check["name"] == name)
    return str(words)


PLUGGED = """
topology: plugged
title: a NIC with two queues on a macvtap
guests:
  - name: guest
    cpus: 2
    nics:
      - macvtap:
          port: uplink
        vhost: on
        queues: 2
expect:
  guest:
    driver: virtio_net
    carrier: vhost
    exits: none
    queues: 2
    hops: [wire, uplink, macvtap, guest]
"""

SABOTAGES = [
    ("multiqueue --sabotage no-mq", "queues", "1: queue 0"),
    ("multiqueue --sabotage few-vectors", "interrupts", "for queue 0, 1"),
    ("multiqueue --sabotage one-vcpu", "vcpus", "queue 1 on vCPU 0"),
    ("vhost queues=2 --sabotage one-vcpu", "vcpus", "queue 1 on vCPU 0"),
    ("macvtap guests=1 queues=2 --sabotage no-mq", "queues", "1: queue 0"),
    ("macvtap guests=1 queues=2 --sabotage few-vectors", "interrupts", "for queue 0, 1"),
    ("virtio --sabotage no-ioeventfd", "exits", "MMIO"),
    ("virtio --sabotage vhost-on", "carrier", "QMP: vhost is on"),
    ("virtio --sabotage other-rings", "packed", "packed rings"),
    ("virtio --sabotage small-ring", "rx-ring", "512 entries"),
    ("e1000 --sabotage wrong-driver", "driver", "e1000e"),
    ("e1000 --sabotage vhost-idle", "carrier", "QEMU holds 1 /dev/vhost-net"),
    ("vhost --attach hotplug --sabotage deaf-guest", "unplug", "paused"),
    ("vhost --attach hotplug --sabotage netdev-kept", "leaks", "/dev/vhost-net"),
]


@pytest.mark.parametrize(
    ("words", "check", "said"), SABOTAGES, ids=[words.split()[-1] for words, _, _ in SABOTAGES]
)
def test_each_sabotage_turns_exactly_its_check_red(
    words: str, check: str, said: str, outcome: Outcome
) -> None:
    assert outcome.red == {check}, outcome.document
    assert said in outcome.observed(check)
    assert outcome.status == 1


@pytest.mark.parametrize("words", ["e1000 --sabotage virtio-instead"])
def test_a_guest_that_does_not_stop_has_another_driver_too(outcome: Outcome) -> None:
    assert outcome.red == {"driver", "exits"}, outcome.document
    assert outcome.observed("exits").startswith("0.0 exits to QEMU")
    assert outcome.status == 1


def assert_counts(document: dict[str, Any], **ranges: tuple[float, float]) -> None:
    """What a packet of the only NIC costs in ping-pong."""
    (costs,) = document["costs"].values()
    found = costs["counted"][0]["counts"]
    for name, (low, high) in ranges.items():
        assert low <= found[name]["mean"] <= high, (name, found)


@pytest.mark.parametrize("words", ["virtio rx_queue_size=512"])
def test_a_ring_is_as_long_as_the_guest_says_not_as_qemu_was_told(
    words: str, outcome: Outcome
) -> None:
    """QEMU 10.0.13 as Debian builds it takes every length and makes rings of 1024."""
    assert_counts(
        outcome.document, exits_to_qemu=(0, 0.01), qemu_syscalls=(3, 5), kicks=(0.99, 1.01)
    )
    honoured = outcome.observed("rx-ring").startswith("512 entries")
    assert outcome.red == (set() if honoured else {"rx-ring"})


@pytest.mark.parametrize(
    ("words", "driver", "exits", "calls"),
    [
        ("e1000 model=rtl8139", "8139cp", (1.5, 9), (6, 40)),
        ("e1000 model=vmxnet3", "vmxnet3", (0.4, 4), (3, 40)),
    ],
)
def test_a_nic_of_another_model_stops_its_guest_for_its_packets(
    words: str,
    driver: str,
    exits: tuple[float, float],
    calls: tuple[float, float],
    outcome: Outcome,
) -> None:
    assert outcome.document["outcome"] == "pass", outcome.document
    assert outcome.observed("driver") == driver
    assert_counts(outcome.document, exits_to_qemu=exits, qemu_syscalls=calls)


def test_ten_rounds_of_hotplug_leave_nothing(tmp_path: Path) -> None:
    """Open files for every queue and every vhost go over QMP each time."""
    (tmp_path / "plugged.yaml").write_text(PLUGGED)
    document = run(tmp_path, "./plugged.yaml", "--attach", "hotplug", "--rounds", "10")
    assert document["outcome"] == "pass", document
    assert observed(document, "unplug").startswith("10 of 10")
    assert "-netdev" not in document["commands"]["guest"]
    told = [json.loads(command)["execute"] for command in document["qmp"]["guest"]]
    assert told == ["netdev_add", "device_add"]
