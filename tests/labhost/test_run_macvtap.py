"""Macvtap in every mode, and each of its faults, as a user runs them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lab.images.build import ensure
from lab.images.progress import Silent
from tests.labhost.test_run_vhost import ROOT, red, run

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}

pytestmark = pytest.mark.labhost

# virtio's driver comes after e1000's, so that the first NIC is eth1 in the guest.
TWO_NICS = """
topology: two-nics
title: one guest with two macvtaps on one port
guests:
  - name: one
    nics:
      - {name: inner, macvtap: {port: uplink}, vhost: on}
      - {name: outer, macvtap: {port: uplink}, model: e1000}
expect:
  one.inner: {driver: virtio_net, carrier: vhost, hops: [wire, uplink, macvtap, guest]}
  one.outer: {driver: e1000, carrier: qemu, hops: [wire, uplink, macvtap, guest]}
reach:
  - {from: one.inner, to: one.outer, arrives: on}
  - {from: host, to: one.outer, arrives: off}
"""


@pytest.fixture(scope="module", autouse=True)
def _images() -> None:
    for name in ("labhost", "guest"):
        ensure(name, Silent())


def settings(text: str) -> list[str]:
    return [word for pair in text.split() for word in ("--set", pair)]


@pytest.mark.parametrize(
    ("parameters", "guests"),
    [
        ("mode=private", 2),
        ("mode=bridge allmulticast=on vhost=off", 2),
        ("mode=vepa hairpin=on queues=2", 2),
        ("mode=passthru allmulticast=on", 1),
    ],
)
def test_every_mode_passes(parameters: str, guests: int, tmp_path: Path) -> None:
    status, document, _ = run(ENVIRONMENT, tmp_path, "macvtap", *settings(parameters))
    assert status == 0, document
    assert len(document["commands"]) == guests
    names = {check["name"] for check in document["checks"]}
    assert len([name for name in names if name.startswith("meet.")]) == 2 + 2 * guests
    assert len([name for name in names if name.endswith("absent")]) == guests


@pytest.mark.parametrize(
    ("fault", "parameters", "expected"),
    [
        ("drop-at-macvtap", "guests=1", {"hops.in"}),
        ("lookout", "guests=1", {"strangers"}),
        ("idle-bridge", "guests=1", {"absent"}),
        ("host-leak", "guests=1", {"meet.host.one.unicast"}),
        (
            "other-groups",
            "guests=1 mode=vepa",
            {"meet.wire.one.multicast", "meet.wire.one.ipv6"},
        ),
        (
            "other-groups",
            "mode=passthru allmulticast=on",
            {"meet.wire.one.multicast", "meet.wire.one.ipv6"},
        ),
        ("isolation", "", {"meet.one.two.unicast", "meet.one.two.broadcast"}),
        ("no-isolation", "mode=private", {"meet.one.two.unicast", "meet.one.two.broadcast"}),
        (
            "no-hairpin",
            "mode=vepa hairpin=on guests=1",
            {"meet.host.one.unicast", "meet.one.host.unicast"},
        ),
    ],
)
def test_each_fault_turns_exactly_its_checks_red(
    fault: str, parameters: str, expected: set[str], tmp_path: Path
) -> None:
    arguments = ("macvtap", *settings(parameters), "--sabotage", fault)
    status, document, _ = run(ENVIRONMENT, tmp_path, *arguments)
    assert red(document) == expected
    assert status == 1


def test_two_nics_of_one_guest_are_kept_apart(tmp_path: Path) -> None:
    (tmp_path / "two-nics.yaml").write_text(TWO_NICS)
    status, document, _ = run(ENVIRONMENT, tmp_path, "./two-nics.yaml")
    assert status == 0, document
    out = [path for path in document["paths"] if path["direction"] == "out"]
    devices = {path["nic"]: path["hops"][0]["device"] for path in out}
    assert devices == {"nic0": "eth1", "nic1": "eth0"}
