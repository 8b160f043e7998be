"""``lab down --orphans`` looks for all that killed runs leave."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lab import rundir
from lab.cli.down import down
from lab.errors import LeftBehindError
from lab.host.host import Host
from lab.probe.trace import sweep

pytestmark = pytest.mark.netns

ROOT = Path(__file__).parents[2]
TRACED = """
import os, signal
from lab.probe.trace import open_tracing
with open_tracing():
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(autouse=True)
def state(host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    del host  # the test is in namespaces of its own from here on
    folder = tmp_path / "state"
    folder.mkdir(mode=0o700)
    monkeypatch.setattr(rundir, "_ROOTS", folder)
    sweep()
    return folder


def killed_while_tracing() -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", TRACED], env=environment, check=False)
    assert done.returncode == -signal.SIGKILL


def test_the_tracing_instance_of_a_killed_run_is_removed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    killed_while_tracing()
    assert down(orphans=True) == 0
    assert capsys.readouterr().out == "removed: tracing instances of killed runs (1)\n"
    assert sweep() == ()
    assert down(orphans=True) == 0
    assert capsys.readouterr().out == "nothing was left behind\n"


def test_what_cannot_be_put_back_is_told_after_the_rest(
    state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    killed_while_tracing()
    broken = state / "ports-broken"
    broken.mkdir(mode=0o700)
    (broken / "journal.json").write_text("[{")
    with pytest.raises(LeftBehindError, match="does not say which ports were lent"):
        down(orphans=True)
    assert capsys.readouterr().out == "removed: tracing instances of killed runs (1)\n"
