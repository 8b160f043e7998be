"""A lab host is kept when its guests are up, and the next run goes on from there."""

from __future__ import annotations

import re
import signal
from pathlib import Path

import pytest

from lab.images import cache
from tests.labhost.runs import ROOT
from tests.labhost.test_run_vhost import SECONDS, start, wait_for_end_of

pytestmark = pytest.mark.labhost


@pytest.fixture
def topology(tmp_path: Path) -> str:
    """vhost under a title that no run has kept anything of."""
    text = (ROOT / "topologies/vhost.yaml").read_text()
    file = tmp_path / "mine.yaml"
    file.write_text(re.sub(r"(?m)^title: .*$", f"title: kept by {tmp_path.name}-{id(file)}", text))
    return "./mine.yaml"


def stages(
    environment: dict[str, str], folder: Path, *arguments: str
) -> tuple[int, dict[str, str], str]:
    """Exit status, what was said of each stage at its end, and all that was said."""
    with start(environment, folder, *arguments, fresh=False) as process:
        out, err = process.communicate(timeout=SECONDS)
    found = re.findall(r"(?m)^  ✓ (\S+(?: \S+)*) +[\d.]+ s *(.*)$", out)
    return process.returncode, dict(found), out + err


def test_the_second_run_goes_on_from_where_the_first_kept_it(
    topology: str, environment: dict[str, str], tmp_path: Path
) -> None:
    """Whatever it is to prove."""
    status, first, said = stages(environment, tmp_path, topology)
    assert status == 0, said
    assert first.keys() >= {"network", "guest", "nic", "keep", "probe", "undo"}
    status, second, said = stages(environment, tmp_path, topology)
    assert status == 0, said
    assert "restored with its guests up" in second["lab host"]
    assert second.keys() == {"images", "lab host", "probe", "undo"}
    assert "18 checks" in said
    status, third, said = stages(environment, tmp_path, topology, "--costs", "tcp")
    assert status == 0, said
    assert third.keys() == second.keys()


def test_a_kept_lab_host_that_does_not_work_is_replaced(
    topology: str, environment: dict[str, str], tmp_path: Path
) -> None:
    before = kept()
    status, _, said = stages(environment, tmp_path, topology)
    assert status == 0, said
    (state,) = (folder / "state" for folder in kept() - before)
    with state.open("r+b") as stream:
        stream.truncate(1 << 20)
    status, found, said = stages(environment, tmp_path, topology)
    assert status == 0, said
    assert "snapshot is dropped: its content is not what was saved" in said
    assert "keep" in found


def test_a_fault_is_not_kept(topology: str, environment: dict[str, str], tmp_path: Path) -> None:
    before = kept()
    status, found, said = stages(environment, tmp_path, topology, "--sabotage", "bad-checksum")
    assert status == 1, said
    assert "guest" in found
    assert kept() == before


def test_ctrl_c_while_it_is_kept_leaves_nothing(
    topology: str, environment: dict[str, str], tmp_path: Path
) -> None:
    before = kept()
    with start(environment, tmp_path, topology, fresh=False) as process:
        wait_for_end_of("nic", process)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=SECONDS)
    assert process.returncode == 130
    assert kept() == before
    assert not [each for each in (tmp_path / "runtime/hoplab").iterdir() if each.is_dir()]


def kept() -> set[Path]:
    """The folders of what is kept, and of what is about to be."""
    return {each.parent for each in (cache.default().top / "kept").glob("*/state")}
