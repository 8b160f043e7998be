"""Whole ports and virtual functions given to guests, and each of their faults."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from zipfile import ZipFile

import pytest

from lab.images import cache
from lab.images.build import ensure
from lab.images.progress import Silent
from lab.labhost.accelerator import Choice
from lab.labhost.labhost import open_labhost
from lab.labhost.setup import Images
from lab.model.load import load_topology
from lab.plan.build import build
from lab.plan.places import labhost_facts
from tests.labhost.test_run_vhost import ROOT, red, run

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}

pytestmark = pytest.mark.labhost


ROUTED = """
import subprocess
def main(argument, emit):
    for line in argument["lines"]:
        subprocess.run(line.split(), check=True)
def driver(argument, emit):
    link = "/sys/bus/pci/devices/0000:01:00.0/driver"
    emit({"driver": subprocess.check_output(["readlink", link], text=True).strip()})
"""


@pytest.fixture(scope="module", autouse=True)
def _images() -> None:
    for name in ("labhost", "guest"):
        ensure(name, Silent())


def settings(text: str) -> list[str]:
    return [word for pair in text.split() for word in ("--set", pair)]


@pytest.mark.parametrize(
    ("topology", "parameters", "driver"),
    [
        ("passthrough", "", "igb"),
        ("passthrough", "device=spare3", "e1000e"),
        ("sriov", "", "igbvf"),
        ("sriov", "guests=1 vf=3 trust=on", "igbvf"),
        ("sriov", "guests=1 vlan=100 trust=off create=max_vfs persist=yes", "igbvf"),
    ],
)
def test_passes(topology: str, parameters: str, driver: str, tmp_path: Path) -> None:
    status, document, _ = run(ENVIRONMENT, tmp_path, topology, *settings(parameters))
    assert (status, document["outcome"]) == (0, "pass"), document
    assert {path["driver"] for path in document["paths"]} == {driver}
    assert {path["carrier"] for path in document["paths"]} == {"vfio"}
    for cost in document["costs"].values():
        assert cost["counted"][0]["counts"]["vfio_interrupts"]["mean"] > 0.25
        assert cost["host_hops"] == 0
    skipped = {each["name"] for each in document["checks"] if each["outcome"] == "skip"}
    assert {name.rpartition("/")[2] for name in skipped} <= {"vf.spoofing"}


@pytest.mark.parametrize(
    ("fault", "topology", "parameters", "expected"),
    [
        ("mirror", "passthrough", "", {"pci.unseen"}),
        ("driver-lost", "passthrough", "", {"left-behind"}),
        (
            "emulated",
            "passthrough",
            "",
            {"pci.given", "pci.unseen", "carrier", "strangers"},
        ),
        ("vfs-left", "sriov", "guests=1", {"left-behind"}),
        ("other-vf", "sriov", "guests=1", {"carrier"}),
        ("vf-kept", "sriov", "guests=1", {"carrier", "pci.given"}),
        ("wrong-mac", "sriov", "guests=1", {"carrier", "vf.mac"}),
        ("free-mac", "sriov", "guests=1", {"vf.mac-fixed"}),
        ("no-trust", "sriov", "guests=1 trust=on", {"vf.trust"}),
        ("no-spoofchk", "sriov", "guests=1", {"vf.spoofchk"}),
        ("native-vlan", "sriov", "guests=1 vlan=100", {"vf.untagged"}),
        ("other-vlan", "sriov", "guests=1 vlan=100", {"vf.vlan", "vf.tagged"}),
    ],
)
def test_each_fault_turns_exactly_its_checks_red(
    fault: str, topology: str, parameters: str, expected: set[str], tmp_path: Path
) -> None:
    arguments = (topology, *settings(parameters), "--sabotage", fault)
    status, document, _ = run(ENVIRONMENT, tmp_path, *arguments)
    assert red(document) == expected
    assert status == (5 if "left-behind" in expected else 1)


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


def test_a_port_with_the_default_route_is_refused_before_anything_is_touched(
    tmp_path: Path,
) -> None:
    """The route goes through a bridge, which stands on the port."""
    plan = build(load_topology("passthrough", {}), labhost_facts("t"))
    lines = [
        "ip link add top type bridge",
        "ip link set eth0 master top",
        "ip address add 192.0.2.2/24 dev top",
        "ip link set top up",
        "ip route add default via 192.0.2.1",
    ]
    with open_labhost(_images_of_ours(), Choice.AUTO, tmp_path, lambda _event, _data: None) as host:
        channel = host.machine.channel
        list(channel.call("inside:main", {"lines": lines}, _zipped(), 60.0))
        argument = {"plan": plan.model_dump(mode="json"), "wall": time.time()}
        events = [event for event, _ in host.call("lab.inside:main", argument, 60.0)]
        ((state, _),) = channel.call("inside:driver", {}, _zipped(), 60.0)
    assert events[-1]["kind"] == "CannotError"
    assert "0000:01:00.0 is eth0, which carries this machine's default route" in str(events[-1])
    assert {"event": "undone", "left": []} in events
    assert state["driver"].endswith("/igb")


def _images_of_ours() -> Images:
    return Images(ensure("labhost", Silent()), ensure("guest", Silent()), cache.default().top)


def _zipped() -> bytes:
    buffer = io.BytesIO()
    with ZipFile(buffer, "w") as archive:
        archive.writestr("inside.py", ROUTED)
    return buffer.getvalue()
