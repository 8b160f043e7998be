"""Whole ports and virtual functions given to guests, and each of their faults."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest

from lab.errors import CannotError
from lab.images import cache
from lab.images.build import ensure
from lab.images.progress import Silent
from lab.labhost.accelerator import Choice
from lab.labhost.labhost import Labhost, open_labhost
from lab.labhost.setup import Images
from lab.model.load import load_topology
from lab.plan.build import build
from lab.plan.places import labhost_facts
from tests.labhost.runs import ROOT, Outcome

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}

pytestmark = pytest.mark.labhost


INSIDE = """
import ctypes, os, resource, struct, subprocess
from lab.inside import main
PORT = "/sys/bus/pci/devices/0000:01:00.0"
def sh(argument, emit):
    subprocess.run(["sh", "-ec", argument["line"]], check=True)
def driver(argument, emit):
    with open(f"{PORT}/sriov_numvfs") as vfs:
        emit({"driver": os.path.basename(os.readlink(f"{PORT}/driver")), "vfs": int(vfs.read())})
def limited(argument, emit):
    resource.setrlimit(resource.RLIMIT_MEMLOCK, (64 << 20, 64 << 20))
    libc = ctypes.CDLL(None, use_errno=True)
    header = struct.pack("=Ii", 0x20080522, 0)  # capget(2), version 3, this process
    data = ctypes.create_string_buffer(24)
    assert libc.capget(header, data) == 0
    effective, *rest = struct.unpack("=6I", data)
    assert libc.capset(header, struct.pack("=6I", effective & ~(1 << 14), *rest)) == 0
    main(argument, emit)
"""
CAP = "/sys/class/iommu/dmar0/intel-iommu/cap"


@pytest.fixture(scope="module", autouse=True)
def _images() -> None:
    for name in ("labhost", "guest"):
        ensure(name, Silent())


@pytest.mark.parametrize(
    ("words", "driver"),
    [
        ("passthrough", "igb"),
        ("passthrough device=spare3", "e1000e"),
        ("sriov", "igbvf"),
        ("sriov guests=1 vf=3 trust=on", "igbvf"),
        ("sriov guests=1 vlan=100 trust=off create=max_vfs persist=yes", "igbvf"),
    ],
)
def test_passes(words: str, driver: str, outcome: Outcome) -> None:
    document = outcome.document
    assert (outcome.status, document["outcome"]) == (0, "pass"), document
    assert {path["driver"] for path in document["paths"]} == {driver}
    assert {path["carrier"] for path in document["paths"]} == {"vfio"}
    for cost in document["costs"].values():
        assert cost["counted"][0]["counts"]["vfio_interrupts"]["mean"] > 0.25
        assert cost["host_hops"] == 0
    skipped = {each["name"] for each in document["checks"] if each["outcome"] == "skip"}
    assert {name.rpartition("/")[2] for name in skipped} <= {"vf.spoofing"}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("passthrough --sabotage mirror", {"pci.unseen"}),
        ("passthrough --sabotage driver-lost", {"left-behind"}),
        (
            "passthrough --sabotage emulated",
            {"pci.given", "pci.unseen", "carrier", "strangers"},
        ),
        ("sriov --sabotage vepa", {"switched.one.two.unicast", "switched.two.one.unicast"}),
        ("sriov guests=1 --sabotage vfs-left", {"left-behind"}),
        ("sriov guests=1 create=max_vfs persist=yes --sabotage line-left", {"left-behind"}),
        ("sriov guests=1 vfs=2 --attach hotplug --sabotage other-vf", {"carrier"}),
        ("sriov guests=1 vfs=2 --sabotage vf-kept", {"carrier", "pci.given"}),
        ("sriov guests=1 vfs=2 --sabotage wrong-mac", {"carrier", "vf.mac"}),
        ("sriov guests=1 --sabotage more-vfs", {"vf.count"}),
        ("sriov guests=1 --sabotage free-mac", {"vf.mac-fixed"}),
        ("sriov guests=1 trust=on --sabotage no-trust", {"vf.trust"}),
        ("sriov guests=1 --sabotage no-spoofchk", {"vf.spoofchk"}),
        ("sriov guests=1 vlan=100 --sabotage native-vlan", {"vf.untagged"}),
        ("sriov guests=1 vlan=100 --sabotage other-vlan", {"vf.vlan", "vf.tagged"}),
    ],
)
def test_each_fault_turns_exactly_its_checks_red(
    words: str, expected: set[str], outcome: Outcome
) -> None:
    assert outcome.red == expected
    assert outcome.status == (5 if "left-behind" in expected else 1)


def test_pci_tree_of_the_lab_host(tmp_path: Path) -> None:
    argv = [sys.executable, "-m", "lab", "pci", "--json"]
    done = subprocess.run(
        argv, capture_output=True, text=True, cwd=tmp_path, env=ENVIRONMENT, check=False
    )
    assert done.returncode == 0, done.stderr
    functions = {each["address"]: each for each in json.loads(done.stdout)}
    port = functions["0000:01:00.0"]
    assert (port["driver"], port["netdevs"], port["max_vfs"]) == ("igb", ["eth0"], 7)
    assert port["group"]


@pytest.fixture(scope="module")
def labhost(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Labhost]:
    """One for all that is refused: nothing is changed there but what a test puts back."""
    folder = tmp_path_factory.mktemp("labhost")
    images = Images(ensure("labhost", Silent()), ensure("guest", Silent()), cache.default().top)
    with open_labhost(images, Choice.AUTO, folder, lambda _event, _data: None) as host:
        yield host


@dataclass(frozen=True)
class Refusal:
    """Shell lines that spoil a lab host and put it back, and what a plan is then told."""

    name: str
    reason: str
    before: str = "true"
    after: str = "true"
    topology: str = "passthrough"
    settings: Mapping[str, str] = field(default_factory=dict)
    entry: str = "main"
    memory: int = 0


REFUSALS = (
    # The route goes through a bridge, which stands on the port.
    Refusal(
        "default route",
        "0000:01:00.0 is eth0, which carries this machine's default route",
        before="ip link add top type bridge; ip link set eth0 master top; ip link set top up;"
        "ip address add 192.0.2.2/24 dev top; ip route add default via 192.0.2.1",
        after="ip link del top",
    ),
    Refusal(
        "memory to lock",
        "the guest's 192 MiB have to be locked in memory, and RLIMIT_MEMLOCK allows 64 MiB",
        entry="limited",
    ),
    Refusal(
        "memory there is",
        "the guest's 4096 MiB have to be locked in memory, and this host has ",
        memory=4096,
    ),
    # As an IOMMU says it that is made with aw-bits=39: MGAW, bits 21 to 16, is one less.
    Refusal(
        "width of addresses",
        "its IOMMU translates addresses of 39 bits, the guest's have up to ",
        before=f"echo {38 << 16:x} > /run/cap; mount --bind /run/cap {CAP}",
        after=f"umount {CAP}",
    ),
    # Without ACS on the way up all VFs share a group, and igbvf has the one that nobody asked for.
    Refusal(
        "group",
        "with 0000:01:10.2 (driver igbvf): the group is not viable",
        before="setpci -s 00:10.0 ECAP_ACS+6.w > /run/acs; setpci -s 00:10.0 ECAP_ACS+6.w=0;"
        "modprobe igbvf",
        after="modprobe -r igbvf; setpci -s 00:10.0 ECAP_ACS+6.w=$(cat /run/acs)",
        topology="sriov",
        settings={"guests": "1", "vfs": "2"},
    ),
)


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda refusal: refusal.name)
def test_refused_with_the_reason_and_put_back(refusal: Refusal, labhost: Labhost) -> None:
    topology = load_topology(refusal.topology, refusal.settings)
    if refusal.memory:
        guests = (topology.guests[0].model_copy(update={"memory": refusal.memory}),)
        topology = topology.model_copy(update={"guests": guests})
    plan = build(topology, labhost_facts("t"))
    argument = {"plan": plan.model_dump(mode="json"), "wall": time.time()}
    inside(labhost, "sh", line=refusal.before)
    try:
        events = inside(labhost, refusal.entry, **argument)
    finally:
        inside(labhost, "sh", line=refusal.after)
    assert events[-1]["status"] == CannotError.status
    assert refusal.reason in events[-1]["message"]
    assert {"event": "undone", "left": []} in events
    assert inside(labhost, "driver") == [{"driver": "igb", "vfs": 0}]


def inside(host: Labhost, entry: str, **argument: Any) -> list[dict[str, Any]]:
    """The events of a function of INSIDE, which has the lab's own code beside it."""
    buffer = io.BytesIO(host.code.result())
    with ZipFile(buffer, "a") as archive:
        archive.writestr("inside.py", INSIDE)
    call = host.machine.channel.call(f"inside:{entry}", argument, buffer.getvalue(), 120.0)
    return [event for event, _ in call]
