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

ROOT = Path(__file__).parents[2]
SECONDS = 480.0
"""For two runs, on the slowest machine that anybody will have patience for."""

pytestmark = pytest.mark.labhost


def test_vhost_takes_the_system_calls_out_of_the_path(tmp_path: Path) -> None:
    for name in ("labhost", "guest"):
        ensure(name, Silent())
    done = subprocess.run(
        [sys.executable, "-m", "lab", "ladder", "virtio", "vhost", "--rounds", "1", "--json"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=SECONDS,
        check=False,
    )
    ladder = Ladder.model_validate_json(done.stdout)
    assert (done.returncode, ladder.status) == (0, 0), done.stderr
    assert [rung.carrier for rung in ladder.rungs] == [Carrier.QEMU, Carrier.VHOST]
    assert [(each.name, each.outcome) for each in ladder.promises] == [
        ("vhost-syscalls", Outcome.PASS)
    ]
    (step,) = ladder.steps
    assert step.ratios["ping-pong.qemu_syscalls"].value == pytest.approx(0.0, abs=0.01)
    assert all(
        (Path(folder) / "result.json").is_file() for rung in ladder.rungs for folder in rung.folders
    )
