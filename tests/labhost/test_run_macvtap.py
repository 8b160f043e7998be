"""Macvtap in every mode, and each of its faults, as a user runs them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.labhost.runs import ROOT, Outcome
from tests.labhost.test_run_vhost import run

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


@pytest.mark.parametrize(
    ("words", "guests", "questions"),
    [
        ("macvtap mode=private", 2, 6),
        ("macvtap mode=bridge allmulticast=on vhost=off", 2, 6),
        ("macvtap mode=vepa hairpin=on queues=2", 2, 6),
        ("macvtap mode=passthru allmulticast=on", 1, 3),
    ],
)
def test_every_mode_passes(words: str, guests: int, questions: int, outcome: Outcome) -> None:
    document = outcome.document
    assert outcome.status == 0, document
    assert len(document["commands"]) == guests
    names = {check["name"] for check in document["checks"]}
    assert len([name for name in names if name.startswith("meet.")]) == questions
    assert len([name for name in names if name.endswith("absent")]) == guests


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("macvtap guests=1 --attach hotplug --sabotage vhost-off", {"carrier"}),
        ("macvtap guests=1 --sabotage drop-at-port", {"hops.out"}),
        ("macvtap guests=1 --sabotage lookout", {"strangers"}),
        ("macvtap guests=1 --sabotage idle-bridge", {"absent"}),
        ("macvtap guests=1 --sabotage host-leak", {"meet.host.one.unicast"}),
        (
            "macvtap guests=1 mode=vepa --sabotage other-groups",
            {"meet.wire.one.multicast", "meet.wire.one.ipv6"},
        ),
        ("macvtap --sabotage isolation", {"meet.one.two.unicast", "meet.one.two.broadcast"}),
        (
            "macvtap mode=private --sabotage no-isolation",
            {"meet.one.two.unicast", "meet.one.two.broadcast"},
        ),
        (
            "macvtap mode=vepa hairpin=on guests=1 --sabotage no-hairpin",
            {"meet.host.one.unicast", "meet.one.host.unicast"},
        ),
    ],
)
def test_each_fault_turns_exactly_its_checks_red(
    words: str, expected: set[str], outcome: Outcome
) -> None:
    assert outcome.red == expected
    assert outcome.status == 1


def test_two_nics_of_one_guest_are_kept_apart(tmp_path: Path) -> None:
    (tmp_path / "two-nics.yaml").write_text(TWO_NICS)
    status, document, _ = run(ENVIRONMENT, tmp_path, "./two-nics.yaml")
    assert status == 0, document
    out = [path for path in document["paths"] if path["direction"] == "out"]
    devices = {path["nic"]: path["hops"][0]["device"] for path in out}
    assert devices == {"inner": "eth1", "outer": "eth0"}
