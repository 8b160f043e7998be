"""Several topologies at once: what becomes of their results."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lab.batch import BatchRequest, batch_of, run_batch
from lab.errors import CannotError, LabError, LeftBehindError, UsageError
from lab.labhost.accelerator import Choice
from lab.paths import topologies
from lab.plan.data import Place
from lab.report.result import Result, failed_result
from lab.report.verdict import Outcome
from lab.runs import check, named

PASSED = Result(topology="a", outcome=Outcome.PASS, status=0)


def failed(error: LabError) -> Result:
    return failed_result("b", Place.HERE, error)


@pytest.mark.parametrize(
    ("results", "outcome", "status"),
    [
        ([PASSED, PASSED], Outcome.PASS, 0),
        ([PASSED, failed(CannotError("no"))], Outcome.ERROR, 3),
        ([failed(LeftBehindError("a tap")), failed(CannotError("no")), PASSED], Outcome.ERROR, 5),
        ([], Outcome.ERROR, 1),
    ],
    ids=["all passed", "one cannot", "one left something", "none"],
)
def test_the_worst_decides(results: list[Result], outcome: Outcome, status: int) -> None:
    batch = batch_of(results, 1.0)
    assert (batch.outcome, batch.status) == (outcome, status)
    assert '"schema": 1' in batch.document()


def test_each_is_told_and_the_order_is_kept(tmp_path: Path) -> None:
    begun: list[str] = []
    told: list[str] = []
    request = BatchRequest(("nosuch", "neither"), tmp_path)
    results = run_batch(request, begun.append, lambda name, _: told.append(name))
    assert [result.topology for result in results] == ["nosuch", "neither"]
    assert [result.status for result in results] == [UsageError.status] * 2
    assert sorted(begun) == sorted(told) == ["neither", "nosuch"]


def test_a_run_that_ends_is_called_what_it_was_when_it_began(tmp_path: Path) -> None:
    """The name in the file is another one."""
    file = tmp_path / "mine.yaml"
    file.write_text((topologies() / "vhost.yaml").read_text())
    begun: list[str] = []
    told: list[tuple[str, Result]] = []
    # Where it cannot run: nothing is started.
    request = BatchRequest((str(file),), tmp_path / "out", Place.HERE, Choice.TCG)
    file.write_text(file.read_text().replace("bridge: br0", "bridge: br9", 1))
    run_batch(request, begun.append, lambda *ended: told.append(ended))
    assert begun == [name for name, _ in told] == [str(file)]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("./a/x.yaml", "./b/x.yaml"), r"\./a/x\.yaml and \./b/x\.yaml would have one name: x"),
        (("vhost", "vhosst"), "there is no topology 'vhosst'"),
        (("vhost", "./none.yaml"), "No such file"),
    ],
)
def test_what_cannot_be_run_is_refused_before_the_first(
    names: tuple[str, ...], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        check(names)


def test_a_file_beside_the_topology_of_its_name_has_a_folder_of_its_own() -> None:
    assert named(("vhost", "./vhost.yaml", "./mine.yaml")) == {
        "vhost": "vhost",
        "vhost.yaml": "./vhost.yaml",
        "mine": "./mine.yaml",
    }
    assert named(("./vhost.yaml",)) == {"vhost": "./vhost.yaml"}


def test_a_pipe_cannot_be_read_by_every_run(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UsageError, match="can be read only once"):
        check((f"{tmp_path}/pipe",))


def test_a_run_imports_nothing_from_the_folder_it_runs_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lab.py").write_text("raise SystemExit(9)")
    monkeypatch.chdir(tmp_path)
    request = BatchRequest(("nosuch",), tmp_path / "out")
    (result,) = run_batch(request, lambda _topology: None, lambda _topology, _result: None)
    assert result.status == UsageError.status
