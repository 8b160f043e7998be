"""A guest with a VF and a standby migrates: the whole way, each way it can end, and its faults."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from lab.images.build import ensure
from lab.images.progress import Silent
from tests.labhost.test_run_vhost import ROOT, red, run

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}
MOVE = {"refused", "pair", "migration", "standby", "primary", "stream.lost", "stream.downtime"}

pytestmark = [pytest.mark.labhost, pytest.mark.unsettled]


@pytest.fixture(scope="module", autouse=True)
def _images() -> None:
    for name in ("labhost", "guest"):
        ensure(name, Silent())


def observed(document: dict[str, Any]) -> dict[str, str]:
    """What each check saw."""
    return {check["name"]: check["observed"] for check in document["checks"]}


def test_the_guest_moves_and_gets_a_vf_again(tmp_path: Path) -> None:
    status, document, said = run(ENVIRONMENT, tmp_path, "failover")
    assert status == 0, document
    seen = observed(document)
    assert seen.keys() >= {*MOVE, "announce"}
    assert "VFIO migration is not supported" in seen["refused"]
    assert "through tap0" in seen["standby"]
    assert "through the VF" in seen["primary"]
    assert "QEMU says" in seen["stream.downtime"]
    assert document["commands"].keys() == {"guest", "guest-target"}
    assert "failover_pair_id=nic0" in document["commands"]["guest-target"]
    assert "migration.pcapng" in document["artifacts"]
    assert {path["carrier"] for path in document["paths"]} == {"vfio"}
    for step in ("without failover", "let go of its VF", "the target runs", "the VF is back"):
        assert step in said
    assert "huge pages" not in said


def test_without_a_vf_there_the_standby_goes_on(tmp_path: Path) -> None:
    status, document, _ = run(ENVIRONMENT, tmp_path, "failover", "--set", "vf_on_target=no")
    assert status == 0, document
    assert "eth1 alone" in observed(document)["primary"]
    hops = [hop["hop"] for hop in document["paths"][0]["hops"]]
    assert hops == ["wire", "spare3", "br1", "tap", "guest"]
    assert {path["carrier"] for path in document["paths"]} == {"qemu"}


def test_an_abort_leaves_the_source_whole(tmp_path: Path) -> None:
    """The path is proved after the abort, on the source."""
    status, document, _ = run(ENVIRONMENT, tmp_path, "failover", "--set", "abort=yes")
    assert status == 0, document
    seen = observed(document)
    assert seen.keys() >= MOVE
    assert "announce" not in seen
    assert seen["migration"].startswith("cancelled")
    assert seen["migration"].endswith("runs on source")
    assert {path["carrier"] for path in document["paths"]} == {"vfio"}


@pytest.mark.parametrize(
    ("fault", "check"),
    [("vf-hidden", "refused"), ("other-mac", "pair"), ("lossy-standby", "stream.lost")],
)
def test_a_sabotage_turns_exactly_its_check_red(fault: str, check: str, tmp_path: Path) -> None:
    status, document, _ = run(ENVIRONMENT, tmp_path, "failover", "--sabotage", fault)
    assert red(document) == {check}, observed(document)
    assert status == 1
