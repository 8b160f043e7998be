"""A short ladder, as a user calls it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lab.images.build import ensure
from lab.images.progress import Silent
from lab.plan.data import Carrier
from lab.report.rungs import Ladder
from lab.report.verdict import Outcome
from lab.saved import read_ladder

ROOT = Path(__file__).parents[2]
SECONDS = 480.0
"""For two runs, on the slowest machine that anybody will have patience for."""

pytestmark = pytest.mark.labhost


LYING = """
topology: vhost
title: a layer that takes nothing away, and does not say so
bridges:
  - name: br0
    uplink: uplink
guests:
  - name: guest
    nics:
      - bridge: br0
        vhost: off
expect:
  guest:
    carrier: qemu
    hops: [wire, uplink, br0, tap, guest]
"""


def ladder(folder: Path, *names: str) -> tuple[int, Ladder]:
    """Exit status and document of one round."""
    for name in ("labhost", "guest"):
        ensure(name, Silent())
    done = subprocess.run(
        [sys.executable, "-m", "lab", "ladder", *names, "--rounds", "1", "--json"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=SECONDS,
        check=False,
    )
    return done.returncode, Ladder.model_validate_json(done.stdout)


def test_vhost_takes_the_system_calls_out_of_the_path(tmp_path: Path) -> None:
    status, found = ladder(tmp_path, "virtio", "vhost")
    assert (status, found.status) == (0, 0), found.document()
    assert [rung.carrier for rung in found.rungs] == [Carrier.QEMU, Carrier.VHOST]
    assert [(each.name, each.outcome) for each in found.promises] == [
        ("vhost-syscalls", Outcome.PASS)
    ]
    (step,) = found.steps
    assert step.ratios["ping-pong.qemu_syscalls"].value == pytest.approx(0.0, abs=0.01)
    folders = [Path(folder) for rung in found.rungs for folder in rung.folders]
    assert all((folder / "result.json").is_file() for folder in folders)
    (own,) = {folder.parent for folder in folders}
    assert read_ladder(own) == found
    assert "vhost/report.html" in (own / "report.html").read_text()


def test_a_layer_that_takes_nothing_away_is_a_contradiction(tmp_path: Path) -> None:
    """Its own run has nothing to complain about: only the ladder sees it."""
    (tmp_path / "vhost.yaml").write_text(LYING)
    status, found = ladder(tmp_path, "virtio", "./vhost.yaml", "--costs", "brief")
    assert [rung.outcome for rung in found.rungs] == [Outcome.PASS, Outcome.PASS]
    assert [each.outcome for each in found.promises] == [Outcome.FAIL]
    assert (status, found.status) == (1, 1)
