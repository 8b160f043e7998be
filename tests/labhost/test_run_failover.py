"""A guest with a VF and a standby migrates: the whole way, and each fault that can be built in."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lab.model.load import load_topology
from lab.plan import sabotage
from lab.plan.build import build
from lab.plan.places import labhost_facts

ROOT = Path(__file__).parents[2]
SECONDS = 240.0
"""For one run, on the slowest machine that anybody will have patience for."""

MIGRATION = {
    "refused",
    "pair",
    "migration",
    "standby",
    "primary",
    "announce",
    "stream.lost",
    "stream.downtime",
}

pytestmark = pytest.mark.labhost


def run(folder: Path, *arguments: str) -> tuple[int, dict[str, Any]]:
    """Exit status and the JSON document."""
    done = subprocess.run(
        [sys.executable, "-m", "lab", "run", "failover", *arguments, "--json"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
    )
    return done.returncode, json.loads(done.stdout)


def observed(document: dict[str, Any]) -> dict[str, str]:
    """What each check saw."""
    return {check["name"]: check["observed"] for check in document["checks"]}


def red(document: dict[str, Any]) -> set[str]:
    return {check["name"] for check in document["checks"] if check["outcome"] in {"fail", "error"}}


def test_the_guest_moves_and_its_vf_comes_back(tmp_path: Path) -> None:
    status, document = run(tmp_path)
    assert status == 0, document
    seen = observed(document)
    assert seen.keys() >= MIGRATION
    assert "VFIO migration is not supported" in seen["refused"]
    assert "through tap0" in seen["standby"]
    assert "through the VF" in seen["primary"]
    assert "QEMU says" in seen["stream.downtime"]
    assert document["commands"].keys() == {"guest", "guest-target"}
    assert "failover_pair_id=nic0" in document["commands"]["guest-target"]
    assert "migration.pcapng" in document["artifacts"]
    assert {path["carrier"] for path in document["paths"]} == {"vfio"}


def test_without_a_vf_there_the_standby_goes_on(tmp_path: Path) -> None:
    status, document = run(tmp_path, "--set", "vf_on_target=no")
    assert status == 0, document
    assert "eth1 alone" in observed(document)["primary"]
    hops = [hop["hop"] for path in document["paths"][:1] for hop in path["hops"]]
    assert hops == ["wire", "spare3", "br1", "tap", "guest"]
    assert {path["carrier"] for path in document["paths"]} == {"qemu"}


def test_an_abort_leaves_the_source_whole(tmp_path: Path) -> None:
    """The path is proved after the abort, on the source."""
    status, document = run(tmp_path, "--set", "abort=yes")
    assert status == 0, document
    seen = observed(document)
    assert seen["migration"].startswith("cancelled")
    assert seen["migration"].endswith("runs on source")
    assert "announce" not in seen
    assert document["commands"]["guest"].count("-incoming") == 0


@pytest.mark.parametrize(
    "fault",
    sabotage.applicable(build(load_topology("failover", {}), labhost_facts("t"))),
    ids=lambda fault: fault.name,
)
def test_each_sabotage_turns_exactly_its_check_red(
    fault: sabotage.Sabotage, tmp_path: Path
) -> None:
    status, document = run(tmp_path, "--sabotage", fault.name)
    assert red(document) == {fault.check}, observed(document)
    assert status == 1
